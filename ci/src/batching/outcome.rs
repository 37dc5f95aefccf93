//! What runs showed, and the report about them.

use serde::Serialize;
use serde_json::Value;

use super::case::{Case, Setting};
use crate::vmm_report::Report;

/// Pages per hypercall that batches have to carry at least, on average.
const LEAST_PAGES: f64 = 8.0;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// Pages put, those that were refused included.
    puts: u64,
    /// Pages asked for.
    gets: u64,
    /// Hypercalls, those that flush included.
    hypercalls: u64,
    /// Seconds of the guest's clock in which it worked.
    seconds: f64,
}

impl Outcome {
    /// Pages that went either way.
    fn pages(&self) -> f64 {
        // Far below 2^53.
        (self.puts + self.gets) as f64
    }

    fn pages_per_hypercall(&self) -> f64 {
        ratio(self.pages(), self.hypercalls as f64, 10.0)
    }

    fn hypercalls_per_second(&self) -> f64 {
        ratio(self.hypercalls as f64, self.seconds, 1.0)
    }

    fn pages_per_second(&self) -> f64 {
        ratio(self.pages(), self.seconds, 1.0)
    }
}

/// `a / b`, with so many steps to the unit.
fn ratio(a: f64, b: f64, steps: f64) -> f64 {
    if b > 0.0 { (a / b * steps).round() / steps } else { 0.0 }
}

/// Reads a run: the VMM's report, and on the console that nothing was damaged, and how long it took.
pub(super) fn read(report: &Report, console: &str) -> Result<Outcome, String> {
    let runs: Vec<Value> = console
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.split_once("TMEM-REPORT ")?.1).ok())
        .filter(|event| event.get("event").and_then(Value::as_str) == Some("run"))
        .collect();
    if !console.contains("{\"event\":\"end\",\"status\":0}") || runs.is_empty() {
        return Err("the guest did not end well".into());
    }
    if runs.iter().any(|run| run.get("corrupt").and_then(Value::as_u64) != Some(0)) {
        return Err("pages came back damaged, or were not looked at".into());
    }
    let seconds: Option<f64> = runs.iter().map(|run| run.get("elapsed_s")?.as_f64()).sum();
    let guest = report.guests.first().ok_or("the report has no guest")?;
    let tmem = guest.tmem.ok_or("the guest had no tmem")?;
    Ok(Outcome {
        puts: tmem.puts + tmem.puts_refused,
        gets: tmem.gets,
        hypercalls: guest.exits.hypercall,
        seconds: seconds.ok_or("the guest did not say how long it worked")?,
    })
}

/// A row of the table.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    what: &'static str,
    setting: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
    pages_per_hypercall: f64,
    hypercalls_per_second: f64,
    pages_per_second: f64,
}

/// What all runs found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    runs: Vec<Finding>,
}

impl Findings {
    /// Adds a run.
    pub(super) fn add(&mut self, case: &Case, setting: Setting, outcome: Outcome) {
        self.runs.push(Finding {
            name: case.name,
            what: case.what,
            setting: setting.name(),
            pages_per_hypercall: outcome.pages_per_hypercall(),
            hypercalls_per_second: outcome.hypercalls_per_second(),
            pages_per_second: outcome.pages_per_second(),
            outcome,
        });
    }

    /// Cases whose batches carry too little.
    pub(super) fn small(&self) -> Vec<String> {
        let batched = self.runs.iter().filter(|run| run.setting == Setting::Batched.name());
        let small = batched.filter(|run| run.pages_per_hypercall < LEAST_PAGES);
        small
            .map(|run| {
                format!(
                    "{}: {} pages a hypercall, not {LEAST_PAGES} or more",
                    run.name, run.pages_per_hypercall
                )
            })
            .collect()
    }

    /// A table for people.
    pub(super) fn text(&self) -> String {
        let headings = [
            "case",
            "exits",
            "pages put",
            "pages got",
            "hypercalls",
            "pages a hypercall",
            "seconds",
            "hypercalls a second",
            "pages a second",
        ];
        let rows: Vec<Vec<String>> = self
            .runs
            .iter()
            .map(|run| {
                vec![
                    run.name.into(),
                    run.setting.into(),
                    run.outcome.puts.to_string(),
                    run.outcome.gets.to_string(),
                    run.outcome.hypercalls.to_string(),
                    format!("{:.1}", run.pages_per_hypercall),
                    format!("{:.1}", run.outcome.seconds),
                    run.hypercalls_per_second.to_string(),
                    run.pages_per_second.to_string(),
                ]
            })
            .collect();
        crate::table::render(&headings, &rows) + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::CASES;
    use super::*;
    use crate::vmm_report::Tmem;
    use crate::vmm_report::tests::guest;

    const CONSOLE: &str = "TMEM-REPORT {\"event\":\"run\",\"elapsed_s\":1.5,\"corrupt\":0}\r\n\
                           TMEM-REPORT {\"event\":\"run\",\"elapsed_s\":0.5,\"corrupt\":0}\r\n\
                           TMEM-REPORT {\"event\":\"end\",\"status\":0}\r\n";

    fn report() -> Report {
        Report { guests: vec![guest("g", Some(Tmem { puts: 20, puts_refused: 1, gets: 29, evicted: 0 }))] }
    }

    #[test]
    fn a_run_is_counted_by_the_vmm_and_timed_by_its_guest() {
        let outcome = read(&report(), CONSOLE).unwrap();
        assert_eq!(outcome, Outcome { puts: 21, gets: 29, hypercalls: 5, seconds: 2.0 });
        let mut findings = Findings::default();
        findings.add(&CASES[0], Setting::Batched, outcome);
        let run = &findings.runs[0];
        assert_eq!(
            (run.pages_per_hypercall, run.hypercalls_per_second, run.pages_per_second),
            (10.0, 3.0, 25.0)
        );
        assert!(findings.small().is_empty());
    }

    #[test]
    fn damage_and_an_end_that_was_none_are_no_run() {
        for (from, to) in [("corrupt\":0", "corrupt\":1"), ("status\":0", "status\":1"), ("elapsed_s", "x")] {
            assert!(read(&report(), &CONSOLE.replace(from, to)).is_err(), "{from}");
        }
    }

    #[test]
    fn small_batches_are_named_and_single_operations_are_not() {
        let outcome = Outcome { puts: 20, gets: 20, hypercalls: 10, seconds: 1.0 };
        let mut findings = Findings::default();
        findings.add(&CASES[1], Setting::Single, outcome);
        assert!(findings.small().is_empty());
        findings.add(&CASES[1], Setting::Batched, outcome);
        assert_eq!(findings.small(), ["swap: 4 pages a hypercall, not 8 or more"]);
    }
}
