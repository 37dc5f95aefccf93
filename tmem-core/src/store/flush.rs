//! Removing pages: one, a range, an object.

use super::Store;
use super::control::{ClientState, Word};
use super::shard::{Gone, Kind, Shard};
use super::site::{Site, home_key};
use crate::error::OpError;
use crate::index::{ChunkKey, SPAN};
use crate::key::{Key, ObjectId, PoolId};
use crate::pages::Stored;

/// Pages taken out of a chunk under its lock, to be freed after it is released.
#[derive(Default)]
pub(super) struct Removed {
    pages: Vec<Stored>,
    pub(super) empty: bool,
}

impl Store {
    pub(crate) fn flush_page(&self, client: &ClientState, pool: PoolId, key: &Key) -> Result<u64, OpError> {
        let word = client.word(pool.get())?;
        let site = self.site(word, key.object, key.index);
        let mut guard = self.shard(site.shard).lock();
        let shard = &mut *guard;
        let kind = shard.check(word.0, word.attach(), client.slot).ok_or(OpError::NoSuchPool)?;
        let Some(chunk) = shard.index.find(site.hash, &site.key) else { return Ok(0) };
        let mut header = shard.index.header(chunk);
        let slot = key.index % SPAN;
        let gone = shard.unlink(&*self.books, chunk, &mut header, slot, kind, Gone::Dropped);
        let count = u64::from(gone.is_some());
        shard.client(client.slot).counters.flushed_pages += count;
        drop(guard);
        self.release(&site, gone, header.map == 0);
        Ok(count)
    }

    /// Removes a page without counting it as flushed.
    pub(super) fn drop_page(&self, client: &ClientState, word: Word, site: &Site, slot: u32) {
        let mut shard = self.shard(site.shard).lock();
        let Some(kind) = shard.check(word.0, word.attach(), client.slot) else { return };
        let Some(chunk) = shard.index.find(site.hash, &site.key) else { return };
        let mut header = shard.index.header(chunk);
        let gone = shard.unlink(&*self.books, chunk, &mut header, slot, kind, Gone::Dropped);
        drop(shard);
        self.release(site, gone, header.map == 0);
    }

    /// Removes pages `first..=last` of an object, chunk by chunk in ascending order, each under its own lock: every page
    /// that was stored before the call is gone when it returns, and the work is that of the object's chunks in the
    /// range.
    pub(crate) fn flush_between(
        &self,
        client: &ClientState,
        pool: PoolId,
        object: ObjectId,
        first: u32,
        last: u32,
    ) -> Result<u64, OpError> {
        let word = client.word(pool.get())?;
        let mut flushed = 0;
        let mut next = Some(first / SPAN);
        while let Some(number) = next.filter(|number| *number <= last / SPAN) {
            let site = self.site_of_chunk(word, object, number);
            let (count, after) = self.flush_chunk(client, word, &site, first, last)?;
            flushed += count;
            next = after;
        }
        Ok(flushed)
    }

    fn site_of_chunk(&self, word: Word, object: ObjectId, number: u32) -> Site {
        let key = ChunkKey { pool: word.pool(), object, number };
        self.site_of(key, self.names.object(word.pool(), &object))
    }

    /// Removes a chunk's pages in the range; returns how many, and the number of the object's next chunk.
    fn flush_chunk(
        &self,
        client: &ClientState,
        word: Word,
        site: &Site,
        first: u32,
        last: u32,
    ) -> Result<(u64, Option<u32>), OpError> {
        let mut both = self.lock_both(site);
        let far = &mut *both.far;
        let kind = far.check(word.0, word.attach(), client.slot).ok_or(OpError::NoSuchPool)?;
        let mut removed = Removed::default();
        if let Some(chunk) = far.index.find(site.hash, &site.key) {
            let start = site.key.number * SPAN;
            let low = first.saturating_sub(start).min(SPAN);
            let high = (last - start).min(SPAN - 1);
            let range = (u64::MAX << low) & (u64::MAX >> (SPAN - 1 - high));
            removed = self.unlink_all(far, chunk, kind, range);
        }
        let count = removed.pages.len() as u64;
        far.client(client.slot).counters.flushed_pages += count;
        let home = both.home();
        let at = home.index.find(site.home_hash, &home_key(&site.key));
        let next = at.and_then(|at| home.next_further(&home.index.header(at), site.key.number + 1));
        drop(both);
        let empty = removed.empty;
        self.free_all(removed);
        if empty {
            self.reap(site);
        }
        Ok((count, next))
    }

    /// Takes the pages whose bits are set in `range` out of a chunk.
    pub(super) fn unlink_all(&self, shard: &mut Shard, chunk: u32, kind: Kind, range: u64) -> Removed {
        let mut header = shard.index.header(chunk);
        let mut left = header.map & range;
        let mut removed = Removed { pages: Vec::with_capacity(left.count_ones() as usize), empty: false };
        while left != 0 {
            // From the highest down, so that nothing has to move in a packed array.
            let slot = 63 - left.leading_zeros();
            left &= !(1 << slot);
            removed.pages.extend(shard.unlink(&*self.books, chunk, &mut header, slot, kind, Gone::Dropped));
        }
        removed.empty = header.map == 0;
        removed
    }

    /// Frees pages; called with no lock held. Returns how many.
    pub(super) fn free_all(&self, removed: Removed) -> u32 {
        let count = removed.pages.len() as u32;
        removed.pages.into_iter().for_each(|page| self.pages.free(page));
        count
    }
}
