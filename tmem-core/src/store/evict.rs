//! Making room: under a client's limits, and in a full store. Called with no lock held, and bounded.

use std::sync::Arc;

use super::Store;
use super::clients::ClientState;
use crate::account::Denied;
use crate::key::Kind;
use crate::steps;
use crate::sync::atomic::Ordering;

/// Most clients tried as victims for one page.
const CANDIDATES: usize = 8;
/// Pages that a put into a full store evicts at most before it looks elsewhere; a raw one is all it needs.
const IN_LINE: u32 = 4;
/// Pages that a put within its client's reservation evicts at most, and how many of them in one shard: so frames of metadata
/// get free, too, if those pages are all that others have.
const OWED: u32 = 1024;
const OWED_RUN: u32 = 256;
/// A put into a full store empties a segment of which one byte in so many is dead, or else in so many.
const SPARSE: u32 = 8;
const SPARSE_FULL: u32 = 32;
/// Records that it moves for that: a quarter of an ordinary segment.
const MOVED: u32 = 8;
/// Records that a put within its client's reservation moves.
const MOVED_OWED: u32 = 512;
/// Pages compressed at a time for a persistent page that its client's share has no room for.
const COMPRESSED: u32 = 4;
/// Shards that are asked for a page that may go first, before any page will do.
const ASKED: usize = 8;
/// Evictions after which all clients are looked at again.
const TRUST: u32 = 64;
/// Clients looked at under one lock.
const LOOK: usize = 128;

impl Store {
    /// Makes room for what could not be charged or indexed. False when nothing was found.
    pub(super) fn make_allowance(&self, client: &ClientState, kind: Kind, denied: Denied) -> bool {
        match denied {
            Denied::Share => {
                // What becomes smaller leaves room for persistent pages, once shards have given it back.
                let compressed = (0..COMPRESSED).take_while(|_| self.compress_one()).count();
                self.call_in(client.number()) || compressed > 0
            }
            // It was the index that found no memory.
            Denied::Cap if !self.arena.any_free() => self.make_room(client, kind),
            Denied::Cap => self.evict_one(client) || self.call_in(client.number()),
        }
    }

    /// Evicts up to `pages` ephemeral pages of a client, and tells how many.
    pub(crate) fn shrink(&self, client: &ClientState, pages: u32) -> u32 {
        (0..pages).take_while(|_| self.evict_one(client)).count() as u32
    }

    /// Evicts one ephemeral page of a client, from its shards in turn. False when it has none.
    fn evict_one(&self, client: &ClientState) -> bool {
        self.evict_run(client, 1) > 0
    }

    /// Evicts up to `run` pages of a client from the next shard that has some.
    fn evict_run(&self, client: &ClientState, run: u32) -> u32 {
        if !client.has_ephemeral() {
            return 0;
        }
        let evicted = self.evict_next(client, run);
        if evicted > 0 {
            return evicted;
        }
        client.set_ephemeral(false);
        // Under each shard's lock again: a page that came behind the first look may have found the flag still set.
        let evicted = self.evict_next(client, run);
        if evicted > 0 {
            client.set_ephemeral(true);
        }
        evicted
    }

    fn evict_next(&self, client: &ClientState, run: u32) -> u32 {
        let evict = |number: usize, must| {
            (0..run).take_while(|_| self.evict_in(number, client.number(), must)).count() as u32
        };
        let asked = (0..ASKED).map(|_| evict(client.policies().next(), false)).find(|evicted| *evicted > 0);
        let any = |_| evict(client.next_shard() & (self.shards.len() - 1), true);
        asked.or_else(|| (0..self.shards.len()).map(any).find(|evicted| *evicted > 0)).unwrap_or_default()
    }

    /// Evicts one of the client's pages in a shard. Its policy may decline in favour of another shard, unless it must not.
    fn evict_in(&self, number: usize, client: u16, must: bool) -> bool {
        let evicted = self.lock(number).evict(&*self.bank, client, must);
        let Some((stored, header)) = evicted else { return false };
        self.release(&self.site_from(header.key()), Some((stored, header.is_idle())));
        true
    }

    /// Makes room in a full store for a page of `client`: evicts, compresses, or moves pages together, a little at a time.
    /// False when nothing was found; true when it may be worth trying again.
    pub(super) fn make_room(&self, client: &ClientState, kind: Kind) -> bool {
        if self.arena.common() > 0 {
            return true;
        }
        // What a client is owed is worth more work than what it might get.
        let owed = client.account().is_owed();
        let (most, run) = if owed { (OWED, OWED_RUN) } else { (IN_LINE, 1) };
        // Persistent pages of a client over its share push out nobody who is not.
        let excess = client.account().excess();
        let fair = self.shares.fair_excess();
        let least = if kind == Kind::Persistent && excess > fair { fair } else { 0 };
        let mut evicted = 0;
        while evicted < most {
            match self.evict_from_largest(Some(client), least, 1, run) {
                0 => break,
                count => evicted += count,
            }
            if self.arena.any_free() {
                return true;
            }
        }
        // What was evicted was compressed, and left holes.
        if self.arena.any_free() || self.compress_in_line() {
            return true;
        }
        let most = if owed { MOVED_OWED } else { MOVED };
        let moved = self.move_together(SPARSE, most) > 0 || self.move_together(SPARSE_FULL, most) > 0;
        moved || evicted > 0 || self.tidy(owed) > 0
    }

