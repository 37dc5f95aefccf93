//! Guest RAM given back to the host, and how much of it the host holds.

use std::io;

use thiserror::Error;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use super::{Gpa, GpaError, GuestRam, PAGE_SIZE};

/// Bytes of RAM in one call to the host. Its answer about them takes a byte for each page; and while it takes memory back it holds the
/// lock of the process's address space, for which page faults of other guests may have to wait.
const STEP: usize = 16 << 20;

/// Why memory was not given back.
#[derive(Debug, Error)]
pub enum DiscardError {
    /// It is not whole pages of this guest's RAM.
    #[error(transparent)]
    NotRam(#[from] GpaError),
    /// The host keeps it, as it does with locked memory.
    #[error("the host does not take back {bytes} bytes of guest memory at {gpa}: {source}")]
    Host {
        /// Where it starts.
        gpa: Gpa,
        /// How much it is.
        bytes: u64,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
}

impl GuestRam {
    /// Gives the memory behind the `bytes` bytes from `gpa` on back to the host. Whoever looks there next finds zeros, for
    /// which the host allocates again: nothing is unmapped, so a guest that lied about using it harms only itself. Returns
    /// how many of the bytes the host held: a page that nobody has touched has no memory behind it.
    ///
    /// # Errors
    /// [`DiscardError`]; nothing is given back unless the range is whole pages, all of them RAM. What the host has taken back before it
    /// refused the rest stays with it.
    pub fn discard(&self, gpa: Gpa, bytes: u64) -> Result<u64, DiscardError> {
        let page = PAGE_SIZE as u64;
        if !gpa.0.is_multiple_of(page) || !bytes.is_multiple_of(page) {
            return Err(GpaError::Unaligned(gpa).into());
        }
        let beyond = GpaError::NotRam(gpa);
        let len = usize::try_from(bytes).map_err(|_| beyond)?;
        let slice = self.mmap().get_slice(GuestAddress(gpa.0), len).map_err(|_| beyond)?;
        let start = slice.ptr_guard_mut().as_ptr();
        let mut sum = 0;
        for at in (0..len).step_by(STEP) {
            let (start, step) = (start.wrapping_add(at), (len - at).min(STEP));
            // What is not known is not counted.
            sum += held(start, step).unwrap_or(0);
            // SAFETY: the slice lies wholly in a mapping that `self` owns, and the step in the slice: private and anonymous, so that
            // dropping pages only makes them zero, which is what guest RAM may become at any time; it is never borrowed, only copied
            // from and to.
            let answer = unsafe { libc::madvise(start.cast(), step, libc::MADV_DONTNEED) };
            if answer != 0 {
                let (gpa, bytes) = (Gpa(gpa.0 + at as u64), step as u64);
                return Err(DiscardError::Host { gpa, bytes, source: io::Error::last_os_error() });
            }
        }
        Ok(sum)
    }

    /// Bytes of RAM that the host holds in its memory now; `None` if it does not tell. A system call for each 16 MiB.
    pub fn resident_bytes(&self) -> Option<u64> {
        let slots = self.slots();
        slots.map(|(range, host)| held(host as *const u8, (range.end - range.start) as usize)).sum()
    }
}

/// How many of the `len` bytes from `start` on, both multiples of the page size, the host holds in its memory; `None` if it
/// does not tell. Reads and writes nothing there, and an address that is not mapped is only an error.
fn held(start: *const u8, len: usize) -> Option<u64> {
    let mut present = [0u8; STEP / PAGE_SIZE];
    let mut pages = 0;
    for at in (0..len).step_by(STEP) {
        let step = (len - at).min(STEP);
        // SAFETY: the host writes a byte for each page of the step, for which there is room, and nothing else.
        let answer = unsafe {
            libc::mincore(start.wrapping_add(at).cast_mut().cast(), step, present.as_mut_ptr().cast())
        };
        if answer != 0 {
            return None;
        }
        pages += present.iter().take(step / PAGE_SIZE).filter(|page| **page & 1 != 0).count();
    }
    Some((pages * PAGE_SIZE) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::layout::{HIGH_RAM_START, LOW_RAM_END, RamLayout};

    const PAGE: u64 = PAGE_SIZE as u64;

    fn ram(size: u64) -> GuestRam {
        GuestRam::new(&RamLayout::new(size).unwrap()).unwrap()
    }

    fn byte(ram: &GuestRam, at: u64) -> u8 {
        let mut byte = [0];
        ram.read(&mut byte, at).unwrap();
        byte[0]
    }

    #[test]
    fn discarded_pages_are_zero_and_their_neighbours_are_not() {
        let ram = ram(16 << 20);
        ram.write(&[7; 4 * PAGE_SIZE], 8 * PAGE).unwrap();
        ram.discard(Gpa(9 * PAGE), 2 * PAGE).unwrap();
        let bytes = [8, 9, 10, 11].map(|page| byte(&ram, page * PAGE + 5));
        assert_eq!(bytes, [7, 0, 0, 7]);
    }

    #[test]
    fn discard_when_pages_were_never_touched_counts_only_the_others() {
        let ram = ram(16 << 20);
        (0..4).for_each(|page| ram.write(&[7], (8 + page) * PAGE).unwrap());
        // Counted first: the host may have put more behind four pages than four pages.
        let before = ram.resident_bytes().unwrap();
        let held = ram.discard(Gpa(0), 16 << 20).unwrap();
        assert_eq!((held, ram.resident_bytes().unwrap()), (before, 0));
        assert!(held >= 4 * PAGE);
        assert_eq!(ram.discard(Gpa(0), 16 << 20).unwrap(), 0);
    }

    #[test]
    fn resident_bytes_when_pages_are_touched_and_discarded_follow() {
        let ram = ram(64 << 20);
        let before = ram.resident_bytes().unwrap();
        (0..100).for_each(|page| ram.write(&[1], (20 << 20) + page * PAGE).unwrap());
        let touched = ram.resident_bytes().unwrap();
        ram.discard(Gpa(20 << 20), 100 * PAGE).unwrap();
        assert!(touched >= before + 100 * PAGE, "{before} {touched}");
        assert!(ram.resident_bytes().unwrap() <= touched - 100 * PAGE);
    }

    #[test]
    fn range_when_not_whole_pages_or_not_ram_is_refused() {
        let ram = ram(LOW_RAM_END + (64 << 20));
        for (gpa, bytes) in [
            (1, PAGE),
            (0, 1),
            (LOW_RAM_END - PAGE, 2 * PAGE),
            (LOW_RAM_END, PAGE),
            (HIGH_RAM_START + (64 << 20), PAGE),
            (HIGH_RAM_START, 1 << 40),
            (u64::MAX - PAGE + 1, PAGE),
            (0, u64::MAX - PAGE + 1),
        ] {
            let error = ram.discard(Gpa(gpa), bytes).unwrap_err();
            assert!(matches!(error, DiscardError::NotRam(_)), "{gpa:#x} {bytes:#x} {error}");
        }
        ram.discard(Gpa(HIGH_RAM_START), 64 << 20).unwrap();
    }
}
