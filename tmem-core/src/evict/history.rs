//! What is remembered of pages, those that are gone included: a cell of 4 bytes a name, in buckets of one cache line.
//!
//! In a victim cache a hit removes the page, so a policy that keeps its knowledge with the page forgets at every hit.
//! Cells outlive pages. A name finds its cell again by its bucket and 14 more bits, so that one in 1,000 lookups of an
//! unknown name meets a stranger's cell.

use std::sync::Arc;

use crate::arena::{Arena, BUCKET as WAYS, Cells};

/// The clock of cells, in bits. It wraps, so cells older than half its range are swept.
const CLOCK: u32 = 12;
/// Puts, in capacities, after which a count is halved: what W-TinyLFU's sketch does (Einziger, Friedman and Manes, 2017).
const AGEING: u64 = 10;
/// Counts end at 7. On block traces 15 was no better and 3 was worse.
const MOST: u32 = 7;

// A cell, from bit 0: tag 14, time 12, count 3, fate 3. Fates start at 1, so that an empty cell is 0.
const TAG: u32 = 14;
const COUNT: u32 = TAG + CLOCK;
const FATE: u32 = COUNT + 3;

/// How a page was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is stored, as far as is known.
    Here = 1,
    /// It was evicted or flushed.
    Gone = 2,
    /// A get took it, the first one since it came.
    Taken = 3,
    /// A get took it, and had before.
    TakenAgain = 4,
    /// A get took it from among the pages that had proven themselves.
    TakenProven = 5,
}

/// What is known of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// Ticks since it was last put.
    pub(super) age: u32,
    /// Times it was put, halved now and then.
    pub(super) count: u32,
    pub(super) fate: Fate,
}

/// The cells, and the tick that they were last told.
pub(super) struct History {
    cells: Cells,
    now: u32,
    /// The next cell to age, and the fraction of a cell, in 1/65536, that was left over.
    hand: usize,
    owed: u64,
    share: u64,
}

impl History {
    /// Bytes that a history of at least `cells` names holds.
    pub(super) fn bytes_of(cells: usize) -> usize {
        Cells::bytes_of(cells.max(1))
    }

    /// Remembers as many names of a cache of `capacity` pages as there are cells.
    fn new(cells: Cells, capacity: u32) -> Self {
        let share = ((cells.words() as u64) << 16) / (AGEING * u64::from(capacity.max(1)));
        Self { cells, now: 0, hand: 0, owed: 0, share }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.cells.bytes()
    }

    fn bucket(&mut self, name: u64) -> &mut [u32] {
        let buckets = self.cells.words() / WAYS;
        let at = (((name >> 32) * buckets as u64) >> 32) as usize;
        self.cells.bucket_mut(at).map(|bucket| bucket.as_mut_slice()).unwrap_or_default()
    }

    fn find(&mut self, name: u64) -> Option<&mut u32> {
        let tag = name as u32 & ((1 << TAG) - 1);
        self.bucket(name).iter_mut().find(|cell| **cell != 0 && **cell & ((1 << TAG) - 1) == tag)
    }

    fn past(&self, cell: u32) -> Past {
        let fate = match cell >> FATE {
            2 => Fate::Gone,
            3 => Fate::Taken,
            4 => Fate::TakenAgain,
            5 => Fate::TakenProven,
            _ => Fate::Here,
        };
        Past { age: age(self.now, cell), count: cell >> COUNT & MOST, fate }
    }

    /// What is known of a name at a tick.
    pub(super) fn recall(&mut self, name: u64, now: u32) -> Option<Past> {
        self.now = now & ((1 << CLOCK) - 1);
        let cell = *self.find(name)?;
        Some(self.past(cell))
    }

    /// Notes that a page was put at a tick, and tells what was known of it before.
    pub(super) fn put(&mut self, name: u64, now: u32) -> Option<Past> {
        self.pass();
        let past = self.recall(name, now);
        let count = past.map_or(1, |past| (past.count + 1).min(MOST));
        self.set(name, count, Fate::Here);
        past
    }

    /// Notes what became of a page.
    pub(super) fn mark(&mut self, name: u64, fate: Fate) {
        if let Some(cell) = self.find(name) {
            *cell = *cell & ((1 << FATE) - 1) | (fate as u32) << FATE;
        } else if fate != Fate::Gone {
            // It stayed for longer than its cell, and will be back.
            self.set(name, 1, fate);
        }
    }

