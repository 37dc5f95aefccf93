//! Getting and reading pages.
//!
//! A raw page that stays is copied under its shard's lock, at the price of a quarter of a microsecond in which one shard
//! of many waits; the alternative, a pin count per page, costs two contended atomic operations on every get. A page that
//! the get takes out of the store is its own to copy, and that and everything that takes longer, decompressing or reading
//! it out of another tier, happens after the lock is released.

use super::Store;
use super::clients::{Access, ClientState};
use super::shard::{Gone, Seen};
use super::site::Site;
use crate::error::OpError;
use crate::index::SPAN;
use crate::key::{Key, Kind, PoolId};
use crate::page::{PAGE_SIZE, Page, PageRange};
use crate::usage::ClientCounters;

/// Times that a page which is elsewhere is read again because it changed meanwhile, before the answer is that it is
/// damaged: others have replaced it as many times.
const READS: u32 = 64;

impl Store {
    pub(crate) fn get(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        page: &mut Page,
    ) -> Result<bool, OpError> {
        let access = client.access(pool)?;
        let site = self.site(&access, key.object, key.index);
        let place = key.index % SPAN;
        if access.ticket().kind() == Kind::Ephemeral {
            self.take(client, &access, &site, place, page)
        } else {
            Ok(self.look(client, &access, &site, place, page)?.is_some())
        }
    }

    pub(crate) fn read(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        range: PageRange,
        page: &mut Page,
    ) -> Result<bool, OpError> {
        let access = client.access(pool)?;
        let site = self.site(&access, key.object, key.index);
        let mut whole = [0; PAGE_SIZE];
        let seen = self.look(client, &access, &site, key.index % SPAN, &mut whole)?;
        if seen.is_some() {
            range.copy(&whole, page);
        }
        Ok(seen.is_some())
    }

    /// Copies a stored page out of a private ephemeral pool for good.
    fn take(
        &self,
        client: &ClientState,
        access: &Access,
        site: &Site,
        place: u32,
        page: &mut Page,
    ) -> Result<bool, OpError> {
        let mut shard = self.lock(site.shard());
        if !client.holds(access) {
            return Err(OpError::NoSuchPool);
        }
        let found = site.find(&shard);
        let taken = found.and_then(|chunk| shard.unlink(&*self.bank, chunk, place, Gone::Taken));
        shard.ledger(client.number()).count(|counters| count_get(counters, taken.is_some()));
        drop(shard);
        let Some((stored, idle)) = taken else { return Ok(false) };
        let whole = self.pages.finish(self.pages.fetch(&stored, page), page);
        self.release(site, Some((stored, idle)));
        whole.map(|()| true).map_err(|_| OpError::Corrupt)
    }

    /// Copies a stored page out, if there is one.
    pub(super) fn look(
        &self,
        client: &ClientState,
        access: &Access,
        site: &Site,
        place: u32,
        page: &mut Page,
    ) -> Result<Option<Seen>, OpError> {
        for tries in 0..READS {
            let mut shard = self.lock(site.shard());
            if !client.holds(access) {
                return Err(OpError::NoSuchPool);
            }
            let found = site.find(&shard);
            let read = found.and_then(|chunk| shard.read(chunk, place, &*self.pages, page));
            if tries == 0 {
                shard.ledger(client.number()).count(|counters| count_get(counters, read.is_some()));
            }
            drop(shard);
            let Some((fetched, seen)) = read else { return Ok(None) };
            let whole = self.pages.finish(fetched, page);
            if fetched.is_elsewhere() && !self.is_still(site, place, seen) {
                continue;
            }
            return whole.map(|()| Some(seen)).map_err(|_| OpError::Corrupt);
        }
        Err(OpError::Corrupt)
    }

    /// Whether a page that was read with no lock held is still the one that was looked for.
    fn is_still(&self, site: &Site, place: u32, seen: Seen) -> bool {
        let shard = self.lock(site.shard());
        site.find(&shard).and_then(|chunk| shard.page(chunk, place)).is_some_and(|(_, now)| now == seen)
    }
}

fn count_get(counters: &mut ClientCounters, hit: bool) {
    counters.gets += 1;
    counters.hits += u64::from(hit);
}
