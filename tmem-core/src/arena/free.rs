//! Which frames are free: extents of one huge page each, lowest first, so that high extents empty and can be given back.

use super::map::HUGE;
use crate::page::PAGE_SIZE;

/// Frames in an extent.
pub(super) const EXTENT: u32 = (HUGE / PAGE_SIZE) as u32;
/// Calm rounds after the last frame was taken in which memory is kept ready for the next: 10 s at the rate at which
/// [`Store::maintain`](crate::Store::maintain) asks to be called.
const READY_ROUNDS: u8 = 200;
const WORDS: usize = (EXTENT / 64) as usize;

/// The free frames of the whole arena, beyond those in magazines.
pub(super) struct Free {
    extents: Vec<Extent>,
    /// No extent below this one has a free frame.
    lowest: usize,
    free: u32,
    /// Frames of extents that were never touched, or given back.
    bare: u32,
    /// Extents below this one keep their memory.
    committed: usize,
    /// Calm rounds that are left of those in which memory is kept ready for the next puts.
    ready: u8,
}

struct Extent {
    bits: [u64; WORDS],
    free: u16,
    /// Backed by memory, as far as we know.
    backed: bool,
    /// Rounds of trimming that found the extent wholly free.
    idle: u8,
    /// Its free frames have no memory, since none of them was freed after that was given back.
    shed: bool,
}

impl Free {
    /// All `frames` free, none backed.
    pub(super) fn new(frames: u32) -> Self {
        let extents = (0..frames.div_ceil(EXTENT))
            .map(|n| {
                let free = (frames - n * EXTENT).min(EXTENT);
                let mut bits = [0; WORDS];
                for (word, bits) in bits.iter_mut().enumerate() {
                    let left = free.saturating_sub(word as u32 * 64);
                    *bits = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
                }
                Extent { bits, free: free as u16, backed: false, idle: 0, shed: false }
            })
            .collect();
        Self { extents, lowest: 0, free: frames, bare: frames, committed: 0, ready: 0 }
    }

    /// Marks the extents of the first `frames` frames as backed, for good.
    pub(super) fn commit(&mut self, frames: u32) {
        self.committed = frames.div_ceil(EXTENT) as usize;
        for extent in self.extents.iter_mut().take(self.committed) {
            self.bare -= u32::from(extent.back()) * u32::from(extent.free);
        }
    }

    pub(super) fn free(&self) -> u32 {
        self.free
    }

    pub(super) fn bare(&self) -> u32 {
        self.bare
    }

    /// Takes up to `want` frames, from the lowest extents.
    pub(super) fn take(&mut self, want: usize, into: &mut Vec<u32>) {
        self.ready = READY_ROUNDS;
        let goal = into.len() + want;
        while into.len() < goal
            && let Some(extent) = self.extents.get_mut(self.lowest)
        {
            if extent.free == 0 {
                self.lowest += 1;
                continue;
            }
            self.bare -= u32::from(extent.back()) * u32::from(extent.free);
            let base = self.lowest as u32 * EXTENT;
            for (word, bits) in extent.bits.iter_mut().enumerate() {
                while *bits != 0 && into.len() < goal {
                    into.push(base + word as u32 * 64 + bits.trailing_zeros());
                    *bits &= *bits - 1;
                    extent.free -= 1;
                    self.free -= 1;
                }
            }
        }
    }

    /// Takes back a frame.
    pub(super) fn put(&mut self, frame: u32) {
        let at = (frame / EXTENT) as usize;
        let bit = frame % EXTENT;
        let extent = self.extents.get_mut(at).expect("frames come from take, which knows their extent");
        let word = extent.bits.get_mut((bit / 64) as usize).expect("a frame is below EXTENT in its extent");
        debug_assert_eq!(*word >> (bit % 64) & 1, 0, "frame {frame} was freed twice");
        *word |= 1 << (bit % 64);
        extent.free += 1;
        extent.idle = 0;
        extent.shed = false;
        self.free += 1;
        self.lowest = self.lowest.min(at);
    }

    /// The lowest extent that has free frames and no memory behind it, marked as backed; none if `ahead` free frames
    /// have memory, or if no frame was taken for long.
    pub(super) fn back_one(&mut self, ahead: u32) -> Option<u32> {
        if self.ready == 0 || self.free - self.bare >= ahead {
            return None;
        }
        let at =
            self.lowest + self.extents.get(self.lowest..)?.iter().position(|e| !e.backed && e.free > 0)?;
        let extent = self.extents.get_mut(at)?;
        extent.back();
        self.bare -= u32::from(extent.free);
        Some(at as u32 * EXTENT)
    }

    /// Whether no frame was taken for many calls of [`take_idle`](Self::take_idle).
    pub(super) fn is_calm(&self) -> bool {
        self.ready == 0
    }

    /// Whether an extent is wholly free and backed, which it need not stay.
    pub(super) fn has_idle(&self) -> bool {
        self.free - self.bare >= EXTENT
            && self.extents.iter().skip(self.committed).any(|e| e.backed && u32::from(e.free) == EXTENT)
    }

