//! A page that its guest may be writing while it is put.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::page::{PAGE_SIZE, Page};

/// A page in memory that others may write at any moment, for as long as `'a`: a page of a running guest.
///
/// A put reads it in place and each of its bytes at most once for what is stored, so what is stored is what was there at
/// some moment, byte by byte, and its checksum is that of what is stored.
#[derive(Clone, Copy, Debug)]
pub struct LivePage<'a> {
    at: NonNull<Page>,
    memory: PhantomData<&'a Page>,
}

impl LivePage<'_> {
    /// The page at an address, aligned or not.
    ///
    /// # Safety
    /// For as long as `'a`, [`PAGE_SIZE`] bytes from `at` on stay readable. Others may write them meanwhile.
    pub unsafe fn new(at: NonNull<u8>) -> Self {
        Self { at: at.cast(), memory: PhantomData }
    }

    /// The address.
    pub(crate) fn as_ptr(self) -> *const u8 {
        self.at.as_ptr().cast_const().cast()
    }

    /// Copies the page as it is now.
    pub(crate) fn copy_to(self, to: &mut Page) {
        let (from, to) = (self.as_ptr(), to.as_mut_ptr());
        // SAFETY: readable by the promise of `new`, and `to` is borrowed alone. Whoever writes the page is a guest, outside
        // of this program, and it is read in assembly: each byte comes out as it was at some moment.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") PAGE_SIZE => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        for at in 0..PAGE_SIZE {
            use std::sync::atomic::{AtomicU8, Ordering};
            // SAFETY: as above, and each byte is read as an atomic one, which any other may write meanwhile.
            unsafe { to.add(at).write(AtomicU8::from_ptr(from.add(at).cast_mut()).load(Ordering::Relaxed)) };
        }
    }
}

impl<'a> From<&'a Page> for LivePage<'a> {
    fn from(page: &'a Page) -> Self {
        Self { at: NonNull::from(page), memory: PhantomData }
    }
}
