//! What each client may hold: its cap, its share, and the bytes that it was granted.
//!
//! Bytes are granted to a client in slices, which shards spend under their own locks, so that no counter is shared on the
//! path of a page. Near a limit slices shrink to what is needed, and what shards still hold is called in before a put is
//! refused.
//!
//! Bytes of persistent pools are *kept*: nothing takes them back. They are granted a second time, against what is promised
//! to others. With reservations `R` and kept bytes `K`, the sum of max(`R`, `K`) over all clients is what the store is
//! committed to; it stays below what the store can hold, so whoever has not filled its reservation finds the room free or
//! taken by ephemeral pages of others.

use std::sync::Arc;

use crate::arena::Arena;
use crate::config::{Lending, Share};
use crate::page::PAGE_SIZE;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Largest slice granted to a shard at a time, in bytes: 16 pages.
const SLICE: u64 = 64 << 10;
/// Smallest one, but for the last bytes below a cap.
const SLICE_LEAST: u64 = 4 << 10;
/// Slices that a shard keeps of what a client's pages freed.
const KEPT: u64 = 4;
/// All slices that shards keep for one client are at most one part in so many of the store, because shares are judged by
/// what was granted.
const IDLE: u64 = 64;
/// One part in so many of the store is promised to nobody: holes in the log that are too small to move records for (one byte
/// in 32), frames of metadata that are used in part, magazines.
const MARGIN: u64 = 16;

/// One client's limits, and what it was granted.
pub(crate) struct Account {
    /// Bytes granted: spent, or held by shards to be spent.
    granted: AtomicU64,
    /// Of those, bytes of persistent pools.
    kept: AtomicU64,
    cap: AtomicU64,
    reservation: AtomicU64,
    weight: AtomicU32,
}

impl Account {
    pub(crate) fn new(cap: u64, share: Share) -> Self {
        Self {
            granted: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            cap: AtomicU64::new(cap),
            reservation: AtomicU64::new(share.reservation_bytes),
            weight: AtomicU32::new(share.weight),
        }
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    pub(crate) fn cap(&self) -> u64 {
        self.cap.load(Ordering::Relaxed)
    }

    pub(crate) fn set_cap(&self, cap: u64) {
        self.cap.store(cap, Ordering::Relaxed);
    }

    /// The cap was lowered below what the client holds.
    pub(crate) fn is_over_cap(&self) -> bool {
        self.granted() > self.cap()
    }

    /// The client has not filled its reservation.
    pub(crate) fn is_owed(&self) -> bool {
        self.granted() < self.reservation()
    }

    pub(crate) fn reservation(&self) -> u64 {
        self.reservation.load(Ordering::Relaxed)
    }

    fn weight(&self) -> u64 {
        u64::from(self.weight.load(Ordering::Relaxed).max(1))
    }

    pub(crate) fn share(&self) -> Share {
        Share { reservation_bytes: self.reservation(), weight: self.weight.load(Ordering::Relaxed) }
    }

    /// Bytes beyond the reservation, divided by the weight: who has most is evicted from first. In 1/256 bytes, and
    /// positive for whoever is beyond its reservation at all.
    ///
    /// What is not reserved belongs to the clients in proportion to their weights. If anybody has more than that, so has
    /// the one with the largest such quotient.
    pub(crate) fn excess(&self) -> u64 {
        let beyond = self.granted().saturating_sub(self.reservation());
        ((beyond << 8) / self.weight()).max(u64::from(beyond > 0))
    }
}

/// Why bytes were not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The client's cap forbids it.
    Cap,
    /// The client's share, or what is promised to others, forbids more persistent pages.
    Share,
}

/// Grants bytes to clients, and frames to the index. A test makes it refuse.
pub(crate) trait Grants: Send + Sync {
    /// Grants at least `need` bytes, or 0 when the cap forbids it. What is granted beyond the need is the caller's to
    /// spend or to return.
    fn grant(&self, account: &Account, need: u64) -> u64;

    /// Takes bytes back.
    fn give_back(&self, account: &Account, bytes: u64);

    /// Lets the client keep at least `need` bytes more in persistent pools, or 0 when others have a right to them.
    fn grant_kept(&self, account: &Account, need: u64) -> u64;

    /// Takes such bytes back.
    fn give_back_kept(&self, account: &Account, bytes: u64);

    /// Credit above which a shard returns what a client's pages freed, in bytes.
    fn idle(&self) -> u64;

    /// A frame of memory for metadata.
    fn frame(&self) -> Option<u32>;
}

