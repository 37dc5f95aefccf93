//! The structure of the first tmem core, `first_core.c`, as a safe type.

use std::ffi::c_int;
use std::ptr::NonNull;

// The C code calls LZ4; naming the crate links it, and it is the same library as the store's.
use lz4_sys as _;
use tmem_core::{PAGE_SIZE, Page};

/// The C code's `struct first_core`.
#[repr(C)]
struct Raw {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn first_core_new(pages: c_int) -> *mut Raw;
    fn first_core_free(core: *mut Raw);
    fn first_core_put(core: *mut Raw, id: *const u64, index: u32, page: *const u8) -> c_int;
    fn first_core_get(core: *mut Raw, id: *const u64, index: u32, page: *mut u8) -> c_int;
    fn first_core_flush_page(core: *mut Raw, id: *const u64, index: u32) -> u64;
}

/// How pages are kept; the numbers are the C code's `enum pages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// As they are, each 4 KiB from malloc.
    Malloc = 0,
    /// Compressed with LZ4 when they are put, each in a piece from malloc.
    Lz4 = 1,
    /// As they are, in frames from a list of free ones.
    Frames = 2,
}

/// One pool.
pub(crate) struct FirstCore(NonNull<Raw>);

// SAFETY: the C code keeps no thread's state but a buffer that each thread has its own of.
unsafe impl Send for FirstCore {}
// SAFETY: every operation holds its bucket's lock while it looks at or changes what the bucket holds, and buckets share nothing.
unsafe impl Sync for FirstCore {}

/// Names a page: object id and index.
pub(crate) type Name = ([u64; 3], u32);

impl FirstCore {
    /// An empty pool.
    pub(crate) fn new(pages: Pages) -> Self {
        // SAFETY: it takes one of the numbers that it knows, and gives memory or null.
        let core = unsafe { first_core_new(pages as c_int) };
        Self(NonNull::new(core).expect("there are 16 KiB of memory"))
    }

    /// Keeps a page instead of what the name had. False when there is no memory; then the name has none.
    pub(crate) fn put(&self, (id, index): &Name, page: &Page) -> bool {
        // SAFETY: the core lives as long as self; the id has three words, the page 4,096 bytes, and both are only read.
        unsafe { first_core_put(self.0.as_ptr(), id.as_ptr(), *index, page.as_ptr()) == 0 }
    }

    /// Copies a page out and keeps it. False when there is none.
    ///
    /// # Panics
    /// When the page cannot be decompressed.
    pub(crate) fn get(&self, (id, index): &Name, page: &mut Page) -> bool {
        // SAFETY: as in `put`; the C code writes a page of 4,096 bytes at most, which is what it is given.
        let found = unsafe { first_core_get(self.0.as_ptr(), id.as_ptr(), *index, page.as_mut_ptr()) };
        assert!(found >= 0, "what LZ4 compressed cannot be decompressed: this is a bug of first_core.c");
        found == 1
    }

    /// Removes a page; returns how many went.
    pub(crate) fn flush(&self, (id, index): &Name) -> u64 {
        // SAFETY: as in `put`.
        unsafe { first_core_flush_page(self.0.as_ptr(), id.as_ptr(), *index) }
    }
}

impl Drop for FirstCore {
    fn drop(&mut self) {
        // SAFETY: it came from first_core_new, nobody else has it, and this is the last use.
        unsafe { first_core_free(self.0.as_ptr()) }
    }
}

// The C code's page.
const _: () = assert!(PAGE_SIZE == 4096);

#[cfg(test)]
mod tests;
