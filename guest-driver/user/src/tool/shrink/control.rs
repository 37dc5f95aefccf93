//! How much to reclaim next: a little more while nobody pays for it, nothing for a while when somebody does.

use super::measure::Sample;

/// An interval, as far as it counts here. A request is made at its beginning, so what that cost is part of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Share of the time in which some task waited for memory, in millionths.
    pub(super) waited: u64,
    /// Puts of this guest that the host refused.
    pub(super) refused: u64,
    /// Pages of this guest that the host evicted.
    pub(super) evicted: u64,
    /// The kernel did not find what it was asked for.
    pub(super) cut_short: bool,
    /// Pages in use at its end.
    pub(super) used: u64,
    /// Pages of swap space, and how many of them are free.
    pub(super) swap: u64,
    pub(super) swap_free: u64,
}

impl Seen {
    pub(super) fn between(before: &Sample, after: &Sample, cut_short: bool) -> Self {
        let time = u64::try_from((after.at - before.at).as_micros()).unwrap_or(u64::MAX).max(1);
        let waited = after.waited_us.saturating_sub(before.waited_us);
        Self {
            waited: waited.saturating_mul(1_000_000) / time,
            refused: after.refused.saturating_sub(before.refused),
            evicted: after.evicted.saturating_sub(before.evicted),
            cut_short,
            used: after.used,
            swap: after.swap,
            swap_free: after.swap_free,
        }
    }
}

/// What somebody pays for the last request, or would for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// The host has no room: pages go to the guest's own disk, or stay.
    Refused,
    /// The host has no room for clean pages: the new ones drive out others of this guest.
    Evicted,
    /// The kernel went over all pages and found too few: each further request is as much work for as little.
    CutShort,
    /// A task waited for memory.
    Waited,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Reclaim so many pages.
    Reclaim(u64),
    /// Nothing, and for some intervals more.
    Stop(Cost),
    /// Nothing: the last stop is not over.
    Rest,
    /// Nothing: the floor is reached, or swap is nearly full.
    Enough,
}

/// The first and the largest request, as parts of memory. A sixty-fourth every 2 s empties a guest in two minutes.
const FIRST: u64 = 512;
const LARGEST: u64 = 64;
/// Most intervals to stay away after a stop.
const REST_MAX: u32 = 32;
/// Of swap space, the part that stays free.
const SWAP_KEPT: u64 = 16;

/// Grows by a quarter with each request that cost nothing. Stops when one did cost something, halves, and rests, twice as long
/// each time: the pages that were taken last are the first that are missed, and they need time to come back.
#[derive(Debug)]
pub(super) struct Pace {
    total: u64,
    floor: u64,
    /// Millionths of the time.
    pressure: u64,
    step: u64,
    rest: u32,
    next_rest: u32,
    /// The interval that is judged next began with a request.
    asked: bool,
}

impl Pace {
    /// For a guest of `total` pages that keeps `floor` per cent in use and bears `pressure` per cent of waiting.
    pub(super) fn new(total: u64, floor: u64, pressure: u64) -> Self {
        Self {
            total,
            floor: total * floor / 100,
            pressure: pressure * 10_000,
            step: (total / FIRST).max(1),
            rest: 0,
            next_rest: 1,
            asked: false,
        }
    }

    /// What to do after an interval like `seen`.
    pub(super) fn next(&mut self, seen: &Seen) -> Next {
        let asked = std::mem::take(&mut self.asked);
        if let Some(cost) = self.cost(seen) {
            self.step = (self.step / 2).max(1);
            self.rest = self.next_rest;
            self.next_rest = (self.next_rest * 2).min(REST_MAX);
            return Next::Stop(cost);
        }
        if asked {
            self.step = (self.step + self.step / 4 + 1).min((self.total / LARGEST).max(1));
            self.next_rest = (self.next_rest / 2).max(1);
        }
        if self.rest > 0 {
            self.rest -= 1;
            return Next::Rest;
        }
        let pages = self.step.min(seen.used.saturating_sub(self.floor));
        // Without swap only file pages can go, which the kernel knows by itself.
        let swap_is_full = seen.swap > 0 && seen.swap_free < seen.swap / SWAP_KEPT;
        if pages == 0 || swap_is_full {
            return Next::Enough;
        }
        self.asked = true;
        Next::Reclaim(pages)
    }

    fn cost(&self, seen: &Seen) -> Option<Cost> {
        let costs = [
            (seen.refused > 0, Cost::Refused),
            (seen.evicted > 0, Cost::Evicted),
            (seen.cut_short, Cost::CutShort),
            (seen.waited >= self.pressure, Cost::Waited),
        ];
        costs.into_iter().find_map(|(paid, cost)| paid.then_some(cost))
    }
}

#[cfg(test)]
mod tests;
