//! What the policies of one client, one in each shard, know of each other: how many pages each has in which queue, what
//! time it is, how old the oldest pages are. So many small queues work as one large one would.
//!
//! A shard tells of its queues when they changed by more than a part of their length, so that threads at work in large
//! shards seldom write to one cache line; in small shards it tells of every change.

use std::sync::Arc;

use super::rule::Rule;
use crate::arena::Arena;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Queues of a policy: pages on trial, pages that left it by their count, proven pages.
pub(super) const QUEUES: usize = 3;
/// A shard's queue of so many pages may change by one before the shard tells.
const SLACK: u32 = 256;
/// Puts that a shard counts by itself are one in so many of the client's pages.
const STEP: u32 = 1024;
/// Ticks per capacity: time is known to a sixteenth of the puts that fill the cache once.
pub(super) const TICKS: u32 = 16;
/// Averages move by one part in so many.
const PACE: u32 = 8;
/// Averages are kept in so many parts of one.
const PARTS: u32 = 256;
/// Shards looked at to find one to evict from.
const LOOKS: usize = 256;

/// The pages of one client, as its shards tell.
pub(super) struct Census {
    /// Where policies remember.
    arena: Arc<Arena>,
    shards: Box<[[AtomicU32; QUEUES]]>,
    sums: [AtomicU32; QUEUES],
    /// Pages held when one was last evicted; 0 before.
    capacity: AtomicU32,
    /// Puts since the last tick, and ticks.
    puts: AtomicU32,
    now: AtomicU32,
    /// The rule's trial share, in percent.
    trial: AtomicU32,
    /// The shard that is being evicted from, and how many more evictions are due there (in 1/65536): for the trial queue
    /// and for the others.
    hands: [AtomicU64; 2],
    /// Averages over shards: ticks that the next page to go has waited, and its count.
    age: [AtomicU32; QUEUES],
    count: AtomicU32,
}

/// One shard's place in it.
#[derive(Clone, Copy, Default)]
pub(super) struct Seat {
    shard: u32,
    told: [u32; QUEUES],
    puts: u32,
}

impl Seat {
    pub(super) fn new(shard: usize) -> Self {
        Self { shard: shard as u32, ..Self::default() }
    }
}

