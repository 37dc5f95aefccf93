//! Guest RAM: built by the machine's layout, reached only through checked guest-physical addresses.
//!
//! A guest names memory by number, and the guest is hostile. [`GuestRam::page`] is the one place where such a number
//! is checked; what it returns is a [`GuestPage`] that is aligned and wholly inside RAM, so that copies need no check.

mod discard;

use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use thiserror::Error;
use tmem_core::LivePage;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, VolatileSlice};

pub use discard::DiscardError;

use crate::arch::layout::{self, RamLayout};

/// Bytes of one page: the unit of tmem and of x86 paging.
pub const PAGE_SIZE: usize = 4096;

/// The content of one page.
pub type PageBytes = [u8; PAGE_SIZE];

/// A guest-physical address as the guest gave it: any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

impl std::fmt::Display for Gpa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A guest-physical address that was found page-aligned and wholly inside one guest's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageGpa(u64);

impl PageGpa {
    /// The address, a multiple of [`PAGE_SIZE`].
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Why a guest-physical address names no page of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GpaError {
    /// The address is not a multiple of the page size.
    #[error("guest-physical address {0} is not page-aligned")]
    Unaligned(Gpa),
    /// The address lies between low and high RAM, where devices are.
    #[error("guest-physical address {0} is in the MMIO hole")]
    MmioHole(Gpa),
    /// The address lies above the last byte of RAM.
    #[error("guest-physical address {0} is beyond the guest's RAM")]
    BeyondRam(Gpa),
}

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
        if !gpa.0.is_multiple_of(PAGE_SIZE as u64) {
            return Err(GpaError::Unaligned(gpa));
        }
        match self.mmap.get_slice(GuestAddress(gpa.0), PAGE_SIZE) {
            Ok(slice) => Ok(GuestPage { gpa: PageGpa(gpa.0), slice }),
            Err(_) if layout::MMIO_HOLE.contains(&gpa.0) => Err(GpaError::MmioHole(gpa)),
            Err(_) => Err(GpaError::BeyondRam(gpa)),
        }
    }

    /// Copies `bytes` to `gpa`; for the host's own tables, not for guest requests.
    ///
    /// # Errors
    /// When the range is not wholly RAM.
    pub fn write(&self, bytes: &[u8], gpa: u64) -> Result<(), GpaError> {
        self.mmap.write_slice(bytes, GuestAddress(gpa)).map_err(|_| GpaError::BeyondRam(Gpa(gpa)))
    }

    /// Copies guest bytes at `gpa` out, at any alignment and across pages.
    ///
    /// # Errors
    /// When the range is not wholly RAM.
    pub fn read(&self, bytes: &mut [u8], gpa: u64) -> Result<(), GpaError> {
        self.mmap.read_slice(bytes, GuestAddress(gpa)).map_err(|_| GpaError::BeyondRam(Gpa(gpa)))
    }
}

/// One page of guest RAM, found by [`GuestRam::page`].
///
/// The guest may change the page at any time, so it is only ever copied, never borrowed as bytes. The copies neither allocate
/// nor fail.
#[derive(Debug)]
pub struct GuestPage<'a> {
    gpa: PageGpa,
    slice: VolatileSlice<'a>,
}

impl<'a> GuestPage<'a> {
    /// The page in place, for a put that copies it itself.
    pub fn live(&self) -> LivePage<'a> {
        let at = self.slice.ptr_guard().as_ptr().cast_mut();
        // SAFETY: the slice is a whole page of RAM, which stays mapped for as long as it is borrowed.
        unsafe { LivePage::new(NonNull::new(at).expect("guest RAM is not mapped at address 0")) }
    }

    /// Where the page is.
    pub fn gpa(&self) -> PageGpa {
        self.gpa
    }

    /// Copies the guest's page into `to`.
    pub fn copy_to(&self, to: &mut PageBytes) {
        self.slice.copy_to(to.as_mut_slice());
    }

    /// Copies `from` over the guest's page.
    pub fn copy_from(&self, from: &PageBytes) {
        self.slice.copy_from(from.as_slice());
    }

    /// Copies guest bytes from `offset` on into `to`; false (nothing copied) when they would leave the page.
    #[must_use]
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> bool {
        match self.slice.subslice(offset, to.len()) {
            Ok(part) => {
                part.copy_to(to);
                true
            }
            Err(_) => false,
        }
    }

    /// Copies `from` over the guest's bytes from `offset` on; false (nothing copied) when they would leave the page.
    #[must_use]
    pub fn write_at(&self, offset: usize, from: &[u8]) -> bool {
        match self.slice.subslice(offset, from.len()) {
            Ok(part) => {
                part.copy_from(from);
                true
            }
            Err(_) => false,
        }
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
        assert_eq!(ram.page(Gpa(16 << 20)).unwrap_err(), GpaError::BeyondRam(Gpa(16 << 20)));
    }

    #[test]
    fn page_when_address_is_the_largest_is_beyond_ram() {
        let gpa = Gpa(u64::MAX - 4095);
        assert_eq!(ram(16 << 20).page(gpa).unwrap_err(), GpaError::BeyondRam(gpa));
    }

    #[test]
    fn page_when_in_the_hole_of_a_large_guest_is_refused_and_above_it_is_found() {
        let ram = ram(LOW_RAM_END + (64 << 20));
        assert_eq!(ram.page(Gpa(LOW_RAM_END)).unwrap_err(), GpaError::MmioHole(Gpa(LOW_RAM_END)));
        let last = HIGH_RAM_START - 4096;
        assert_eq!(ram.page(Gpa(last)).unwrap_err(), GpaError::MmioHole(Gpa(last)));
        assert_eq!(ram.page(Gpa(HIGH_RAM_START)).unwrap().gpa().get(), HIGH_RAM_START);
        let end = HIGH_RAM_START + (64 << 20);
        assert_eq!(ram.page(Gpa(end)).unwrap_err(), GpaError::BeyondRam(Gpa(end)));
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
