//! What a run has done and found, for people who were not there: counts by kernel, and every finding with its log.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::boot::Mishap;

/// A whole run.
#[derive(Debug, Default, Serialize)]
pub(super) struct Record {
    /// The command line.
    pub(super) command: String,
    /// When it started, as `date --iso-8601=seconds` writes it.
    pub(super) started: String,
    /// The emulator.
    pub(super) emulator: String,
    /// Processors of each guest.
    pub(super) cpus: u32,
    /// Hours from the start to the end.
    pub(super) hours: f64,
    /// How often all worlds were run, the last time perhaps not all.
    pub(super) rounds: u32,
    /// Guests that came to their end.
    pub(super) boots: u32,
    /// Boots that were done again, the emulator having hung or died.
    pub(super) boots_repeated: Repeated,
    /// Scenarios by how they ended.
    pub(super) scenarios: Scenarios,
    /// Pages that the kernel and the driver put, got and flushed, by the names of their counters.
    pub(super) operations: BTreeMap<String, u64>,
    /// Data races of the kernel that KCSAN saw, with no code of tmem in them.
    pub(super) races_elsewhere: u64,
    /// By world.
    pub(super) worlds: BTreeMap<String, World>,
    /// What is wrong.
    pub(super) findings: Vec<Finding>,
}

/// Boots that were done again, by reason.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Repeated {
    /// The kernel did not come up.
    pub(super) hung_at_boot: u32,
    /// The kernel met a breakpoint while it patched itself.
    pub(super) patching: u32,
}

impl Repeated {
    /// Counts one more.
    pub(super) fn count(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::HungAtBoot => self.hung_at_boot += 1,
            Mishap::Patching => self.patching += 1,
        }
    }
}

/// Scenarios by how they ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Scenarios {
    /// With `ok`.
    pub(super) good: u32,
    /// With `skip`.
    pub(super) skipped: u32,
    /// With `FAIL`.
    pub(super) failed: u32,
}

/// What was done in a world.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct World {
    /// The kernel that its guest booted.
    pub(super) kernel: String,
    /// Guests that came to their end.
    pub(super) boots: u32,
    /// Seconds that they took.
    pub(super) seconds: f64,
}

/// Something wrong.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// The world and what is wrong in it.
    pub(super) what: String,
    /// The guest's kernel.
    pub(super) kernel: String,
    /// Its console.
    pub(super) log: PathBuf,
}

impl Record {
    /// Adds what a console showed.
    pub(super) fn add(&mut self, said: &str) {
        for line in said.lines().map(str::trim_end) {
            match line.split_once(' ') {
                Some(("ok", _)) => self.scenarios.good += 1,
                Some(("skip", _)) => self.scenarios.skipped += 1,
                Some(("FAIL", _)) => self.scenarios.failed += 1,
                Some(("counted", rest)) => self.count(rest),
                _ => {}
            }
        }
    }

    fn count(&mut self, line: &str) {
        let Some((name, number)) = line.split_once(' ') else { return };
        let Ok(number) = number.parse::<u64>() else { return };
        if name == "races_elsewhere" {
            self.races_elsewhere += number;
        } else {
            *self.operations.entry(name.to_owned()).or_default() += number;
        }
    }

    /// A line for each finding.
    pub(super) fn found(&self) -> Vec<String> {
        let line =
            |finding: &Finding| format!("{} ({}): {}", finding.what, finding.kernel, finding.log.display());
        self.findings.iter().map(line).collect()
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let pages: u64 = self.operations.values().sum();
        format!(
            "{:.2} hours, {} boots ({} more done again), {} scenarios ok, {} skipped, {} failed, {pages} operations, {} findings",
            self.hours,
            self.boots,
            self.boots_repeated.hung_at_boot + self.boots_repeated.patching,
            self.scenarios.good,
            self.scenarios.skipped,
            self.scenarios.failed,
            self.findings.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_console_showed_is_counted() {
        let mut record = Record::default();
        for _ in 0..2 {
            record.add("start a\r\nok a\r\nskip b why\r\nFAIL c why\r\ncounted swap_puts 7\r\ncounted swap_puts x\r\ncounted races_elsewhere 2\r\n");
        }
        let Scenarios { good, skipped, failed } = record.scenarios;
        assert_eq!((good, skipped, failed, record.races_elsewhere), (2, 2, 2, 4));
        assert_eq!(record.operations, BTreeMap::from([("swap_puts".to_owned(), 14)]));
        assert!(record.line().contains("14 operations"), "{}", record.line());
    }
}
