//! The arena's address space: reserved once, backed by the kernel page by page.

use std::io;
use std::ptr::NonNull;

use crate::page::{PAGE_SIZE, Page};

/// Bytes in a huge page of x86-64, which the arena is aligned to.
pub(crate) const HUGE: usize = 2 << 20;

/// A private anonymous mapping of whole huge pages.
pub(super) struct Map {
    base: NonNull<u8>,
    reserved: NonNull<libc::c_void>,
    reserved_bytes: usize,
    frames: u32,
}

// SAFETY: the mapping is plain memory, valid from any thread until it is unmapped by drop. What may be read and written
// when is decided by the owners of the frames, see `Map::frame`.
unsafe impl Send for Map {}
// SAFETY: as above; no method changes the struct.
unsafe impl Sync for Map {}

impl Map {
    /// Reserves room for `frames` pages; no memory is committed.
    pub(super) fn reserve(frames: u32) -> io::Result<Self> {
        // One huge page more than needed, to align inside it.
        let reserved_bytes = (frames as usize * PAGE_SIZE).next_multiple_of(HUGE) + HUGE;
        // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice disturbs nothing.
        let reserved = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                reserved_bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let reserved = NonNull::new(reserved).ok_or_else(io::Error::last_os_error)?;
        let skip = reserved.cast::<u8>().as_ptr().align_offset(HUGE);
        // SAFETY: skip is below HUGE, and the mapping is HUGE longer than the frames need.
        let base = unsafe { reserved.cast::<u8>().add(skip) };
        let map = Self { base, reserved, reserved_bytes, frames };
        // Only a hint: a kernel without huge pages serves small ones.
        map.advise(0, frames, libc::MADV_HUGEPAGE);
        Ok(map)
    }

    /// The address of a frame.
    ///
    /// # Panics
    /// When the map has no such frame: the allocator hands out none beyond the end.
    pub(super) fn frame(&self, frame: u32) -> NonNull<Page> {
        assert!(frame < self.frames, "frame {frame} is outside the arena");
        // SAFETY: the frame lies inside the mapping, as just checked.
        unsafe { self.base.add(frame as usize * PAGE_SIZE).cast() }
    }

    /// Backs frames with memory now, so that no put has to wait for a page fault. Best effort (Linux 5.14).
    pub(super) fn populate(&self, first: u32, count: u32) {
        self.advise(first, count, libc::MADV_POPULATE_WRITE);
    }

    /// Gives the memory of free frames back to the host. They read as zero afterwards.
    pub(super) fn discard(&self, first: u32, count: u32) {
        self.advise(first, count, libc::MADV_DONTNEED);
    }

    fn advise(&self, first: u32, count: u32, advice: libc::c_int) {
        let end = first.saturating_add(count).min(self.frames);
        if first >= end {
            return;
        }
        let bytes = (end - first) as usize * PAGE_SIZE;
        // SAFETY: the range lies inside the mapping. The advices used keep or zero its content, and the allocator calls
        // discard only on frames that nobody owns.
        unsafe {
            libc::madvise(self.frame(first).as_ptr().cast(), bytes, advice);
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped; the arena is the only owner, and blocks keep it alive.
        unsafe {
            libc::munmap(self.reserved.as_ptr(), self.reserved_bytes);
        }
    }
}
