//! How much to reclaim next: a little more while nobody notices, nothing for a while when somebody does.

use super::measure::Sample;

/// An interval, as far as it counts here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Share of the time in which some task waited for memory, in millionths.
    pub(super) waited: u64,
    /// Puts that the host refused.
    pub(super) refused: u64,
    /// Pages in use at its end.
    pub(super) used: u64,
    /// Pages of swap space, and how many of them are free.
    pub(super) swap: u64,
    pub(super) swap_free: u64,
}

impl Seen {
    pub(super) fn between(before: &Sample, after: &Sample) -> Self {
        let time = u64::try_from((after.at - before.at).as_micros()).unwrap_or(u64::MAX).max(1);
        let waited = after.waited_us.saturating_sub(before.waited_us);
        Self {
            waited: waited.saturating_mul(1_000_000) / time,
            refused: after.refused.saturating_sub(before.refused),
            used: after.used,
            swap: after.swap,
            swap_free: after.swap_free,
        }
    }
}

/// The first and the largest request, as parts of memory. A sixty-fourth every 2 s empties a guest in two minutes.
const FIRST: u64 = 512;
const LARGEST: u64 = 64;
/// Most intervals to stay away after somebody noticed.
const REST_MAX: u32 = 32;
/// Of swap space, the part that stays free.
const SWAP_KEPT: u64 = 16;

/// Grows by a quarter, halves when somebody notices, and then rests, twice as long each time: the pages that were taken last
/// are the first that are missed, and they need time to come back.
#[derive(Debug)]
pub(super) struct Pace {
    total: u64,
    floor: u64,
    /// Millionths of the time.
    pressure: u64,
    step: u64,
    rest: u32,
    next_rest: u32,
}

impl Pace {
    /// For a guest of `total` pages that keeps `floor` per cent in use and bears `pressure` per cent of waiting.
    pub(super) fn new(total: u64, floor: u64, pressure: u64) -> Self {
        let step = (total / FIRST).max(1);
        Self { total, floor: total * floor / 100, pressure: pressure * 10_000, step, rest: 0, next_rest: 1 }
    }

    /// Pages to reclaim after an interval like `seen`; 0 for none.
    pub(super) fn next(&mut self, seen: &Seen) -> u64 {
        if seen.waited >= self.pressure || seen.refused > 0 {
            self.step = (self.step / 2).max(1);
            self.rest = self.next_rest;
            self.next_rest = (self.next_rest * 2).min(REST_MAX);
            return 0;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return 0;
        }
        // Without swap only file pages can go, which the kernel knows by itself.
        if seen.swap > 0 && seen.swap_free < seen.swap / SWAP_KEPT {
            return 0;
        }
        let pages = self.step.min(seen.used.saturating_sub(self.floor));
        self.step = (self.step + self.step / 4 + 1).min((self.total / LARGEST).max(1));
        self.next_rest = (self.next_rest / 2).max(1);
        pages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: u64 = 65536;

    fn calm(used: u64) -> Seen {
        Seen { used, swap: 1000, swap_free: 1000, ..Seen::default() }
    }

    #[test]
    fn calm_guest_gives_more_each_time_up_to_a_limit_and_never_below_the_floor() {
        let mut pace = Pace::new(TOTAL, 20, 1);
        let mut used = TOTAL;
        let mut given = Vec::new();
        for _ in 0..500 {
            let pages = pace.next(&calm(used));
            used -= pages;
            given.push(pages);
        }
        assert!(given[0] < given[1] && given[1] < given[2]);
        assert_eq!(given.iter().max(), Some(&(TOTAL / LARGEST)));
        assert_eq!((used, given[499]), (TOTAL / 5, 0));
    }

    #[test]
    fn pressure_stops_it_at_once_and_longer_each_time() {
        let mut pace = Pace::new(TOTAL, 20, 1);
        let pressed = Seen { waited: 10_000, ..calm(TOTAL) };
        let mut rest = || {
            assert_eq!(pace.next(&pressed), 0);
            (0..100).find(|_| pace.next(&calm(TOTAL)) > 0).unwrap()
        };
        // A calm interval with work in it halves the next rest again.
        assert_eq!([rest(), rest()], [1, 1]);
        assert_eq!(pace.next(&pressed) + pace.next(&pressed) + pace.next(&pressed), 0);
        assert_eq!((0..100).find(|_| pace.next(&calm(TOTAL)) > 0), Some(4));
    }

    #[test]
    fn steps_shrink_under_pressure_and_recover() {
        let mut pace = Pace::new(TOTAL, 20, 1);
        (0..50).for_each(|_| _ = pace.next(&calm(TOTAL)));
        let before = pace.step;
        pace.next(&Seen { waited: 1_000_000, ..calm(TOTAL) });
        assert_eq!(pace.step, before / 2);
        (0..50).for_each(|_| _ = pace.next(&calm(TOTAL)));
        assert_eq!(pace.step, before);
    }

    #[test]
    fn host_that_refuses_or_swap_that_is_full_stops_it() {
        let mut pace = Pace::new(TOTAL, 20, 1);
        assert_eq!(pace.next(&Seen { refused: 1, ..calm(TOTAL) }), 0);
        let mut pace = Pace::new(TOTAL, 20, 1);
        assert_eq!(pace.next(&Seen { swap_free: 10, ..calm(TOTAL) }), 0);
        assert!(pace.next(&Seen { swap: 0, swap_free: 0, ..calm(TOTAL) }) > 0);
    }
}
