//! What the tests found: a line when a step ends, a table at the end, and target/test/report.json.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

/// Of a failed step's log, so many lines are shown: a kernel's report with what led to it.
const LINES: usize = 60;
/// And so many characters of each.
const COLUMNS: usize = 200;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "text", rename_all = "lowercase")]
pub(crate) enum Ending {
    /// It did what it should; the text says what was seen.
    Passed(String),
    /// It did not; the text says what was seen instead.
    Failed(String),
    /// This machine cannot run it; the text says why.
    Skipped(String),
}

impl Ending {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "SKIPPED",
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Passed(text) | Self::Failed(text) | Self::Skipped(text) => text,
        }
    }
}

/// What a step found, or why it could find nothing; the two are told apart by their texts.
impl<E: std::fmt::Display> From<Result<String, E>> for Ending {
    fn from(result: Result<String, E>) -> Self {
        result.map_or_else(|error| Self::Failed(error.to_string()), Self::Passed)
    }
}

/// One finished step.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finished {
    /// Its name, as `--only` takes it.
    pub(crate) name: &'static str,
    /// Wall-clock seconds.
    pub(crate) seconds: f64,
    /// How it ended.
    #[serde(flatten)]
    pub(crate) ending: Ending,
}

impl Finished {
    /// A step that took `took`.
    pub(crate) fn new(name: &'static str, took: Duration, ending: Ending) -> Self {
        Self { name, seconds: (took.as_secs_f64() * 10.0).round() / 10.0, ending }
    }

    /// The one line that is printed when the step ends; a failure brings its whole text.
    pub(crate) fn line(&self) -> String {
        let text = self.ending.text();
        let text = match self.ending {
            Ending::Failed(_) => format!("\n{text}"),
            _ => format!(" {}", first_line(text)),
        };
        format!("test: {:<18} {:>6.1} s  {:<7}{text}", self.name, self.seconds, self.ending.word())
    }
}

/// All finished steps.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// In the order in which they were listed.
    pub(crate) steps: Vec<Finished>,
    /// Wall-clock seconds of the whole run.
    pub(crate) seconds: f64,
}

impl Report {
    fn count(&self, word: &str) -> usize {
        self.steps.iter().filter(|step| step.ending.word() == word).count()
    }

    /// Whether no step failed and at least one passed: a run in which nothing ran proves nothing.
    pub(crate) fn good(&self) -> bool {
        self.count("FAILED") == 0 && self.count("passed") > 0
    }

    /// The summary table; of each step that failed, its whole text and the ends of what `said` has of it, because whoever reads this
    /// may not have the machine; and the closing line.
    pub(crate) fn summary(&self, said: impl Fn(&str) -> Vec<(PathBuf, String)>) -> String {
        let rows: Vec<Vec<String>> = self
            .steps
            .iter()
            .map(|step| {
                vec![
                    step.name.into(),
                    format!("{:.1}", step.seconds),
                    step.ending.word().into(),
                    first_line(step.ending.text()).into(),
                ]
            })
            .collect();
        let table = crate::table::render(&["step", "seconds", "result", "what was seen"], &rows);
        let (passed, failed, skipped) = (self.count("passed"), self.count("FAILED"), self.count("SKIPPED"));
        let failures: String = self
            .steps
            .iter()
            .filter(|step| matches!(step.ending, Ending::Failed(_)))
            .map(|step| {
                let logs = said(step.name);
                let ends =
                    logs.iter().map(|(path, log)| format!("-- {}:\n{}\n", path.display(), end_of(log)));
                format!("\n== {}: {}\n{}", step.name, step.ending.text(), ends.collect::<String>())
            })
            .collect();
        format!("\n{table}{failures}\nsteps: {passed} passed, {failed} failed, {skipped} skipped\n")
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("")
}

/// The last [`LINES`] lines of `log`, none longer than [`COLUMNS`] characters.
fn end_of(log: &str) -> String {
    let lines = log.lines();
    let end: Vec<String> = lines
        .clone()
        .skip(lines.count().saturating_sub(LINES))
        .map(|line| format!("   | {}", line.chars().take(COLUMNS).collect::<String>()))
        .collect();
    end.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, ending: Ending) -> Finished {
        Finished::new(name, Duration::from_millis(1234), ending)
    }

    fn report(steps: Vec<Finished>) -> Report {
        Report { steps, seconds: 1.0 }
    }

    #[test]
    fn one_failure_makes_the_report_bad() {
        let passed = step("a", Ending::Passed("ok".into()));
        assert!(report(vec![passed.clone()]).good());
        assert!(!report(vec![passed, step("b", Ending::Failed("no".into()))]).good());
    }

    #[test]
    fn a_run_that_skipped_everything_is_not_good() {
        assert!(!report(vec![step("a", Ending::Skipped("no kvm".into()))]).good());
        assert!(!report(vec![]).good());
    }

    #[test]
    fn the_summary_ends_with_counts() {
        let steps = vec![
            step("a", Ending::Passed("fine".into())),
            step("b", Ending::Skipped("no kvm\nmore".into())),
            step("c", Ending::Failed("broken".into())),
        ];
        let text = report(steps).summary(|_| Vec::new());
        assert!(text.ends_with("steps: 1 passed, 1 failed, 1 skipped\n"), "{text}");
        assert!(text.contains("SKIPPED  no kvm\n"), "{text}");
    }

    #[test]
    fn the_summary_shows_why_a_step_failed_and_the_end_of_its_log() {
        let steps =
            vec![step("a", Ending::Passed("fine".into())), step("c", Ending::Failed("one\ntwo".into()))];
        let log = |name: &str| (0..100).map(|line| format!("{name} {line} {}\n", "x".repeat(300))).collect();
        let text = report(steps).summary(|name| vec![(format!("{name}.log").into(), log(name))]);
        assert!(text.contains("\n== c: one\ntwo\n-- c.log:\n   | c 40 x"), "{text}");
        assert!(!text.contains("| c 39 ") && text.contains("| c 99 ") && !text.contains("| a "), "{text}");
        assert!(text.lines().all(|line| line.len() < 300), "{text}");
    }

    #[test]
    fn a_failure_shows_its_whole_text_at_once() {
        assert!(step("c", Ending::Failed("one\ntwo".into())).line().ends_with("\none\ntwo"));
    }

    #[test]
    fn json_names_result_and_text() {
        let json = serde_json::to_value(step("a", Ending::Skipped("why".into()))).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"name": "a", "seconds": 1.2, "result": "skipped", "text": "why"})
        );
    }
}
