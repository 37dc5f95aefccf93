//! What shrinking did.

use super::control::{Cost, Next};
use super::measure::{Memory, Reclaimed};
use crate::tool::json;

/// Lines of /proc/vmstat that tell what it cost: pages that had to come back, and processes that were killed.
const COSTS: [&str; 5] =
    ["workingset_refault_anon", "workingset_refault_file", "pswpin", "pgmajfault", "oom_kill"];

/// Sums since the start.
#[derive(Debug)]
pub(super) struct Totals {
    before: [u64; COSTS.len()],
    intervals: u64,
    rests: u64,
    refused: u64,
    evicted: u64,
    waited: u64,
    asked: u64,
    reclaimed: u64,
    short: u64,
    lowest_used: u64,
}

impl Totals {
    pub(super) fn start(memory: &Memory) -> Self {
        Self {
            before: COSTS.map(|name| memory.vmstat(name)),
            intervals: 0,
            rests: 0,
            refused: 0,
            evicted: 0,
            waited: 0,
            asked: 0,
            reclaimed: 0,
            short: 0,
            lowest_used: memory.total_pages(),
        }
    }

    /// An interval at whose end so many pages were in use, and what came of it.
    pub(super) fn interval(&mut self, used: u64, next: Next) {
        self.intervals += 1;
        self.rests += u64::from(matches!(next, Next::Stop(_) | Next::Rest));
        match next {
            Next::Reclaim(pages) => self.asked += pages,
            Next::Stop(Cost::Refused) => self.refused += 1,
            Next::Stop(Cost::Evicted) => self.evicted += 1,
            Next::Stop(Cost::Waited) => self.waited += 1,
            // Requests that were cut short are counted when they are.
            Next::Stop(Cost::CutShort) | Next::Rest | Next::Enough => {}
        }
        self.used(used);
    }

    pub(super) fn request(&mut self, got: Reclaimed) {
        self.reclaimed += got.pages;
        self.short += u64::from(got.cut_short);
    }

    /// Pages that were asked for and found.
    pub(super) fn reclaimed(&self) -> u64 {
        self.reclaimed
    }

    /// Pages in use at a moment.
    pub(super) fn used(&mut self, pages: u64) {
        self.lowest_used = self.lowest_used.min(pages);
    }

    /// Prints them; `for_machines` as a line for whoever reads the console.
    pub(super) fn tell(&self, for_machines: bool, memory: &Memory) {
        let numbers = [
            ("intervals", self.intervals),
            ("rests", self.rests),
            ("stops_for_refusals", self.refused),
            ("stops_for_evictions", self.evicted),
            ("stops_for_waiting", self.waited),
            ("asked_pages", self.asked),
            ("reclaimed_pages", self.reclaimed),
            ("requests_cut_short", self.short),
            ("lowest_used_pages", self.lowest_used),
            ("total_pages", memory.total_pages()),
            ("free_pages_are_reported", u64::from(memory.reports())),
        ];
        let costs = COSTS.into_iter().zip(self.before);
        let costs = costs.map(|(name, before)| (name, memory.vmstat(name).saturating_sub(before)));
        let numbers = numbers.into_iter().chain(costs).map(|(name, number)| (name, number.to_string()));
        if for_machines {
            let event = ("event", json::quoted("shrink"));
            println!("TMEM-REPORT {}", json::object(std::iter::once(event).chain(numbers)));
        } else {
            numbers.for_each(|(name, value)| println!("{name:24}  {value:>10}"));
        }
    }
}
