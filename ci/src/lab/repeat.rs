//! `--repeat N`: how often a run in the lab goes wrong, counted.

use std::collections::BTreeMap;

use serde::Serialize;

use super::verdict::LabError;
use super::{Job, Outcome};

/// The count of many runs of one command.
#[derive(Debug, Serialize)]
pub(crate) struct Tally {
    /// The command.
    command: String,
    /// The emulator, as it names itself.
    emulator: String,
    /// The emulated host's kernel.
    host_kernel: String,
    /// How many runs were made.
    runs: u32,
    /// Runs that ended with status 0.
    good: u32,
    /// Runs that went wrong, by name: `LAB-STALLED`, `exit status 3`.
    bad: BTreeMap<String, u32>,
    /// Seconds of the fastest, the middle and the slowest good run.
    seconds: [f64; 3],
}

impl Tally {
    /// Counts `results`.
    pub(crate) fn new(
        job: &Job,
        emulator: String,
        host_kernel: String,
        results: &[Result<Outcome, LabError>],
    ) -> Self {
        let mut bad = BTreeMap::new();
        let mut seconds = Vec::new();
        for result in results {
            match result {
                Ok(Outcome { status: 0, took }) => seconds.push((took.as_secs_f64() * 10.0).round() / 10.0),
                Ok(Outcome { status, .. }) => *bad.entry(format!("exit status {status}")).or_default() += 1,
                Err(error) => *bad.entry(error.name()).or_default() += 1,
            }
        }
        seconds.sort_by(f64::total_cmp);
        let at = |index: usize| seconds.get(index).copied().unwrap_or(0.0);
        Self {
            command: job.command.clone(),
            emulator,
            host_kernel,
            runs: u32::try_from(results.len()).unwrap_or(u32::MAX),
            good: u32::try_from(seconds.len()).unwrap_or(u32::MAX),
            bad,
            seconds: [at(0), at(seconds.len() / 2), at(seconds.len().saturating_sub(1))],
        }
    }

    /// Whether every run was good.
    pub(crate) fn all_good(&self) -> bool {
        self.runs > 0 && self.good == self.runs
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let bad: Vec<String> = self.bad.iter().map(|(name, count)| format!("{count} x {name}")).collect();
        let bad = if bad.is_empty() { "none went wrong".to_owned() } else { bad.join(", ") };
        let [fastest, middle, slowest] = self.seconds;
        format!(
            "lab: {} of {} runs good ({bad}); {fastest} s fastest, {middle} s median, {slowest} s slowest",
            self.good, self.runs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn outcome(status: i32, seconds: u64) -> Result<Outcome, LabError> {
        Ok(Outcome { status, took: Duration::from_secs(seconds) })
    }

    fn tally(results: &[Result<Outcome, LabError>]) -> Tally {
        Tally::new(&Job::new("true"), "qemu".into(), "6.12".into(), results)
    }

    #[test]
    fn failures_are_counted_by_name() {
        let stalled = || Err(LabError::Stalled { seconds: 1, logs: "/l".into() });
        let tally = tally(&[outcome(0, 3), stalled(), outcome(2, 1), stalled()]);
        assert_eq!((tally.runs, tally.good), (4, 1));
        assert_eq!(tally.bad, BTreeMap::from([("LAB-STALLED".into(), 2), ("exit status 2".into(), 1)]));
        assert!(!tally.all_good());
    }

    #[test]
    fn times_are_of_good_runs_only() {
        let tally = tally(&[outcome(0, 9), outcome(0, 1), outcome(0, 5), outcome(1, 100)]);
        assert_eq!(tally.seconds, [1.0, 5.0, 9.0]);
    }

    #[test]
    fn no_runs_are_not_all_good() {
        assert!(!tally(&[]).all_good());
        assert!(tally(&[outcome(0, 1)]).all_good());
    }
}