/// The rule by which clients share a store.
pub(crate) struct Shares {
    arena: Arc<Arena>,
    lending: Lending,
    /// A slice is at most this part of what is left to a limit, so that all shards together cannot hoard it.
    part: u64,
    /// And at most this.
    slice: u64,
    /// Sums over all clients.
    totals: Totals,
}

#[derive(Default)]
struct Totals {
    reserved: AtomicU64,
    weights: AtomicU64,
    clients: AtomicU64,
    granted: AtomicU64,
    /// Of the larger of each client's reservation and kept bytes.
    committed: AtomicU64,
}

impl Shares {
    pub(crate) fn new(arena: Arc<Arena>, shards: usize, lending: Lending) -> Self {
        let capacity = u64::from(arena.frames()) * PAGE_SIZE as u64;
        let slice = (capacity / (IDLE * KEPT * shards as u64)).clamp(SLICE_LEAST, SLICE);
        Self { arena, lending, part: 4 * shards as u64, slice, totals: Totals::default() }
    }

    /// Bytes that can be promised to clients.
    pub(crate) fn promised(&self) -> u64 {
        let bytes = u64::from(self.arena.lendable()) * PAGE_SIZE as u64;
        bytes - bytes / MARGIN
    }

    /// Bytes that clients may be committed: what can be promised, without what fragments take at the moment, when so many
    /// frames are free.
    fn limit(&self, free: u32) -> u64 {
        let used = u64::from(self.arena.frames() - free) * PAGE_SIZE as u64;
        let lost = used.saturating_sub(self.totals.granted.load(Ordering::Relaxed));
        // What shards hold to be spent is granted and not used yet, so fragments may take that much more. It matters to who
        // has a reservation.
        let idle = self.totals.clients.load(Ordering::Relaxed) * self.part / 4 * self.idle();
        self.promised().saturating_sub(lost + idle.min(self.reserved()))
    }

    /// Sum of all reservations.
    pub(crate) fn reserved(&self) -> u64 {
        self.totals.reserved.load(Ordering::Relaxed)
    }

    /// What a client is owed of a full store: its reservation, and its weight's part of what nobody reserved.
    pub(crate) fn share(&self, account: &Account) -> u64 {
        let rest = self.promised().saturating_sub(self.reserved());
        let weights = self.totals.weights.load(Ordering::Relaxed).max(account.weight());
        let part = u128::from(rest) * u128::from(account.weight()) / u128::from(weights);
        account.reservation() + part as u64
    }

    /// The least [`excess`](Account::excess) of a client that is over its share.
    pub(crate) fn fair_excess(&self) -> u64 {
        let rest = self.promised().saturating_sub(self.reserved());
        (rest << 8) / self.totals.weights.load(Ordering::Relaxed).max(1)
    }

    /// Adds a client.
    pub(crate) fn join(&self, account: &Account) {
        self.totals.reserved.fetch_add(account.reservation(), Ordering::Relaxed);
        self.totals.weights.fetch_add(account.weight(), Ordering::Relaxed);
        self.totals.clients.fetch_add(1, Ordering::Relaxed);
        self.totals.committed.fetch_add(account.reservation().max(account.kept()), Ordering::Relaxed);
    }

    /// Takes away the promises to a client that is closed; what it has kept is freed in the background.
    pub(crate) fn close(&self, account: &Account) {
        self.set_share(account, Share { reservation_bytes: 0, ..account.share() });
        self.totals.weights.fetch_sub(account.weight(), Ordering::Relaxed);
        self.totals.clients.fetch_sub(1, Ordering::Relaxed);
    }

    /// Changes what a client is promised. The caller has locked all that grants.
    pub(crate) fn set_share(&self, account: &Account, share: Share) {
        let before = account.share();
        let (kept, totals) = (account.kept(), &self.totals);
        totals.committed.fetch_add(share.reservation_bytes.max(kept), Ordering::Relaxed);
        totals.committed.fetch_sub(before.reservation_bytes.max(kept), Ordering::Relaxed);
        totals.reserved.fetch_add(share.reservation_bytes, Ordering::Relaxed);
        totals.reserved.fetch_sub(before.reservation_bytes, Ordering::Relaxed);
        totals.weights.fetch_add(u64::from(share.weight), Ordering::Relaxed);
        totals.weights.fetch_sub(u64::from(before.weight), Ordering::Relaxed);
        account.reservation.store(share.reservation_bytes, Ordering::Relaxed);
        account.weight.store(share.weight, Ordering::Relaxed);
    }

    /// Raises what the store is committed to, if it can be.
    fn commit(&self, bytes: u64) -> bool {
        let raise = |limit: u64| {
            let sum = |committed: u64| committed.checked_add(bytes).filter(|sum| *sum <= limit);
            self.totals.committed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
        };
        // What lies in magazines is counted only when it matters.
        bytes == 0 || raise(self.limit(self.arena.common())) || raise(self.limit(self.arena.count_free()))
    }

