//! The memory that is worked on: anonymous, or a file's. The only unsafe code of this program.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::{self, NonNull};
use std::slice;

use crate::content::{PAGE_BYTES, Page};

/// Whether the kernel may use huge pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HugePages {
    /// As the system is set.
    System,
    /// `MADV_NOHUGEPAGE`.
    Never,
    /// `MADV_HUGEPAGE`.
    Always,
}

/// Mapped memory, whole pages, unmapped when dropped.
pub(crate) struct Memory {
    start: NonNull<Page>,
    pages: usize,
}

impl Memory {
    /// Private memory of `pages` pages (at least one), all zero, not there until it is touched.
    pub(crate) fn anonymous(pages: usize, huge: HugePages) -> io::Result<Self> {
        let memory = Self::map(pages, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        let advice = match huge {
            HugePages::System => return Ok(memory),
            HugePages::Never => libc::MADV_NOHUGEPAGE,
            HugePages::Always => libc::MADV_HUGEPAGE,
        };
        // SAFETY: start and length are those of a mapping that we own; the advice changes no content.
        if unsafe { libc::madvise(memory.start.as_ptr().cast(), pages * PAGE_BYTES, advice) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(memory)
    }

    /// The first `pages` pages of a file, shared with it; it is made, and made that long, if need be.
    pub(crate) fn file(path: &Path, pages: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let bytes = (pages * PAGE_BYTES) as u64;
        if file.metadata()?.len() < bytes {
            file.set_len(bytes)?;
        }
        Self::map(pages, libc::MAP_SHARED, file.as_raw_fd())
    }

    fn map(pages: usize, flags: i32, fd: i32) -> io::Result<Self> {
        let bytes =
            pages.checked_mul(PAGE_BYTES).filter(|&bytes| bytes > 0 && isize::try_from(bytes).is_ok());
        let bytes = bytes.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: no address is asked for, so no existing mapping is touched; the length is not 0 and fits isize.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Self { start, pages })
    }

    /// All of it.
    pub(crate) const fn pages(&mut self) -> &mut [Page] {
        // SAFETY: the mapping is `pages` pages long, page-aligned, readable and writable, and lives until drop; every bit
        // pattern is a valid Page; `&mut self` makes the slice the only access by this program. Should a file's mapping be
        // changed by another process, that is what verifying is for: words are plain integers and nothing but
        // comparisons depends on them.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.pages) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: start and length are those of a mapping that we own, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.pages * PAGE_BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_memory_is_zero_and_keeps_what_is_written() {
        let mut memory = Memory::anonymous(3, HugePages::Never).unwrap();

        assert!(memory.pages().iter().flatten().all(|&word| word == 0));
        memory.pages()[2][511] = 5;
        assert_eq!(memory.pages()[2][511], 5);
    }

    #[test]
    fn no_pages_is_an_error() {
        assert!(Memory::anonymous(0, HugePages::System).is_err());
        assert!(Memory::anonymous(usize::MAX, HugePages::System).is_err());
    }

    #[test]
    fn what_is_written_to_a_file_is_in_the_file() {
        let path = std::env::temp_dir().join(format!("tmem-workload-test-{}", std::process::id()));

        Memory::file(&path, 2).unwrap().pages()[1][0] = 0x0102_0304_0506_0708;
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();

        assert_eq!(bytes.len(), 2 * PAGE_BYTES);
        assert_eq!(&bytes[PAGE_BYTES..PAGE_BYTES + 2], [8, 7]);
    }
}