impl Census {
    pub(super) fn new(shards: usize, rule: Rule, arena: Arc<Arena>) -> Self {
        Self {
            arena,
            shards: (0..shards).map(|_| Default::default()).collect(),
            sums: Default::default(),
            capacity: AtomicU32::new(0),
            puts: AtomicU32::new(0),
            now: AtomicU32::new(0),
            trial: AtomicU32::new(rule.trial),
            hands: Default::default(),
            age: Default::default(),
            count: AtomicU32::new(0),
        }
    }

    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.shards)
    }

    pub(super) fn follow(&self, rule: Rule) {
        self.trial.store(rule.trial, Relaxed);
    }

    /// Pages in each queue.
    pub(super) fn sums(&self) -> [u32; QUEUES] {
        // Shards tell of pages that come and go in any order, so that a sum may be below nothing for a moment.
        self.sums.each_ref().map(|sum| (sum.load(Relaxed) as i32).max(0) as u32)
    }

    /// Pages in all queues.
    pub(super) fn pages(&self) -> u32 {
        self.sums().iter().sum()
    }

    /// Pages held when one was last evicted; 0 before the first eviction.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity.load(Relaxed)
    }

    /// Pages that may be on trial.
    pub(super) fn on_trial(&self) -> u32 {
        let percent = u64::from(self.trial.load(Relaxed));
        ((u64::from(self.capacity()) * percent / 100) as u32).max(1)
    }

    /// A page has to go: from the trial queue, or else from the others.
    pub(super) fn takes_trial(&self) -> bool {
        let [trial, won, proven] = self.sums();
        trial > 0 && (trial >= self.on_trial() || won + proven == 0)
    }

    /// A page is about to be evicted.
    pub(super) fn evicts(&self) {
        let pages = self.pages().max(1);
        if self.capacity() != pages {
            self.capacity.store(pages, Relaxed);
        }
    }

    /// A shard's queues have so many pages now.
    pub(super) fn tell(&self, seat: &mut Seat, queues: [u32; QUEUES]) {
        let alone = self.shards.len() == 1;
        let Some(shard) = self.shards.get(seat.shard as usize) else { return };
        for (((told, now), sum), public) in seat.told.iter_mut().zip(queues).zip(&self.sums).zip(shard) {
            let slack = if alone { 0 } else { now / SLACK };
            if now.abs_diff(*told) > slack || (now == 0) != (*told == 0) {
                sum.fetch_add(now.wrapping_sub(*told), Relaxed);
                public.store(now, Relaxed);
                *told = now;
            }
        }
    }

    /// A page is put: tells the tick.
    pub(super) fn pass(&self, seat: &mut Seat) -> u32 {
        seat.puts += 1;
        let capacity = self.capacity();
        let step = if self.shards.len() == 1 { 1 } else { (capacity / STEP).max(1) };
        if seat.puts >= step {
            let puts = self.puts.fetch_add(seat.puts, Relaxed) + seat.puts;
            seat.puts = 0;
            if puts >= (capacity / TICKS).max(1) {
                self.puts.store(0, Relaxed);
                self.now.fetch_add(1, Relaxed);
            }
        }
        self.now()
    }

    /// The tick.
    pub(super) fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// Notes how many ticks the oldest page of a shard's queue has waited, and tells what is usual.
    pub(super) fn age(&self, queue: usize, ticks: Option<u32>) -> Option<u32> {
        let average = self.age.get(queue)?;
        let old = average.load(Relaxed);
        let Some(ticks) = ticks else { return (old != 0).then_some(old / PARTS) };
        let new = mean(old, ticks);
        if new != old {
            average.store(new, Relaxed);
        }
        Some(new / PARTS)
    }

    /// Notes the count of the next page to go, and tells what is usual.
    pub(super) fn count(&self, count: Option<u32>) -> u32 {
        let old = self.count.load(Relaxed);
        let new = count.map_or(old, |count| mean(old, count));
        if new != old {
            self.count.store(new, Relaxed);
        }
        new / PARTS
    }

    /// The shard to evict from: each in turn, as often as it has pages in the queue that has to lose one. So a page stays
    /// for as long in a shard that many are put into as in one that few are put into.
    pub(super) fn next(&self) -> usize {
        let takes_trial = self.takes_trial();
        let sums = self.sums();
        let mine = |queues: [u32; QUEUES]| {
            let [trial, won, proven] = queues;
            u64::from(if takes_trial {
                trial
            } else if sums[1] > 0 {
                won
            } else {
                proven
            })
        };
        let total = mine(sums).max(1);
        let [others, trial] = &self.hands;
        let hand = if takes_trial { trial } else { others };
        let state = hand.load(Relaxed);
        let (mut shard, mut due) = ((state >> 32) as usize % self.shards.len(), state & 0xffff_ffff);
        for _ in 0..LOOKS {
            if due >= 1 << 16 {
                due -= 1 << 16;
                break;
            }
            shard = (shard + 1) % self.shards.len();
            let queues = self
                .shards
                .get(shard)
                .map_or([0; QUEUES], |queues| queues.each_ref().map(|n| n.load(Relaxed)));
            let part = (mine(queues) * self.shards.len() as u64) << 16;
            due = (due + part / total).min(64 << 16);
        }
        hand.store((shard as u64) << 32 | due, Relaxed);
        shard
    }
}

fn mean(old: u32, new: u32) -> u32 {
    let new = new.min(1 << 16) * PARTS;
    if old == 0 { new } else { old - old / PACE + new / PACE }
}
