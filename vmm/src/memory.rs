//! Guest RAM: built by the machine's layout, reached only through checked guest-physical addresses.
//!
//! A guest names memory by number, and the guest is hostile. [`tmem_host::page`] is the one place where such a number is checked; what
//! it returns is a [`GuestPage`] that is aligned and wholly inside RAM, so that copies need no check.

mod discard;

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;
pub use tmem_host::{Gpa, GpaError, GuestPage, PageBytes, PageGpa};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

pub use discard::DiscardError;

use crate::arch::layout::RamLayout;

/// Bytes of one page: the unit of tmem and of x86 paging.
pub use tmem_abi::PAGE_SIZE;

/// Why guest RAM could not be allocated.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The host refused the mapping.
    #[error(
        "cannot allocate {bytes} bytes of guest memory: {source}; give the guest less, or free host memory"
    )]
    Allocate {
        /// Bytes asked for.
        bytes: u64,
        /// The host's answer.
        #[source]
        source: vm_memory::mmap::FromRangesError,
    },
}

/// One guest's RAM. Cloning shares it.
#[derive(Clone, Debug)]
pub struct GuestRam {
    mmap: Arc<GuestMemoryMmap<()>>,
    size: u64,
}

impl GuestRam {
    /// Allocates zeroed RAM (lazily, by anonymous mapping) for a layout.
    ///
    /// # Errors
    /// [`MemoryError::Allocate`] when the host refuses the mapping.
    pub fn new(layout: &RamLayout) -> Result<Self, MemoryError> {
        let ranges: Vec<(GuestAddress, usize)> =
            layout.regions().map(|r| (GuestAddress(r.start), (r.end - r.start) as usize)).collect();
        let mmap = GuestMemoryMmap::from_ranges(&ranges)
            .map_err(|source| MemoryError::Allocate { bytes: layout.size(), source })?;
        Ok(Self { mmap: Arc::new(mmap), size: layout.size() })
    }

    /// Bytes of RAM.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The vm-memory view, for loaders and virtqueues.
    pub fn mmap(&self) -> &GuestMemoryMmap<()> {
        &self.mmap
    }

    /// Guest-physical range and host address of every region, for KVM's memory slots.
    pub fn slots(&self) -> impl Iterator<Item = (Range<u64>, u64)> + '_ {
        self.mmap.iter().map(|region| {
            let start = region.start_addr().0;
            let host = region.as_ptr() as u64;
            (start..start + region.len(), host)
        })
    }

    /// Finds the page at `gpa`.
    ///
    /// # Errors
    /// [`GpaError`] unless the address is page-aligned and the whole page is RAM.
    pub fn page(&self, gpa: Gpa) -> Result<GuestPage<'_>, GpaError> {
        tmem_host::page(&*self.mmap, gpa)
    }

    /// Copies `bytes` to `gpa`; for the host's own tables, not for guest requests.
    ///
    /// # Errors
    /// When the range is not wholly RAM.
    pub fn write(&self, bytes: &[u8], gpa: u64) -> Result<(), GpaError> {
        self.mmap.write_slice(bytes, GuestAddress(gpa)).map_err(|_| GpaError::NotRam(Gpa(gpa)))
    }

    /// Copies guest bytes at `gpa` out, at any alignment and across pages.
    ///
    /// # Errors
    /// When the range is not wholly RAM.
    pub fn read(&self, bytes: &mut [u8], gpa: u64) -> Result<(), GpaError> {
        self.mmap.read_slice(bytes, GuestAddress(gpa)).map_err(|_| GpaError::NotRam(Gpa(gpa)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::layout::{HIGH_RAM_START, LOW_RAM_END};

    fn ram(size: u64) -> GuestRam {
        GuestRam::new(&RamLayout::new(size).unwrap()).unwrap()
    }

    #[test]
    fn page_when_unaligned_is_refused() {
        let ram = ram(16 << 20);
        assert_eq!(ram.page(Gpa(4097)).unwrap_err(), GpaError::Unaligned(Gpa(4097)));
    }

    #[test]
    fn page_when_last_of_ram_is_found_and_next_is_beyond() {
        let ram = ram(16 << 20);
        assert_eq!(ram.page(Gpa((16 << 20) - 4096)).unwrap().gpa().get(), (16 << 20) - 4096);
        assert_eq!(ram.page(Gpa(16 << 20)).unwrap_err(), GpaError::NotRam(Gpa(16 << 20)));
    }

    #[test]
    fn page_when_address_is_the_largest_is_beyond_ram() {
        let gpa = Gpa(u64::MAX - 4095);
        assert_eq!(ram(16 << 20).page(gpa).unwrap_err(), GpaError::NotRam(gpa));
    }

    #[test]
    fn page_when_in_the_hole_of_a_large_guest_is_refused_and_above_it_is_found() {
        let ram = ram(LOW_RAM_END + (64 << 20));
        assert_eq!(ram.page(Gpa(LOW_RAM_END)).unwrap_err(), GpaError::NotRam(Gpa(LOW_RAM_END)));
        let last = HIGH_RAM_START - 4096;
        assert_eq!(ram.page(Gpa(last)).unwrap_err(), GpaError::NotRam(Gpa(last)));
        assert_eq!(ram.page(Gpa(HIGH_RAM_START)).unwrap().gpa().get(), HIGH_RAM_START);
        let end = HIGH_RAM_START + (64 << 20);
        assert_eq!(ram.page(Gpa(end)).unwrap_err(), GpaError::NotRam(Gpa(end)));
    }

    #[test]
    fn copies_when_page_is_valid_round_trip() {
        let ram = ram(16 << 20);
        let page = ram.page(Gpa(0x5000)).unwrap();
        let mut content = [0u8; PAGE_SIZE];
        content.iter_mut().enumerate().for_each(|(i, b)| *b = i as u8);
        page.copy_from(&content);
        let mut back = [0u8; PAGE_SIZE];
        page.copy_to(&mut back);
        assert_eq!(content, back);
        assert!(page.write_at(4090, &[9; 6]));
        assert!(!page.write_at(4090, &[9; 7]));
        let mut tail = [0u8; 7];
        assert!(page.read_at(4089, &mut tail));
        assert_eq!(tail, [0xf9, 9, 9, 9, 9, 9, 9]);
        assert!(!page.read_at(usize::MAX, &mut tail));
    }
}
