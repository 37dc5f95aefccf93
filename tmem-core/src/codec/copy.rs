//! How pages are copied into frames and out of them; into them in the way that was measured to be the fastest.
//!
//! Frames are cold: a page that a guest puts is one that it does not want soon, and a store is larger than any cache. On
//! some processors it is faster to write a frame past the caches, on others to have its lines brought in ahead. So both
//! are tried on the store's own memory, as Linux tries its routines for RAID 6 (lib/raid6/algos.c), and the faster one is
//! taken. Memory that is not there yet cannot be tried, nor is it worth it: its page faults cost more than copies.

use std::fmt;

use super::checksum;
use crate::live::LivePage;
use crate::page::Page;

/// How a store copies pages into frames, by [`Store::put_copy`](crate::Store::put_copy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutCopy {
    /// As the compiler copies, and then summed: processors without AVX2.
    Plain,
    /// In vectors, with the frame's lines brought into the cache ahead.
    Cached,
    /// In vectors, past the caches.
    Streamed,
}

impl fmt::Display for PutCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Cached => "cached",
            Self::Streamed => "streamed",
        })
    }
}

impl PutCopy {
    /// What this processor does well without a trial.
    pub(crate) fn usual() -> Self {
        #[cfg(target_arch = "x86_64")]
        if vectors::are_there() {
            return Self::Cached;
        }
        Self::Plain
    }

    /// What is fastest here in memory that `frame` gives a page of at a time: one of many, in no order.
    pub(crate) fn fastest<'m>(frame: impl FnMut() -> &'m mut Page) -> Self {
        #[cfg(target_arch = "x86_64")]
        if vectors::are_there() {
            return trial::fastest(frame);
        }
        drop(frame);
        Self::Plain
    }

    /// Copies a page into a frame and returns the checksum of the copy, in one pass: it costs what waiting for memory
    /// costs, and memcpy beside the sum costs that twice. The sum is that of the copy, whoever writes the page meanwhile.
    pub(crate) fn copy(self, from: LivePage<'_>, to: &mut Page) -> u32 {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Plain => {}
            Self::Cached => return vectors::copy(from, to, false),
            Self::Streamed => return vectors::copy(from, to, true),
        }
        from.copy_to(to);
        checksum(to)
    }
}

/// Copies a page out of a frame.
pub(crate) fn copy_out(from: &Page, to: &mut Page) {
    #[cfg(target_arch = "x86_64")]
    if vectors::are_there() {
        return vectors::copy_out(from, to);
    }
    *to = *from;
}

/// The ways of a processor with AVX2.
#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::super::vectors;
    use crate::live::LivePage;
    use crate::page::Page;

    /// Whether the processor has them.
    pub(super) fn are_there() -> bool {
        std::arch::is_x86_feature_detected!("avx2")
    }

    pub(super) fn copy(from: LivePage<'_>, to: &mut Page, streamed: bool) -> u32 {
        // SAFETY: these ways are named only after `are_there` has found AVX2.
        unsafe { if streamed { vectors::copy_streamed(from, to) } else { vectors::copy(from, to) } }
    }

    pub(super) fn copy_out(from: &Page, to: &mut Page) {
        // SAFETY: as in `copy`.
        unsafe { vectors::copy_out(from, to) }
    }
}

/// Trying them.
#[cfg(target_arch = "x86_64")]
mod trial {
    use std::time::{Duration, Instant};

    use super::PutCopy;
    use crate::page::{PAGE_SIZE, Page};

    /// Pages copied in a round, 8 MiB, so that what a round leaves in the nearer caches has to leave them in the next; and
    /// rounds, of which the shortest counts, because nothing interrupted it.
    const PAGES: u32 = 2048;
    const ROUNDS: u32 = 3;

    pub(super) fn fastest<'m>(mut frame: impl FnMut() -> &'m mut Page) -> PutCopy {
        let page = [1; PAGE_SIZE];
        let mut round = |way: PutCopy| {
            let start = Instant::now();
            for _ in 0..PAGES {
                way.copy((&page).into(), frame());
            }
            start.elapsed()
        };
        let (mut cached, mut streamed) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            cached = cached.min(round(PutCopy::Cached));
            streamed = streamed.min(round(PutCopy::Streamed));
        }
        if streamed < cached { PutCopy::Streamed } else { PutCopy::Cached }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::page::PAGE_SIZE;

    /// All ways of this processor.
    fn all() -> Vec<PutCopy> {
        match PutCopy::usual() {
            PutCopy::Plain => vec![PutCopy::Plain],
            _ => vec![PutCopy::Plain, PutCopy::Cached, PutCopy::Streamed],
        }
    }

    #[test]
    fn every_way_copies_every_byte_and_comes_to_the_same_sum() {
        let arena = Arena::new(1, 0).unwrap();
        let frame = arena.alloc().unwrap();
        let mut page = [0; PAGE_SIZE];
        page.iter_mut().enumerate().for_each(|(n, byte)| *byte = ((n * n) >> 3) as u8);
        for way in all() {
            // SAFETY: the frame is this test's alone.
            let frame = unsafe { arena.page_mut(frame) };
            frame.fill(0);
            assert_eq!(way.copy((&page).into(), frame), checksum(&page), "{way}");
            assert_eq!(*frame, page, "{way}");
            let mut back = [0; PAGE_SIZE];
            copy_out(frame, &mut back);
            assert_eq!(back, page, "{way}");
        }
    }

    #[test]
    fn the_fastest_way_is_one_that_the_processor_has() {
        let arena = Arena::new(64, 64).unwrap();
        let frame = arena.alloc().unwrap();
        // SAFETY: the frame is this test's alone, and the trial uses one reference at a time.
        assert!(all().contains(&PutCopy::fastest(|| unsafe { arena.page_mut(frame) })));
    }
}