    /// Bytes that a client may still be granted to keep, as far as its own share says.
    fn own_room(&self, account: &Account) -> u64 {
        match self.lending {
            Lending::Persistent => u64::MAX,
            Lending::Ephemeral => self.share(account).saturating_sub(account.kept()),
        }
    }

    /// Grants exactly so many bytes to keep.
    fn try_kept(&self, account: &Account, bytes: u64) -> bool {
        let reservation = account.reservation();
        loop {
            let kept = account.kept();
            let more = (kept + bytes).max(reservation) - kept.max(reservation);
            if !self.commit(more) {
                return false;
            }
            let (relaxed, new) = (Ordering::Relaxed, kept + bytes);
            if account.kept.compare_exchange(kept, new, relaxed, relaxed).is_ok() {
                return true;
            }
            self.totals.committed.fetch_sub(more, Ordering::Relaxed);
        }
    }
}

impl Grants for Shares {
    fn grant(&self, account: &Account, need: u64) -> u64 {
        let cap = account.cap();
        let mut slice = 0;
        let granted = account.granted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |granted| {
            let left = cap.checked_sub(granted).filter(|left| *left >= need)?;
            slice = need.max(self.slice.min(left / self.part));
            Some(granted + slice)
        });
        if granted.is_err() {
            return 0;
        }
        self.totals.granted.fetch_add(slice, Ordering::Relaxed);
        slice
    }

    fn give_back(&self, account: &Account, bytes: u64) {
        account.granted.fetch_sub(bytes, Ordering::Relaxed);
        self.totals.granted.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn grant_kept(&self, account: &Account, need: u64) -> u64 {
        let own = self.own_room(account);
        if own < need {
            return 0;
        }
        let slice = need.max(self.slice.min(own / self.part));
        if self.try_kept(account, slice) {
            slice
        } else if slice > need && self.try_kept(account, need) {
            need
        } else {
            0
        }
    }

    fn give_back_kept(&self, account: &Account, bytes: u64) {
        let reservation = account.reservation();
        let kept = account.kept.fetch_sub(bytes, Ordering::Relaxed);
        let less = kept.max(reservation) - (kept - bytes).max(reservation);
        self.totals.committed.fetch_sub(less, Ordering::Relaxed);
    }

    fn idle(&self) -> u64 {
        KEPT * self.slice
    }

    fn frame(&self) -> Option<u32> {
        self.arena.alloc_block()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(frames: u32, lending: Lending) -> Shares {
        Shares::new(Arc::new(Arena::new(frames, 0).unwrap()), 4, lending)
    }

    #[test]
    fn slices_shrink_towards_the_cap_and_never_pass_it() {
        let shares = shares(16, Lending::Ephemeral);
        let account = Account::new(1 << 20, Share::default());
        let mut total = shares.grant(&account, 100);
        assert_eq!(total, SLICE_LEAST, "an arena of 16 frames is small");
        loop {
            match shares.grant(&account, 100) {
                0 => break,
                slice => total += slice,
            }
        }
        assert_eq!(total, account.granted());
        assert!(account.granted() <= 1 << 20 && account.granted() > (1 << 20) - 100);
        shares.give_back(&account, 200);
        assert_eq!(shares.grant(&account, 200), 200);
    }

    #[test]
    fn nobody_is_granted_what_is_reserved_for_another() {
        for lending in [Lending::Ephemeral, Lending::Persistent] {
            let shares = shares(4096, lending);
            let reserve = |reservation_bytes| {
                let account = Account::new(u64::MAX, Share { reservation_bytes, weight: 100 });
                shares.join(&account);
                account
            };
            let (greedy, owner) = (reserve(0), reserve(shares.promised() / 2));
            while shares.grant_kept(&greedy, 4096) > 0 {}
            let least = if lending == Lending::Persistent { 23 } else { 15 };
            assert!(
                greedy.kept() <= shares.promised() / 2 && greedy.kept() >= shares.promised() / 64 * least
            );
            while owner.kept() + 4096 <= owner.reservation() {
                assert!(shares.grant_kept(&owner, 4096) > 0, "{lending:?}: at {}", owner.kept());
            }
            let (kept, granted) = (owner.kept(), greedy.kept());
            shares.give_back_kept(&owner, kept);
            shares.give_back_kept(&greedy, granted);
            assert_eq!(shares.totals.committed.load(Ordering::Relaxed), owner.reservation());
        }
    }
}
