//! Compressing pages that stay, and moving compressed ones together.
//!
//! Memory is there to be used: as long as an eighth of the store is free, a page is compressed only once nobody has
//! wanted it for some seconds, and so a page that is wanted again soon never is. With less, pages are compressed at once,
//! those that were wanted lately last, and what LZ4 made and nobody wants is compressed again with Zstandard.

use super::Store;
use crate::codec::WORTH;
use crate::config::Codec;
use crate::index::SPAN;
use crate::page::{PAGE_SIZE, Page};
use crate::pages::{Fetched, Form, Home, NoRoom, PageStore, Squeeze, Stored, UNIT};
use crate::sync::atomic::Ordering;
use crate::usage::Progress;

/// Chunks whose headers the compressor looks at under one lock.
const SCAN: u32 = 16;
/// Pages that a put tries to compress in a full store, in line, until one does.
const IN_LINE: u32 = 4;
/// Looks of [`SCAN`] chunks that it takes to find one, at least: after each the shard's hand has moved on.
const LOOKS: usize = 64;
/// The store is short of memory when one frame in so many is free, or less.
const SHORT: u32 = 8;
/// What Zstandard makes of an LZ4 page must be smaller by an eighth.
const FURTHER: (usize, usize) = (7, 8);

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

/// A page that the compressor chose.
struct Candidate {
    place: u32,
    version: u32,
    fetched: Fetched,
    into: Squeeze,
}

/// What looking for pages to compress gave.
enum Pick {
    Page(Candidate),
    /// There is one, but it is young or further on.
    Aged,
    /// The shard has none that might compress.
    Nothing,
}

impl Store {
    /// True when raw pages are compressed in the background.
    pub(super) fn compresses(&self) -> bool {
        self.config.codec != Codec::Raw
    }

    /// True when pages ought to be compressed whatever their age.
    pub(super) fn is_short(&self) -> bool {
        self.arena.common() < self.arena.frames() / SHORT
    }

    /// Looks at a whole round of the index take so many steps of [`Zeal::Paced`].
    pub(super) fn round_steps(&self) -> u64 {
        let chunks = |shard: &u32| u64::from(shard.div_ceil(SCAN).max(1));
        self.shards.iter().map(|shard| shard.lock().index.chunk_numbers()).map(|n| chunks(&n)).sum()
    }

