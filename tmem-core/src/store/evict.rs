//! Making room: under a client's cap, and in a full store. Called with no lock held, and bounded.

use std::sync::Arc;

use super::Store;
use super::control::ClientState;
use super::shard::{Gone, Kind};
use crate::index::SPAN;
use crate::sync::atomic::Ordering;

/// Most clients tried as victims for one page.
const CANDIDATES: usize = 8;

impl Store {
    /// Makes room for what could not be charged or indexed. False when nothing was found.
    pub(super) fn make_allowance(&self, client: &ClientState) -> bool {
        if !self.arena.any_free() {
            // It was the index that found no memory.
            return self.make_room(client);
        }
        self.evict_one(client) || self.call_in(client.slot)
    }

    /// Returns the credit that shards hold for a client. False when they held none.
    pub(super) fn call_in(&self, client: u16) -> bool {
        let mut found = false;
        for shard in &self.shards {
            let mut shard = shard.lock();
            if let Some(Some(local)) = shard.clients.get_mut(usize::from(client))
                && local.credit != 0
            {
                found = true;
                local.settle(&*self.books);
            }
        }
        found
    }

    /// Evicts up to `pages` ephemeral pages of a client, and tells how many.
    pub(crate) fn shrink(&self, client: &ClientState, pages: u32) -> u32 {
        (0..pages).take_while(|_| self.evict_one(client)).count() as u32
    }

    /// Evicts one ephemeral page of a client, from its shards in turn. False when it has none.
    pub(super) fn evict_one(&self, client: &ClientState) -> bool {
        if !client.ephemeral.load(Ordering::Relaxed) {
            return false;
        }
        for _ in 0..self.shards.len() {
            let number = client.hand.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
            if self.evict_in(number, client.slot) {
                return true;
            }
        }
        client.ephemeral.store(false, Ordering::Relaxed);
        false
    }

    fn evict_in(&self, number: usize, client: u16) -> bool {
        let mut guard = self.shard(number).lock();
        let shard = &mut *guard;
        let Some(Some(local)) = shard.clients.get_mut(usize::from(client)) else { return false };
        if local.ephemeral == 0 {
            return false;
        }
        let Some(token) = local.queue.victim(&mut shard.index) else { return false };
        let (chunk, slot) = (token / SPAN, token % SPAN);
        let mut header = shard.index.header(chunk);
        let shared = shard.pools.get(header.key.pool as usize).is_some_and(|line| line.shared);
        let kind = if shared { Kind::Shared } else { Kind::Ephemeral };
        let gone = shard.unlink(&*self.books, chunk, &mut header, slot, kind, Gone::Evicted);
        let local = shard.client(client);
        local.counters.evicted += 1;
        local.settle(&*self.books);
        drop(guard);
        let site = self.site_of(header.key, self.names.object(header.key.pool, &header.key.object));
        self.release(&site, gone, header.map == 0);
        true
    }

    /// Makes room in a full store for a page of `client`: compresses, moves pages together, or evicts. False when
    /// nothing was found.
    pub(super) fn make_room(&self, client: &ClientState) -> bool {
        if self.arena.common() > 0 || self.compress_in_line() {
            return true;
        }
        let mut refused: [u16; CANDIDATES] = [u16::MAX; CANDIDATES];
        for tried in 0..CANDIDATES {
            let Some(victim) = self.victim(client, refused.get(..tried).unwrap_or_default()) else {
                return false;
            };
            if self.evict_one(&victim) {
                return true;
            }
            if let Some(slot) = refused.get_mut(tried) {
                *slot = victim.slot;
            }
        }
        false
    }

    /// The client with ephemeral pages that holds most.
    fn victim(&self, _putter: &ClientState, except: &[u16]) -> Option<Arc<ClientState>> {
        let control = self.control.lock();
        let candidates = control.clients.iter().flatten();
        let candidates =
            candidates.filter(|c| c.ephemeral.load(Ordering::Relaxed) && !except.contains(&c.slot));
        candidates.max_by_key(|c| c.account.granted()).cloned()
    }
}
