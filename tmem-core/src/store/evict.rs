//! Making room: under a client's cap, and in a full store. Called with no lock held, and bounded.

use std::sync::Arc;

use super::Store;
use super::control::ClientState;
use super::shard::{Gone, Kind};
use crate::index::SPAN;
use crate::pages::Stored;
use crate::sync::atomic::Ordering;

/// Most clients tried as victims for one page.
const CANDIDATES: usize = 8;
/// Pages that a put into a full store evicts at most before it looks elsewhere; a raw one is all it needs.
const IN_LINE: u32 = 4;
/// A put into a full store empties a segment of which one byte in so many is dead, or else in so many.
const SPARSE: u32 = 8;
const SPARSE_FULL: u32 = 32;
/// Records that it moves for that: a quarter of an ordinary segment.
const MOVED: u32 = 8;
/// Shards that are asked for a page that may go first, before any page will do.
const ASKED: usize = 8;
/// Evictions after which all clients are looked at again.
const TRUST: u32 = 64;

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
        if self.evict_next(client) {
            return true;
        }
        client.ephemeral.store(false, Ordering::Relaxed);
        // Under each shard's lock again: a page that came behind the first look may have found the flag still set.
        let found = self.evict_next(client);
        if found {
            client.ephemeral.store(true, Ordering::Relaxed);
        }
        found
    }

    fn evict_next(&self, client: &ClientState) -> bool {
        let asked = (0..ASKED).any(|_| self.evict_in(client.policies.next(), client.slot, false));
        asked
            || (0..self.shards.len()).any(|_| {
                let number = client.hand.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
                self.evict_in(number, client.slot, true)
            })
    }

    /// Evicts one of the client's pages in a shard. Its policy may decline in favour of another shard, unless it must not.
    fn evict_in(&self, number: usize, client: u16, must: bool) -> bool {
        let mut guard = self.shard(number).lock();
        let shard = &mut *guard;
        let Some(Some(local)) = shard.clients.get_mut(usize::from(client)) else { return false };
        if local.ephemeral == 0 {
            return false;
        }
        let grow = local.pay(&*self.books);
        let Some(token) = local.queue.victim(&mut shard.index, grow, must) else { return false };
        let (chunk, slot) = (token / SPAN, token % SPAN);
        let mut header = shard.index.header(chunk);
        let shared = shard.pools.get(header.key.pool as usize).is_some_and(|line| line.shared);
        let kind = if shared { Kind::Shared } else { Kind::Ephemeral };
        let gone = shard.unlink(&*self.books, chunk, &mut header, slot, kind, Gone::Evicted);
        let local = shard.client(client);
        local.counters.evicted += 1;
        if !grow {
            local.save(gone.as_ref().map_or(0, Stored::bytes));
        }
        local.settle(&*self.books);
        drop(guard);
        let site = self.site_of(header.key, self.names.object(header.key.pool, &header.key.object));
        self.release(&site, gone, header.map == 0);
        true
    }

    /// Makes room in a full store for a page of `client`: evicts, compresses, or moves pages together, a little at a time.
    /// False when nothing was found; true when it may be worth trying again.
    pub(super) fn make_room(&self, client: &ClientState) -> bool {
        if self.arena.common() > 0 {
            return true;
        }
        let mut evicted = false;
        for _ in 0..IN_LINE {
            if self.evict_from_largest(Some(client), 1) == 0 {
                break;
            }
            evicted = true;
            if self.arena.any_free() {
                return true;
            }
        }
        // What was evicted was compressed, and left holes.
        if self.arena.any_free() || self.compress_in_line() {
            return true;
        }
        let moved = self.move_together(SPARSE, MOVED) > 0 || self.move_together(SPARSE_FULL, MOVED) > 0;
        moved || evicted
    }

    /// Evicts up to `pages` pages of the client that is furthest over its share, or of the next when it has none, and
    /// tells how many. A page that `putter` puts may push out its own pages even inside its reservation.
    pub(super) fn evict_from_largest(&self, putter: Option<&ClientState>, pages: u32) -> u32 {
        let mut evicted = 0;
        let mut barren: [u16; CANDIDATES] = [u16::MAX; CANDIDATES];
        for tried in 0..CANDIDATES {
            let Some(victim) = self.victim(putter, barren.get(..tried).unwrap_or_default()) else { break };
            evicted += self.shrink(&victim, pages - evicted);
            if evicted == pages {
                break;
            }
            if let Some(slot) = barren.get_mut(tried) {
                *slot = victim.slot;
            }
        }
        evicted
    }

    /// The client to evict from: of those that have ephemeral pages, the one with most bytes beyond its reservation for
    /// its weight.
    fn victim(&self, putter: Option<&ClientState>, barren: &[u16]) -> Option<Arc<ClientState>> {
        if barren.is_empty()
            && let Some(victim) = self.largest.lock().again(putter)
        {
            return Some(victim);
        }
        let mut first: Option<(u64, &Arc<ClientState>)> = None;
        let mut second = 0;
        let control = self.control.lock();
        for client in control.clients.iter().flatten() {
            if !client.ephemeral.load(Ordering::Relaxed) || barren.contains(&client.slot) {
                continue;
            }
            let excess = client.account.excess();
            if excess == 0 && putter.is_none_or(|putter| putter.slot != client.slot) {
                continue;
            }
            if first.is_none_or(|(most, _)| excess > most) {
                second = first.map_or(0, |(most, _)| most);
                first = Some((excess, client));
            } else {
                second = second.max(excess);
            }
        }
        let victim = first.map(|(_, client)| Arc::clone(client))?;
        drop(control);
        if barren.is_empty() {
            *self.largest.lock() = Largest { client: Some(Arc::clone(&victim)), second, left: TRUST };
        }
        Some(victim)
    }
}

/// The client that was last found to be furthest over its share, so that not every eviction has to look at all clients.
#[derive(Default)]
pub(super) struct Largest {
    client: Option<Arc<ClientState>>,
    /// The next one's excess when it was found.
    second: u64,
    /// Times that this is believed.
    left: u32,
}

impl Largest {
    /// The same client, if it still is the largest: larger than the next one was, and than the putter, since clients grow
    /// by putting.
    fn again(&mut self, putter: Option<&ClientState>) -> Option<Arc<ClientState>> {
        let client = self.client.take().filter(|_| self.left > 0)?;
        let excess = client.account.excess();
        let putters = putter.filter(|putter| putter.slot != client.slot).map_or(0, |p| p.account.excess());
        if excess == 0 || excess < self.second.max(putters) || !client.ephemeral.load(Ordering::Relaxed) {
            return None;
        }
        self.left -= 1;
        self.client = Some(Arc::clone(&client));
        Some(client)
    }
}
