//! Pages that are compressed or moved: chosen, and put in the place of what they were.

use super::{Bank, Shard, YOUNG};
use crate::codec::{Recipe, WORTH};
use crate::index::SPAN;
use crate::page::Page;
use crate::pages::{Backref, Fetched, Form, NoRoom, Packing, PageStore, Record, Stored, UNIT};

/// Chunks whose headers the compressor looks at under one lock.
pub(in crate::store) const LOOK: u32 = 16;
/// What a second compression makes of a page must be smaller by an eighth.
const FURTHER: (usize, usize) = (7, 8);

/// A page that the compressor chose.
pub(in crate::store) struct Candidate {
    place: u32,
    version: u32,
    /// The page, as far as it was copied out.
    pub(in crate::store) fetched: Fetched,
    pub(in crate::store) packing: Packing,
}

/// What looking for pages to compress gave.
pub(in crate::store) enum Pick {
    Page(Candidate),
    /// There is one, but it is young or further on.
    Aged,
    /// The shard has none that might compress.
    Nothing,
}

impl Shard {
    /// Goes on to the next page to compress, and copies it out. `number` is this shard's.
    pub(in crate::store) fn pick(
        &mut self,
        number: u16,
        recipe: Recipe,
        (in_haste, deep): (bool, bool),
        pages: &dyn PageStore,
        page: &mut Page,
    ) -> Pick {
        let end = self.index.chunk_numbers();
        if self.tally.compressible(recipe, deep) == 0 || end == 0 {
            return Pick::Nothing;
        }
        for _ in 0..LOOK.min(end) {
            let chunk = if self.hand < end { self.hand } else { 0 };
            if let Some(header) = self.index.chunk_if_any(chunk).filter(|header| header.key().level == 0) {
                let mut left = header.map();
                while left != 0 {
                    let place = left.trailing_zeros();
                    left &= left - 1;
                    let Some(mut entry) = self.index.entry(&header, place) else { continue };
                    let next = recipe.next(entry.form(), deep).filter(|_| !entry.is_stuck());
                    let Some(method) = next else { continue };
                    if entry.age() > 0 && !in_haste {
                        entry.set_age(entry.age() - 1);
                        self.index.touch(&header, place, entry);
                        continue;
                    }
                    let stored = entry.stored();
                    let backref = Backref { shard: number, token: chunk * SPAN + place };
                    self.hand = chunk;
                    return Pick::Page(Candidate {
                        place: stored.a,
                        version: header.version(),
                        fetched: pages.fetch(&stored, page),
                        packing: Packing { method, checksum: stored.b, backref, most: worth(&stored) },
                    });
                }
            }
            self.hand = chunk + 1;
        }
        // There is one, further on or next time round.
        Pick::Aged
    }

    /// Puts what was made of a page in its place, if it has not changed, and tells what is to be freed and whether it was
    /// done. `None` is for a page that does not compress.
    pub(in crate::store) fn packed(
        &mut self,
        bank: Bank<'_>,
        recipe: Recipe,
        candidate: &Candidate,
        packed: Option<Stored>,
    ) -> (Option<Stored>, bool) {
        let Backref { token, .. } = candidate.packing.backref;
        let (chunk, place) = (token / SPAN, token % SPAN);
        let found = self.index.chunk_if_any(chunk).filter(|header| header.version() == candidate.version);
        let Some(mut header) = found else { return (packed, false) };
        let Some(mut entry) = self.index.entry(&header, place) else { return (packed, false) };
        if entry.stored().a != candidate.place
            || recipe.next(entry.form(), true) != Some(candidate.packing.method)
        {
            return (packed, false);
        }
        self.tally.count(&entry, -1);
        let Some(small) = packed else {
            entry.set_stuck();
            self.tally.count(&entry, 1);
            self.index.touch(&header, place, entry);
            return (None, false);
        };
        let old = entry.stored();
        let saved = old.bytes().saturating_sub(small.bytes());
        let mut new = entry.with(&small);
        new.set_age(YOUNG);
        self.index.replace(chunk, &mut header, place, new);
        self.tally.count(&new, 1);
        self.ledger(entry.owner()).refund(bank, header.kind(), saved, 0);
        (Some(old), true)
    }

    /// Moves a record to where `to` copies it, if it is still somebody's, and tells what is to be freed. `Err` when there is
    /// nowhere to copy it.
    pub(in crate::store) fn relocate(
        &mut self,
        record: &Record,
        to: impl FnOnce(&Record) -> Option<u32>,
    ) -> Result<Option<Stored>, NoRoom> {
        let (chunk, place) = (record.backref.token / SPAN, record.backref.token % SPAN);
        let found = self.index.chunk_if_any(chunk).filter(|header| header.key().level == 0);
        let Some(mut header) = found else { return Ok(None) };
        let Some(entry) = self.index.entry(&header, place) else { return Ok(None) };
        if !entry.form().is_packed() || entry.stored().a != record.place {
            return Ok(None);
        }
        let old = entry.stored();
        let new = Stored { a: to(record).ok_or(NoRoom)?, b: old.b, form: old.form, units: old.units };
        let mut moving = entry.with(&new);
        moving.set_age(entry.age());
        if entry.is_stuck() {
            moving.set_stuck();
        }
        self.index.replace(chunk, &mut header, place, moving);
        Ok(Some(old))
    }
}

/// Most bytes that a compressed form of the page may take.
fn worth(stored: &Stored) -> usize {
    match stored.form {
        Form::Packed(_) => usize::from(stored.units) * UNIT as usize * FURTHER.0 / FURTHER.1,
        _ => WORTH,
    }
}