    /// Evicts up to `pages` pages, or somewhat more in runs of `run` of one shard, of the client that is furthest over its
    /// share, or of the next when it has none, and tells how many. Only of one whose excess is more than `least`; a page
    /// that `putter` puts may push out its own pages even inside its reservation.
    pub(super) fn evict_from_largest(
        &self,
        putter: Option<&ClientState>,
        least: u64,
        pages: u32,
        run: u32,
    ) -> u32 {
        let mut evicted = 0;
        let mut barren: [u16; CANDIDATES] = [u16::MAX; CANDIDATES];
        for tried in 0..CANDIDATES {
            let known = barren.get(..tried).unwrap_or_default();
            let Some(victim) = self.victim(putter, least, known) else { break };
            while evicted < pages {
                match self.evict_run(&victim, run) {
                    0 => break,
                    count => evicted += count,
                }
            }
            if evicted >= pages {
                break;
            }
            if let Some(slot) = barren.get_mut(tried) {
                *slot = victim.number();
            }
        }
        evicted
    }

    /// The client to evict from: of those that have ephemeral pages, the one with most bytes beyond its reservation for
    /// its weight.
    fn victim(&self, putter: Option<&ClientState>, least: u64, barren: &[u16]) -> Option<Arc<ClientState>> {
        if barren.is_empty()
            && let Some(victim) = self.largest.lock().again(putter)
            && victim.account().excess() > least
        {
            return Some(victim);
        }
        let mut first: Option<(u64, Arc<ClientState>)> = None;
        let mut second = 0;
        let mut from = 0;
        loop {
            let registry = self.registry.lock();
            steps::locked();
            let some = registry.some_clients(from, LOOK);
            if some.is_empty() {
                break;
            }
            steps::touch(some.len() as u32);
            from += some.len();
            for client in some.iter().flatten() {
                if !client.has_ephemeral() || barren.contains(&client.number()) {
                    continue;
                }
                let excess = client.account().excess();
                let own = putter.is_some_and(|putter| putter.number() == client.number());
                if excess <= least && !(own && least == 0) {
                    continue;
                }
                if first.as_ref().is_none_or(|(most, _)| excess > *most) {
                    second = first.map_or(0, |(most, _)| most);
                    first = Some((excess, Arc::clone(client)));
                } else {
                    second = second.max(excess);
                }
            }
        }
        let (_, victim) = first?;
        if barren.is_empty() {
            *self.largest.lock() = Largest { client: Some(Arc::clone(&victim)), second, left: TRUST };
        }
        Some(victim)
    }

    /// Evicts up to `pages` pages of whoever has some, reserved or not.
    pub(super) fn evict_from_any(&self, pages: u32) -> u32 {
        let mut from = 0;
        let mut evicted = 0;
        loop {
            let registry = self.registry.lock();
            let some = registry.some_clients(from, LOOK);
            if some.is_empty() || evicted >= pages {
                return evicted;
            }
            from += some.len();
            let found = some.iter().flatten().find(|client| client.has_ephemeral()).cloned();
            drop(registry);
            if let Some(client) = found {
                evicted += self.shrink(&client, pages - evicted);
            }
        }
    }

    /// Moves arrays of metadata out of frames that are nearly empty, a few in each shard; `all` is for a put that is owed
    /// room. Tells how many.
    pub(super) fn tidy(&self, all: bool) -> u32 {
        let looks = if all { self.shards.len() } else { 1 };
        (0..looks)
            .map(|_| {
                let hand = self.background.tidy_hand.fetch_add(1, Ordering::Relaxed);
                self.lock(hand & (self.shards.len() - 1)).tidy().0
            })
            .sum()
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
    /// Forgets the client: it may be gone.
    pub(super) fn forget(&mut self) {
        self.client = None;
    }

    /// The same client, if it still is the largest: larger than the next one was, and than the putter, since clients grow
    /// by putting.
    fn again(&mut self, putter: Option<&ClientState>) -> Option<Arc<ClientState>> {
        let client = self.client.take().filter(|_| self.left > 0)?;
        let excess = client.account().excess();
        let other = putter.filter(|putter| putter.number() != client.number());
        let putters = other.map_or(0, |putter| putter.account().excess());
        if excess == 0 || excess < self.second.max(putters) || !client.has_ephemeral() {
            return None;
        }
        self.left -= 1;
        self.client = Some(Arc::clone(&client));
        Some(client)
    }
}