    fn set(&mut self, name: u64, count: u32, fate: Fate) {
        let now = self.now;
        let cell = name as u32 & ((1 << TAG) - 1) | now << TAG | count << COUNT | (fate as u32) << FATE;
        if let Some(old) = self.find(name) {
            *old = cell;
            return;
        }
        let ages = |cell: &&mut u32| if **cell == 0 { u32::MAX } else { age(now, **cell) };
        if let Some(oldest) = self.bucket(name).iter_mut().max_by_key(ages) {
            *oldest = cell;
        }
    }

    /// One put's worth of ageing.
    fn pass(&mut self) {
        self.owed += self.share;
        while self.owed >= 1 << 16 {
            self.owed -= 1 << 16;
            let now = self.now;
            let bucket = self.cells.bucket_mut(self.hand / WAYS);
            if let Some(cell) = bucket.and_then(|bucket| bucket.get_mut(self.hand % WAYS)) {
                let count = *cell >> COUNT & MOST;
                *cell = *cell & !(MOST << COUNT) | (count >> 1) << COUNT;
                if age(now, *cell) >= 1 << (CLOCK - 1) {
                    *cell = 0;
                }
            }
            self.hand = if self.hand + 1 < self.cells.words() { self.hand + 1 } else { 0 };
        }
    }
}

/// A history in the making: a frame of its cells at each eviction, so that none takes long.
pub(super) struct Plan {
    cells: Cells,
    capacity: u32,
}

impl Plan {
    /// A plan for at least `cells` names of a cache of `capacity` pages.
    pub(super) fn new(arena: &Arc<Arena>, cells: usize, capacity: u32) -> Option<Self> {
        Some(Self { cells: Cells::begin(arena, cells.max(1))?, capacity })
    }

    /// Pages of the cache that it is for.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Goes on, and tells whether all cells are there.
    pub(super) fn go_on(&mut self) -> bool {
        self.cells.grow();
        self.cells.is_whole()
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.cells.bytes()
    }

    /// The history.
    pub(super) fn finish(self) -> History {
        History::new(self.cells, self.capacity)
    }
}

fn age(now: u32, cell: u32) -> u32 {
    now.wrapping_sub(cell >> TAG) & ((1 << CLOCK) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(cells: usize, capacity: u32) -> History {
        let arena = Arc::new(Arena::new(256, 0).unwrap());
        let mut plan = Plan::new(&arena, cells, capacity).unwrap();
        while !plan.go_on() {}
        plan.finish()
    }

    fn name(n: u64) -> u64 {
        (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_name_is_recalled_with_its_age_count_and_fate() {
        let mut history = history(1024, 160);
        assert_eq!(history.put(name(1), 7), None);
        history.mark(name(1), Fate::TakenAgain);
        assert_eq!(history.recall(name(1), 9), Some(Past { age: 2, count: 1, fate: Fate::TakenAgain }));
        assert_eq!(history.put(name(1), 9).map(|p| p.count), Some(1));
        assert_eq!(history.recall(name(1), 9), Some(Past { age: 0, count: 2, fate: Fate::Here }));
    }

    #[test]
    fn an_unknown_name_is_noted_when_it_is_taken_and_not_when_it_goes() {
        let mut history = history(64, 8);
        history.mark(name(1), Fate::Gone);
        assert_eq!(history.recall(name(1), 0), None);
        history.mark(name(1), Fate::TakenProven);
        assert_eq!(history.recall(name(1), 0), Some(Past { age: 0, count: 1, fate: Fate::TakenProven }));
    }

    #[test]
    fn a_full_bucket_forgets_its_oldest() {
        let mut history = history(WAYS, 16);
        for n in 0..=WAYS as u64 {
            history.put(n, n as u32);
        }
        let now = WAYS as u32;
        assert_eq!(history.recall(0, now), None);
        assert!((1..=WAYS as u64).all(|n| history.recall(n, now).is_some()));
    }

    #[test]
    fn counts_are_halved_and_old_names_swept_as_time_passes() {
        let mut history = history(256, 16);
        for _ in 0..4 {
            history.put(name(1), 0);
        }
        for tick in 0..170 {
            history.put(name(2), tick);
        }
        assert_eq!(history.recall(name(1), 170).map(|p| p.count), Some(2));
        for tick in 170..2400 {
            history.put(name(2), tick);
        }
        assert_eq!(history.recall(name(1), 2400), None);
    }

    #[test]
    fn it_holds_four_bytes_a_name() {
        assert_eq!(history(1 << 16, 1 << 14).bytes(), 4 << 16);
    }
}
