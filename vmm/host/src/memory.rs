//! Guest memory as a front end brings it, and the one place where a guest's address is checked.
//!
//! A guest names memory by number, and the guest is hostile. [`page`] is the one place where such a number is checked; what it
//! returns is a [`GuestPage`] that is aligned and wholly inside RAM, so that copies need no check.

use std::ptr::NonNull;

use thiserror::Error;
use tmem_abi::{Gpa, PAGE_SIZE};
use tmem_core::LivePage;
use vm_memory::bitmap::{BS, BitmapSlice};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, VolatileSlice};

/// The content of one page.
pub type PageBytes = [u8; PAGE_SIZE];

/// The bitmap of dirty pages that a memory keeps, as one page of it sees it.
pub(crate) type Dirty<'a, M> = BS<'a, <<M as GuestMemoryBackend>::R as GuestMemoryRegion>::B>;

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
    /// Not all of it is RAM.
    #[error("guest-physical address {0} is not wholly in the guest's RAM")]
    NotRam(Gpa),
}

/// Finds the page at `gpa`.
///
/// # Errors
/// [`GpaError`] unless the address is page-aligned and the whole page is RAM.
pub fn page<M: GuestMemoryBackend>(memory: &M, gpa: Gpa) -> Result<GuestPage<'_, Dirty<'_, M>>, GpaError> {
    if !gpa.0.is_multiple_of(PAGE_SIZE as u64) {
        return Err(GpaError::Unaligned(gpa));
    }
    match memory.get_slice(GuestAddress(gpa.0), PAGE_SIZE) {
        Ok(slice) => Ok(GuestPage { gpa: PageGpa(gpa.0), slice }),
        Err(_) => Err(GpaError::NotRam(gpa)),
    }
}

/// The bytes of a slice in place, for a put that copies them itself, if they are as many as a page's. They need not be aligned.
pub fn live_page<'a, B: BitmapSlice>(slice: &VolatileSlice<'a, B>) -> Option<LivePage<'a>> {
    let at = NonNull::new(slice.ptr_guard().as_ptr().cast_mut()).filter(|_| slice.len() == PAGE_SIZE)?;
    // SAFETY: the slice is as long as a page, and stays mapped for as long as it is borrowed.
    Some(unsafe { LivePage::new(at) })
}

/// One page of guest RAM, found by [`page`].
///
/// The guest may change the page at any time, so it is only ever copied, never borrowed as bytes. The copies neither allocate
/// nor fail.
#[derive(Debug)]
pub struct GuestPage<'a, B: BitmapSlice = ()> {
    gpa: PageGpa,
    slice: VolatileSlice<'a, B>,
}

impl<'a, B: BitmapSlice> GuestPage<'a, B> {
    /// The page in place, for a put that copies it itself.
    pub fn live(&self) -> LivePage<'a> {
        live_page(&self.slice).expect("a page has the length of a page")
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
