//! `cargo xtask batching`: pages per hypercall, and hypercalls per second, with every page by itself and with pages that travel together.
//!
//! One guest after the other does the same work in the lab, first with one operation to an exit, then as it comes. What a second of the
//! guest's clock is worth depends on the emulator; the counts do not.
//!
//! | module | its one idea |
//! |---|---|
//! | `case` | which guests, and what they work on |
//! | `outcome` | what a run showed, and the table |

mod case;
mod outcome;

use std::path::Path;

use crate::files;
use crate::lab::trial::{Trial, TrialError};
use crate::lab::{Job, Lab};
use case::{CASES, Case, Setting};
use outcome::{Findings, Outcome};

/// The report's name in its folder.
const REPORT: &str = "report.json";

/// Count pages per hypercall and hypercalls per second, each page by itself and in batches, for each way in which Linux has tmem.
///
/// Takes some minutes. The report is in target/batching/report.json. Exit status 1 if batches carry fewer than 8 pages on average.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the report as JSON on standard output instead of the table.
    #[arg(long)]
    json: bool,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchingError {
    /// The guests did not run to their ends, or could not be started.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// They ran, and their batches are small.
    #[error("batches are small:\n  {}", .0.join("\n  "))]
    Small(Vec<String>),
}

/// Runs all cases.
pub(crate) fn main(args: &Args) -> Result<(), BatchingError> {
    let dir = crate::paths::target().join("batching");
    files::make_dir(&dir).map_err(TrialError::from)?;
    let lab = Lab::prepare().map_err(TrialError::from)?;
    let mut findings = Findings::default();
    for case in CASES {
        eprintln!("batching: {}: {}", case.name, case.what);
        for setting in Setting::BOTH {
            findings.add(case, setting, run(&lab, case, setting, &dir)?);
        }
        // After each, so that a run that is stopped leaves what it has found.
        files::write_json(&dir.join(REPORT), &findings).map_err(TrialError::from)?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
    } else {
        println!("{}Report: {}", findings.text(), dir.join(REPORT).display());
    }
    let small = findings.small();
    if small.is_empty() { Ok(()) } else { Err(BatchingError::Small(small)) }
}

/// Runs a case with one setting, in a lab of its own. One lab runs at a time, so that their seconds compare.
fn run(lab: &Lab, case: &Case, setting: Setting, dir: &Path) -> Result<Outcome, TrialError> {
    let name = format!("{}-{}", case.name, setting.name());
    let trial = Trial { dir, name: &name };
    let job = Job {
        added: vec![trial.config("guest.toml", &case.toml(setting, lab.boot_file(case.kernel)?))?],
        guests: vec![case.kernel],
        progress: Some(format!("lab ({name})")),
        ..trial.job(case::SCRIPT)
    };
    let ran = trial.run(lab, &job, &mut std::io::sink())?.ended_with(0)?;
    outcome::read(&ran.report()?, &ran.said).map_err(|why| ran.spoiled(why))
}
