//! The books: what each client may hold, and where metadata gets its memory.
//!
//! The other seam of the first core, *hostops*. Bytes are granted to a client in slices, which shards spend under their
//! own locks, so that no counter is shared on the path of a page. Near the cap slices shrink to what is needed, and what
//! shards still hold is called in before a put is refused.

use std::sync::Arc;

use crate::arena::{Arena, Block};
use crate::config::Share;
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

/// One client's line in the books.
pub(crate) struct Account {
    /// Bytes granted: spent, or held by shards to be spent.
    granted: AtomicU64,
    cap: AtomicU64,
    reservation: AtomicU64,
    weight: AtomicU32,
}

impl Account {
    pub(crate) fn new(cap: u64, share: Share) -> Self {
        let (granted, cap) = (AtomicU64::new(0), AtomicU64::new(cap));
        let (reservation, weight) = (AtomicU64::new(share.reservation_bytes), AtomicU32::new(share.weight));
        Self { granted, cap, reservation, weight }
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted.load(Ordering::Relaxed)
    }

    pub(crate) fn cap(&self) -> u64 {
        self.cap.load(Ordering::Relaxed)
    }

    pub(crate) fn reservation(&self) -> u64 {
        self.reservation.load(Ordering::Relaxed)
    }

    pub(crate) fn share(&self) -> Share {
        Share { reservation_bytes: self.reservation(), weight: self.weight.load(Ordering::Relaxed) }
    }

    pub(crate) fn set_share(&self, share: Share) {
        self.reservation.store(share.reservation_bytes, Ordering::Relaxed);
        self.weight.store(share.weight, Ordering::Relaxed);
    }

    /// Bytes beyond the reservation, divided by the weight: who has most is evicted from first. In 1/256 bytes, and
    /// positive for whoever is beyond its reservation at all.
    ///
    /// What is not reserved belongs to the clients in proportion to their weights. If anybody has more than that, so has
    /// the one with the largest such quotient.
    pub(crate) fn excess(&self) -> u64 {
        let beyond = self.granted().saturating_sub(self.reservation());
        let quotient = (beyond << 8) / u64::from(self.weight.load(Ordering::Relaxed).max(1));
        quotient.max(u64::from(beyond > 0))
    }

    pub(crate) fn set_cap(&self, cap: u64) {
        self.cap.store(cap, Ordering::Relaxed);
    }
}

/// Grants bytes to clients, and memory to the index.
pub(crate) trait Accounting: Send + Sync {
    /// Grants at least `need` bytes, or 0 when the cap forbids it. What is granted beyond the need is the caller's to
    /// spend or to return.
    fn grant(&self, account: &Account, need: u64) -> u64;

    /// Grants `need` bytes whatever the cap says, for metadata that moves from one client to another.
    fn force(&self, account: &Account, need: u64) {
        account.granted.fetch_add(need, Ordering::Relaxed);
    }

    /// Takes bytes back.
    fn give_back(&self, account: &Account, bytes: u64) {
        account.granted.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Credit above which a shard returns what a client's pages freed, in bytes.
    fn keep(&self) -> u64 {
        KEPT * SLICE
    }

    /// A block of memory for metadata.
    fn block(&self) -> Option<Block>;
}

/// The books of a machine's own memory.
pub(crate) struct Books {
    arena: Arc<Arena>,
    /// A slice is at most this part of what is left to the cap, so that all shards together cannot hoard it.
    part: u64,
    /// And at most this.
    slice: u64,
}

impl Books {
    pub(crate) fn new(arena: Arc<Arena>, shards: usize) -> Self {
        let capacity = u64::from(arena.frames()) * PAGE_SIZE as u64;
        let slice = (capacity / (IDLE * KEPT * shards as u64)).clamp(SLICE_LEAST, SLICE);
        Self { arena, part: 4 * shards as u64, slice }
    }
}

impl Accounting for Books {
    fn grant(&self, account: &Account, need: u64) -> u64 {
        let cap = account.cap();
        let mut slice = 0;
        let granted = account.granted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |granted| {
            let left = cap.checked_sub(granted).filter(|left| *left >= need)?;
            slice = need.max(self.slice.min(left / self.part));
            Some(granted + slice)
        });
        if granted.is_ok() { slice } else { 0 }
    }

    fn keep(&self) -> u64 {
        KEPT * self.slice
    }

    fn block(&self) -> Option<Block> {
        Block::new(&self.arena)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_shrink_towards_the_cap_and_never_pass_it() {
        let books = Books::new(Arc::new(Arena::new(16, 0).unwrap()), 4);
        let account = Account::new(1 << 20, Share::default());
        let mut total = books.grant(&account, 100);
        assert_eq!(total, SLICE_LEAST, "an arena of 16 frames is small");
        loop {
            match books.grant(&account, 100) {
                0 => break,
                slice => total += slice,
            }
        }
        assert_eq!(total, account.granted());
        assert!(account.granted() <= 1 << 20 && account.granted() > (1 << 20) - 100);
        books.give_back(&account, 200);
        assert_eq!(books.grant(&account, 200), 200);
    }
}
