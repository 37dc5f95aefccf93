//! What shrinking did.

use super::measure::{Memory, Sample};
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
    asked: u64,
    reclaimed: u64,
    short: u64,
    lowest_used: u64,
}

impl Totals {
    pub(super) fn start(memory: &Memory) -> Self {
        let before = COSTS.map(|name| memory.vmstat(name));
        Self {
            before,
            intervals: 0,
            rests: 0,
            asked: 0,
            reclaimed: 0,
            short: 0,
            lowest_used: memory.total_pages(),
        }
    }

    /// An interval after which `pages` were asked for, and found or not.
    pub(super) fn count(&mut self, pages: u64, found: bool) {
        self.intervals += 1;
        self.rests += u64::from(pages == 0);
        self.asked += pages;
        self.reclaimed += if found { pages } else { 0 };
        self.short += u64::from(pages > 0 && !found);
    }

    /// Pages that were asked for and found; of a request that was cut short, none.
    pub(super) fn reclaimed(&self) -> u64 {
        self.reclaimed
    }

    pub(super) fn lowest(&mut self, sample: &Sample) {
        self.lowest_used = self.lowest_used.min(sample.used);
    }

    /// Prints them; `for_machines` as a line for whoever reads the console.
    pub(super) fn tell(&self, for_machines: bool, memory: &Memory) {
        let mut members = vec![
            ("event", "shrink".to_owned()),
            ("intervals", self.intervals.to_string()),
            ("rests", self.rests.to_string()),
            ("asked_pages", self.asked.to_string()),
            ("reclaimed_pages", self.reclaimed.to_string()),
            ("requests_cut_short", self.short.to_string()),
            ("lowest_used_pages", self.lowest_used.to_string()),
            ("total_pages", memory.total_pages().to_string()),
            ("free_pages_are_reported", u64::from(memory.reports()).to_string()),
        ];
        let costs = COSTS.iter().zip(self.before);
        members.extend(
            costs.map(|(name, before)| (*name, memory.vmstat(name).saturating_sub(before).to_string())),
        );
        if for_machines {
            let members = members.iter().map(|(name, value)| (*name, json::scalar(value)));
            println!("TMEM-REPORT {}", json::object(members));
        } else {
            members.iter().for_each(|(name, value)| println!("{name:24}  {value:>10}"));
        }
    }
}