    /// What a page of this form is compressed to.
    fn target(&self, form: Form, deep: bool) -> Option<Form> {
        match (form, self.config.codec) {
            (Form::Raw, Codec::Lz4 | Codec::Auto) => Some(Form::Lz4),
            (Form::Raw, Codec::Zstd) => Some(Form::Zstd),
            (Form::Lz4, Codec::Auto) if deep => Some(Form::Zstd),
            _ => None,
        }
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
            let shard = self.background.hand.load(Ordering::Relaxed) & (self.shards.len() - 1);
            match self.pick(shard, zeal == Zeal::All, zeal == Zeal::Short, &mut page) {
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
        self.compresses() && self.shards.iter().any(|shard| shard.lock().compressible(false) > 0)
    }

    /// Looks for a page to compress in a shard, and copies it out.
    fn pick(&self, number: usize, in_haste: bool, deep: bool, page: &mut Page) -> Pick {
        let mut guard = self.shard(number).lock();
        let shard = &mut *guard;
        let end = shard.index.chunk_numbers();
        if shard.compressible(deep && self.config.codec == Codec::Auto) == 0 || end == 0 {
            return Pick::Nothing;
        }
        for _ in 0..SCAN.min(end) {
            let chunk = if shard.hand < end { shard.hand } else { 0 };
            if let Some(header) = shard.index.chunk_if_any(chunk) {
                let mut left = header.map;
                while left != 0 {
                    let slot = left.trailing_zeros();
                    left &= left - 1;
                    let Some(mut entry) = shard.index.entry(&header, slot) else { continue };
                    let Some(form) = self.target(entry.form(), deep).filter(|_| !entry.is_hard()) else {
                        continue;
                    };
                    if entry.age() > 0 && !in_haste {
                        entry.set_age(entry.age() - 1);
                        shard.index.touch(&header, slot, entry);
                        continue;
                    }
                    let stored = entry.stored();
                    let home = Home { shard: number as u16, token: chunk * SPAN + slot };
                    shard.hand = chunk;
                    return Pick::Page(Candidate {
                        place: stored.a,
                        version: header.version,
                        fetched: self.local.fetch(&stored, page),
                        into: Squeeze { form, checksum: stored.b, home, most: worth(&stored) },
                    });
                }
            }
            shard.hand = chunk + 1;
        }
        // There is one, further on or next time round.
        Pick::Aged
    }

    /// Compresses a page that was copied out, and puts the result in its place if it has not changed.
    fn compress(&self, candidate: &Candidate, page: &mut Page) -> Result<bool, NoRoom> {
        // A damaged page is left for who asks for it to find out.
        let whole = self.local.finish(candidate.fetched, page).is_ok();
        let squeezed = if whole { self.pages.squeeze(page, candidate.into)? } else { None };
        let Home { shard, token } = candidate.into.home;
        let (chunk, slot) = (token / SPAN, token % SPAN);
        let mut guard = self.shard(usize::from(shard)).lock();
        let shard = &mut *guard;
        let mut freed = None;
        let mut done = false;
        if let Some(mut header) = shard.index.chunk_if_any(chunk)
            && header.version == candidate.version
            && let Some(mut entry) = shard.index.entry(&header, slot)
            && self.target(entry.form(), true) == Some(candidate.into.form)
            && entry.stored().a == candidate.place
        {
            match squeezed {
                Some(small) => {
                    let old = entry.stored();
                    let saved = old.bytes() - small.bytes();
                    let mut new = entry.with(&small);
                    new.set_age(super::link::YOUNG);
                    shard.index.replace(chunk, &mut header, slot, new);
                    shard.count(&entry, -1);
                    shard.count(&new, 1);
                    shard.client(entry.owner()).refund(&*self.books, saved);
                    freed = Some(old);
                    done = true;
                }
                None => {
                    shard.count(&entry, -1);
                    entry.set_hard();
                    shard.count(&entry, 1);
                    shard.index.touch(&header, slot, entry);
                }
            }
        } else {
            freed = squeezed;
        }
        drop(guard);
        freed.into_iter().for_each(|page| self.pages.free(page));
        Ok(done)
    }

    /// In a full store: compresses a page whatever its age. True when a frame may be free now; it may also be the log that
    /// got it.
    pub(super) fn compress_in_line(&self) -> bool {
        if !self.compresses() {
            return false;
        }
        let mut page = [0; PAGE_SIZE];
        let mut tried = 0;
        for _ in 0..self.shards.len().max(LOOKS) {
            let shard = self.background.hand.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
            if let Pick::Page(candidate) = self.pick(shard, true, false, &mut page) {
                tried += 1;
                match self.compress(&candidate, &mut page) {
                    Ok(true) => return true,
                    Ok(false) if tried < IN_LINE => {}
                    _ => break,
                }
            }
        }
        self.arena.any_free()
    }

    /// Empties a sparse segment, if there is one of which one byte in `one_in` is dead, of at most `most` records: what
    /// is left makes it sparser for the next time. Returns the records moved.
    pub(super) fn move_together(&self, one_in: u32, most: u32) -> u32 {
        let log = self.local.log();
        let Some(pinned) = log.pin_sparsest(one_in) else { return 0 };
        let mut page = [0; PAGE_SIZE];
        let mut moved = 0;
        let mut last = None;
        while moved < most
            && let Some(record) = pinned.next(last.as_ref())
        {
            let (chunk, slot) = (record.home.token / SPAN, record.home.token % SPAN);
            let mut guard = self.shard(usize::from(record.home.shard)).lock();
            let shard = &mut *guard;
            if let Some(mut header) = shard.index.chunk_if_any(chunk)
                && let Some(entry) = shard.index.entry(&header, slot)
                && entry.form().is_packed()
                && entry.stored().a == record.place
            {
                let Some(place) = log.relocate(record.home, record.place, &mut page) else { return moved };
                let old = entry.stored();
                let new = Stored { a: place, b: old.b, form: old.form, units: old.units };
                let mut moving = entry.with(&new);
                moving.set_age(entry.age());
                if entry.is_hard() {
                    moving.set_hard();
                }
                shard.index.replace(chunk, &mut header, slot, moving);
                drop(guard);
                self.pages.free(old);
                moved += 1;
            }
            last = Some(record);
        }
        moved
    }
}

/// Most bytes that a compressed form of the page may take.
fn worth(stored: &Stored) -> usize {
    match stored.form {
        Form::Raw => WORTH,
        _ => usize::from(stored.units) * UNIT as usize * FURTHER.0 / FURTHER.1,
    }
}
