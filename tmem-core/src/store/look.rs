//! Getting and reading pages.
//!
//! A raw page that stays is copied under its shard's lock, at the price of a quarter of a microsecond in which one shard
//! of many waits; the alternative, a pin count per page, costs two contended atomic operations on every get. A page that
//! the get takes out of the store is its own to copy, and that and everything that takes longer happens after the lock
//! is released.

use super::Store;
use super::control::{ClientState, Word};
use super::link::YOUNG;
use super::shard::{Gone, Kind};
use super::site::Site;
use crate::error::OpError;
use crate::index::SPAN;
use crate::key::{Key, PoolId};
use crate::page::{PAGE_SIZE, Page, PageRange};
use crate::pages::Stored;

/// What looking for a page found.
pub(super) struct Seen {
    pub(super) found: bool,
    /// Version of the chunk at that time.
    pub(super) version: u32,
}

impl Store {
    pub(crate) fn get(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        page: &mut Page,
    ) -> Result<bool, OpError> {
        let word = client.word(pool.get())?;
        let site = self.site(word, key.object, key.index);
        Ok(self.look(client, word, &site, key.index % SPAN, page, true)?.found)
    }

    pub(crate) fn read(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        range: PageRange,
        page: &mut Page,
    ) -> Result<bool, OpError> {
        let word = client.word(pool.get())?;
        let site = self.site(word, key.object, key.index);
        let mut whole = [0; PAGE_SIZE];
        let seen = self.look(client, word, &site, key.index % SPAN, &mut whole, false)?;
        if seen.found {
            range.copy(&whole, page);
        }
        Ok(seen.found)
    }

    /// Copies a stored page out, if there is one; with `take`, out of a private ephemeral pool for good.
    pub(super) fn look(
        &self,
        client: &ClientState,
        word: Word,
        site: &Site,
        slot: u32,
        page: &mut Page,
        take: bool,
    ) -> Result<Seen, OpError> {
        let mut guard = self.shard(site.shard).lock();
        let shard = &mut *guard;
        let kind = shard.check(word.0, word.attach(), client.slot).ok_or(OpError::NoSuchPool)?;
        shard.client(client.slot).counters.gets += 1;
        let none = Seen { found: false, version: 0 };
        let Some(chunk) = shard.index.find(site.hash, &site.key) else { return Ok(none) };
        let mut header = shard.index.header(chunk);
        let Some(mut entry) = shard.index.entry(&header, slot) else { return Ok(none) };
        shard.client(client.slot).counters.hits += 1;
        let seen = Seen { found: true, version: header.version };
        if take && kind == Kind::Ephemeral {
            let taken = shard.unlink(&*self.books, chunk, &mut header, slot, kind, Gone::Taken);
            drop(guard);
            let fetched = taken.as_ref().map(|stored| self.pages.fetch(stored, page));
            self.release(site, taken, header.map == 0);
            let whole = fetched.is_none_or(|fetched| self.pages.finish(fetched, page).is_ok());
            return if whole { Ok(seen) } else { Err(OpError::Corrupt) };
        }
        let fetched = self.pages.fetch(&entry.stored(), page);
        if kind != Kind::Persistent {
            shard.with_queue(entry.owner(), |queue, index| queue.hit(index, chunk * SPAN + slot));
        } else if entry.age() < YOUNG {
            entry.set_age(YOUNG);
            shard.index.touch(&header, slot, entry);
        }
        drop(guard);
        self.pages.finish(fetched, page).map_err(|_| OpError::Corrupt)?;
        Ok(seen)
    }

    /// Frees a page that left the index, and its chunk if that is `empty` now.
    pub(super) fn release(&self, site: &Site, stored: Option<Stored>, empty: bool) {
        if let Some(stored) = stored {
            self.pages.free(stored);
            if empty {
                self.reap(site);
            }
        }
    }
}
