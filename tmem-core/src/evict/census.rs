//! What the policies of one client, one in each shard, know of each other: how many pages each has in which queue, what
//! time it is, how old the oldest pages are. So many small queues work as one large one would.
//!
//! A shard tells of its queues when they changed by more than a part of their length, so that threads at work in large
//! shards seldom write to one cache line; in small shards it tells of every change.

use std::sync::Arc;

use super::history::Past;
use super::rule::Rule;
use crate::arena::Arena;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Queues of a policy: pages on trial, pages that left it by their count, proven pages.
pub(super) const QUEUES: usize = 3;
/// A shard's queue of so many pages may change by one before the shard tells.
const SLACK: u32 = 256;
/// Puts that a shard counts by itself are one in so many of the client's pages.
const STEP: u32 = 1024;
/// Ticks per capacity: time is known to a 64th of the puts that fill the cache once.
pub(super) const TICKS: u32 = 64;
/// Ticks that a page has waited when that is forgotten: more than are remembered.
const UNKNOWN: u32 = 32 * TICKS;
/// Bits of a count.
const COUNT: u32 = 3;
/// Shards looked at to find one to evict from.
const LOOKS: usize = 256;
/// With fewer pages in a shard, the oldest of so many shards' oldest pages goes. With more, chance evens out.
const SMALL: u32 = 256;
const OLDEST_OF: usize = 64;

/// The pages of one client, as its shards tell.
pub(super) struct Census {
    /// Where policies remember.
    arena: Arc<Arena>,
    shards: Box<[Public]>,
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
    /// Evictions from small shards: where the next look begins.
    looks: AtomicU32,
}

/// What all may know of one shard.
#[derive(Default)]
struct Public {
    lengths: [AtomicU32; QUEUES],
    /// What is known of the oldest page of each queue, if shards are small: a count of 3 bits, and the tick at which it
    /// was put.
    oldest: [AtomicU32; QUEUES],
}

/// The oldest page of a queue, in all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Oldest {
    pub(super) shard: usize,
    /// Ticks since it was put.
    pub(super) age: u32,
    /// Times it was put, as the history counts.
    pub(super) count: u32,
}

/// One shard's place in it.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    shard: u32,
    told: [u32; QUEUES],
    puts: u32,
}

impl Seat {
    pub(super) fn new(shard: usize) -> Self {
        Self { shard: shard as u32, told: [0; QUEUES], puts: 0 }
    }
}

impl Census {
    pub(super) fn new(shards: usize, rule: Rule, arena: Arc<Arena>) -> Self {
        Self {
            arena,
            shards: (0..shards).map(|_| Public::default()).collect(),
            sums: Default::default(),
            capacity: AtomicU32::new(0),
            puts: AtomicU32::new(0),
            now: AtomicU32::new(0),
            trial: AtomicU32::new(rule.trial),
            hands: Default::default(),
            looks: AtomicU32::new(0),
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

    /// Pages in a shard, on average.
    pub(super) fn average(&self) -> u32 {
        self.pages() / self.shards.len() as u32
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
        for (((told, now), sum), public) in
            seat.told.iter_mut().zip(queues).zip(&self.sums).zip(&shard.lengths)
        {
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

    /// Whether shards are so small that each should tell the age of its oldest pages.
    pub(super) fn is_small(&self) -> bool {
        self.shards.len() > 1 && self.capacity() < SMALL * self.shards.len() as u32
    }

    /// What is known of the oldest page of a shard's queue. A page that is known no more is an old one.
    pub(super) fn tell_oldest(&self, seat: &Seat, queue: usize, past: Option<Past>) {
        let (age, count) = past.map_or((UNKNOWN, 0), |past| (past.age, past.count));
        let public = self.shards.get(seat.shard as usize).and_then(|shard| shard.oldest.get(queue));
        if let Some(oldest) = public {
            oldest.store(self.now().wrapping_sub(age) << COUNT | count, Relaxed);
        }
    }

    /// The shard to evict from.
    pub(super) fn next(&self) -> usize {
        let [_, won, _] = self.sums();
        let queue = match (self.takes_trial(), won) {
            (true, _) => 0,
            (false, 1..) => 1,
            _ => 2,
        };
        if !self.is_small() {
            return self.in_turn(queue);
        }
        self.oldest(queue).map_or(0, |oldest| oldest.shard)
    }

    /// The oldest page of a queue in small shards.
    pub(super) fn oldest(&self, queue: usize) -> Option<Oldest> {
        // A shard that is not looked at now is so next time.
        let start = self.looks.fetch_add(1, Relaxed) as usize;
        let now = self.now() & (u32::MAX >> COUNT);
        let mut found: Option<Oldest> = None;
        for step in 0..self.shards.len().min(OLDEST_OF) {
            let shard = start.wrapping_add(step) % self.shards.len();
            let Some(public) = self.shards.get(shard) else { break };
            let load = |of: &[AtomicU32; QUEUES]| of.get(queue).map_or(0, |n| n.load(Relaxed));
            if load(&public.lengths) == 0 {
                continue;
            }
            let known = load(&public.oldest);
            let age = now.wrapping_sub(known >> COUNT) & (u32::MAX >> COUNT);
            if found.is_none_or(|found| age > found.age) {
                found = Some(Oldest { shard, age, count: known & ((1 << COUNT) - 1) });
            }
        }
        found
    }

    /// Each shard in turn, as often as it has pages in a queue. So a page stays for as long in a shard that many are put
    /// into as in one that few are put into.
    fn in_turn(&self, queue: usize) -> usize {
        let of = |numbers: &[u32; QUEUES]| u64::from(numbers.get(queue).copied().unwrap_or(0));
        let total = of(&self.sums()).max(1);
        let [others, trial] = &self.hands;
        let hand = if queue == 0 { trial } else { others };
        let state = hand.load(Relaxed);
        let (mut shard, mut due) = ((state >> 32) as usize % self.shards.len(), state & 0xffff_ffff);
        for _ in 0..LOOKS {
            if due >= 1 << 16 {
                due -= 1 << 16;
                break;
            }
            shard = (shard + 1) % self.shards.len();
            let lengths =
                self.shards.get(shard).map(|shard| shard.lengths.each_ref().map(|n| n.load(Relaxed)));
            let part = (of(&lengths.unwrap_or_default()) * self.shards.len() as u64) << 16;
            due = (due + part / total).min(64 << 16);
        }
        hand.store((shard as u64) << 32 | due, Relaxed);
        shard
    }
}