    /// Takes an extent that was wholly free for `rounds` calls, with all its frames, to give its memory back; return it
    /// with [`give_back`](Self::give_back). `keep` free frames stay backed until no frame was taken for many calls.
    pub(super) fn take_idle(&mut self, rounds: u8, keep: u32) -> Option<u32> {
        self.ready = self.ready.saturating_sub(1);
        let keep = if self.ready > 0 { keep } else { 0 };
        if self.free - self.bare < keep + EXTENT {
            return None;
        }
        let committed = self.committed.min(self.extents.len());
        let found = self.extents.get_mut(committed..)?.iter_mut().rposition(|e| {
            if !e.backed || u32::from(e.free) != EXTENT {
                return false;
            }
            e.idle = e.idle.saturating_add(1);
            e.idle > rounds
        })? + committed;
        let extent = self.extents.get_mut(found)?;
        extent.bits = [0; WORDS];
        extent.free = 0;
        self.free -= EXTENT;
        Some(found as u32 * EXTENT)
    }

    /// Takes the free frames of an extent that is used in part, to give their memory back: its first frame, and their map.
    /// Return them with [`return_shed`](Self::return_shed).
    pub(super) fn take_shed(&mut self) -> Option<(u32, [u64; WORDS])> {
        let committed = self.committed.min(self.extents.len());
        let sheddable = |e: &Extent| e.backed && !e.shed && e.free > 0;
        let at = self.extents.get(committed..)?.iter().rposition(sheddable)? + committed;
        let extent = self.extents.get_mut(at)?;
        let bits = std::mem::take(&mut extent.bits);
        self.free -= u32::from(std::mem::take(&mut extent.free));
        Some((at as u32 * EXTENT, bits))
    }

    /// Returns frames from [`take_shed`](Self::take_shed), now without memory.
    pub(super) fn return_shed(&mut self, first: u32, bits: [u64; WORDS]) {
        let at = (first / EXTENT) as usize;
        if let Some(extent) = self.extents.get_mut(at) {
            let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
            extent.bits.iter_mut().zip(bits).for_each(|(word, bits)| *word |= bits);
            extent.free += count as u16;
            // Frames that were freed meanwhile have memory, and are shed the next time.
            extent.shed = u32::from(extent.free) == count;
            self.free += count;
            self.lowest = self.lowest.min(at);
        }
    }

    /// Returns an extent from [`take_idle`](Self::take_idle), now without memory.
    pub(super) fn give_back(&mut self, first: u32) {
        let at = (first / EXTENT) as usize;
        if let Some(extent) = self.extents.get_mut(at) {
            *extent =
                Extent { bits: [u64::MAX; WORDS], free: EXTENT as u16, backed: false, idle: 0, shed: false };
            self.free += EXTENT;
            self.bare += EXTENT;
            self.lowest = self.lowest.min(at);
        }
    }
}

impl Extent {
    /// Marks the extent as backed; true when it was not before.
    fn back(&mut self) -> bool {
        !std::mem::replace(&mut self.backed, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_handed_out_once_and_comes_back() {
        let mut free = Free::new(EXTENT + 70);
        let mut got = Vec::new();
        free.take(10_000, &mut got);
        assert_eq!(got, (0..EXTENT + 70).collect::<Vec<_>>());
        assert_eq!((free.free(), free.bare()), (0, 0));
        for frame in got {
            free.put(frame);
        }
        assert_eq!(free.free(), EXTENT + 70);
    }

    #[test]
    fn low_frames_are_reused_first() {
        let mut free = Free::new(2 * EXTENT);
        let mut got = Vec::new();
        free.take(EXTENT as usize + 1, &mut got);
        free.put(3);
        got.clear();
        free.take(2, &mut got);
        assert_eq!(got, [3, EXTENT + 1]);
    }

    #[test]
    fn committed_extents_are_never_given_back() {
        let mut free = Free::new(3 * EXTENT);
        free.commit(EXTENT + 1);
        assert_eq!(free.bare(), EXTENT);
        assert!((0..9).all(|_| free.take_idle(1, 0).is_none()));
    }

    #[test]
    fn memory_is_kept_ready_only_while_frames_are_taken() {
        let mut free = Free::new(4 * EXTENT);
        assert_eq!(free.back_one(2 * EXTENT), None, "nobody has taken any");
        let mut got = Vec::new();
        free.take(1, &mut got);
        free.put(0);
        assert_eq!(free.back_one(2 * EXTENT), Some(EXTENT));
        assert_eq!(free.back_one(2 * EXTENT), None, "so many are ready");
        let keep = |free: &mut Free| free.take_idle(0, 2 * EXTENT).inspect(|first| free.give_back(*first));
        assert!((1..READY_ROUNDS).all(|_| keep(&mut free).is_none()));
        assert_eq!((keep(&mut free), keep(&mut free), keep(&mut free)), (Some(EXTENT), Some(0), None));
        assert!(!free.has_idle());
    }

    #[test]
    fn only_an_extent_idle_for_long_is_given_back() {
        let mut free = Free::new(2 * EXTENT);
        let mut got = Vec::new();
        free.take(2 * EXTENT as usize, &mut got);
        got.iter().for_each(|f| free.put(*f));
        assert_eq!(free.take_idle(1, 0), None);
        assert_eq!(free.take_idle(1, 0), Some(EXTENT));
        assert_eq!(free.free(), EXTENT);
        free.give_back(EXTENT);
        assert_eq!((free.free(), free.bare()), (2 * EXTENT, EXTENT));
        assert_eq!(free.back_one(2 * EXTENT), Some(EXTENT));
        assert_eq!(free.bare(), 0);
    }
}
