//! Compressing pages that stay, and moving compressed ones together.
//!
//! Memory is there to be used: as long as an eighth of the store is free, a page is compressed only once nobody has
//! wanted it for some seconds, and so a page that is wanted again soon never is. With less, pages are compressed at once,
//! those that were wanted lately last, and what the first method made and nobody wants is compressed again with the other.

use super::Store;
use super::shard::{Candidate, LOOK, Pick};
use crate::page::PAGE_SIZE;
use crate::page::Page;
use crate::pages::NoRoom;
use crate::sync::atomic::Ordering;
use crate::usage::Progress;

/// Pages that a put tries to compress in a full store, in line, until one does.
const IN_LINE: u32 = 4;
/// Looks at shards that may have one that it takes to find it, at most: after each the shard's hand has moved on.
const LOOKS: u32 = 16;
/// The store is short of memory when one frame in so many is free, or less.
const SHORT: u32 = 8;

/// How eagerly pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zeal {
    /// So many looks at a shard, for pages that nobody wanted between two of them.
    Paced(u32),
    /// Until the store is no longer short of memory, starting with pages that nobody wants.
    Short,
    /// All pages, whatever their age.
    All,
}

impl Store {
    /// True when raw pages are compressed in the background.
    pub(super) fn compresses(&self) -> bool {
        self.recipe.first.is_some()
    }

    /// True when pages ought to be compressed whatever their age.
    pub(super) fn is_short(&self) -> bool {
        self.arena.common() < self.arena.frames() / SHORT
    }

    /// Looks at a whole round of the index take so many steps of [`Zeal::Paced`].
    pub(super) fn round_steps(&self) -> u64 {
        let looks = |number| u64::from(self.lock(number).chunk_numbers().div_ceil(LOOK).max(1));
        (0..self.shards.len()).map(looks).sum()
    }

    /// Compresses up to `left` pages, as long as `low` frames are free; returns what is left of that. Sets
    /// `progress.more` when there is more to do at once.
    pub(super) fn compress_some(&self, mut left: u32, zeal: Zeal, low: u32, progress: &mut Progress) -> u32 {
        let mut page = [0; PAGE_SIZE];
        let (mut barren, mut looks) = (0, if let Zeal::Paced(looks) = zeal { looks } else { u32::MAX });
        while left > 0 && barren < self.shards.len() && looks > 0 {
            if zeal == Zeal::Short && !self.is_short() {
                return left;
            }
            if self.arena.common() < low {
                // Puts come before: they must find free frames.
                progress.more = true;
                return left;
            }
            let number = self.background.hand.load(Ordering::Relaxed) & (self.shards.len() - 1);
            match self.pick(number, (zeal == Zeal::All, zeal == Zeal::Short), &mut page) {
                Pick::Page(candidate) => {
                    left -= 1;
                    match self.compress(&candidate, &mut page) {
                        Ok(done) => progress.compressed += u32::from(done),
                        // No memory even for that: nothing to be had by trying again now.
                        Err(NoRoom) => return left,
                    }
                    barren = 0;
                    continue;
                }
                Pick::Aged => {
                    progress.more |= !matches!(zeal, Zeal::Paced(_));
                    left -= 1;
                    looks -= 1;
                }
                Pick::Nothing => {}
            }
            barren += 1;
            self.background.hand.fetch_add(1, Ordering::Relaxed);
        }
        progress.more |= left == 0;
        left
    }

    /// True when there are pages that get compressed once they are old.
    pub(super) fn has_young(&self) -> bool {
        let compressible = |number| self.lock(number).tally().compressible(self.recipe, false) > 0;
        self.compresses() && (0..self.shards.len()).any(compressible)
    }

    fn pick(&self, number: usize, zeal: (bool, bool), page: &mut Page) -> Pick {
        self.lock(number).pick(number as u16, self.recipe, zeal, &*self.pages, page)
    }

    /// Compresses a page that was copied out, and puts the result in its place if it has not changed.
    fn compress(&self, candidate: &Candidate, page: &mut Page) -> Result<bool, NoRoom> {
        // A damaged page is left for who asks for it to find out.
        let whole = self.pages.finish(candidate.fetched, page).is_ok();
        let packed = if whole { self.pages.pack(page, candidate.packing)? } else { None };
        let mut shard = self.lock(usize::from(candidate.packing.backref.shard));
        let (freed, done) = shard.packed(&*self.bank, self.recipe, candidate, packed);
        drop(shard);
        freed.into_iter().for_each(|page| self.pages.free(page));
        Ok(done)
    }

    /// In a full store: compresses a page whatever its age. True when a frame may be free now; it may also be the log that
    /// got it.
    pub(super) fn compress_in_line(&self) -> bool {
        self.compress_one() || self.compresses() && self.arena.any_free()
    }

    /// Compresses a page whatever its age. False when a short search found none.
    pub(super) fn compress_one(&self) -> bool {
        if !self.compresses() {
            return false;
        }
        let mut page = [0; PAGE_SIZE];
        let (mut tried, mut looks, mut barren) = (0, 0, 0);
        while looks < LOOKS && barren < self.shards.len() {
            let number = self.background.hand.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
            match self.pick(number, (true, false), &mut page) {
                Pick::Page(candidate) => {
                    tried += 1;
                    match self.compress(&candidate, &mut page) {
                        Ok(true) => return true,
                        Ok(false) if tried < IN_LINE => {}
                        _ => break,
                    }
                }
                Pick::Aged => {
                    looks += 1;
                    barren = 0;
                }
                // When every shard was asked, none has any.
                Pick::Nothing => barren += 1,
            }
        }
        false
    }

    /// Empties a sparse segment, if there is one of which one byte in `one_in` is dead, of at most `most` records: what
    /// is left makes it sparser for the next time. Returns the records moved.
    pub(super) fn move_together(&self, one_in: u32, most: u32) -> u32 {
        let Some(segment) = self.pages.sparse(one_in) else { return 0 };
        let mut page = [0; PAGE_SIZE];
        let mut moved = 0;
        let mut last = None;
        while moved < most
            && let Some(record) = self.pages.record(segment, last.as_ref())
        {
            let mut shard = self.lock(usize::from(record.backref.shard));
            let old = shard.relocate(&record, |record| self.pages.relocate(record, &mut page));
            drop(shard);
            match old {
                Ok(Some(old)) => {
                    self.pages.free(old);
                    moved += 1;
                }
                Ok(None) => {}
                Err(NoRoom) => break,
            }
            last = Some(record);
        }
        self.pages.leave(segment);
        moved
    }
}
