//! `cargo xtask effects`: what tmem does for programs that somebody else wrote, in counts.
//!
//! Guests compile C with gcc in a loop, first with their disks alone, then with tmem before the same disks. What the VMM counted
//! at their disks and exits is compared, and so are the object files: they must be the same.
//!
//! | module | its one idea |
//! |---|---|
//! | `experiment` | which guests, how short of memory, and what has to come out |
//! | `outcome` | what a run showed |

mod experiment;
mod outcome;

use std::path::Path;
use std::thread;
use std::time::Duration;

use tmem_images::KernelId;

use crate::choice::choose;
use crate::demo::measure::Mode;
use crate::files;
use crate::lab::trial::{Trial, TrialError};
use crate::lab::watch::Limits;
use crate::lab::{Job, Lab};
use crate::parts::Parts;
use experiment::{EXPERIMENTS, Experiment};
use outcome::{Findings, Outcome};

/// The report's name in its folder.
const REPORT: &str = "report.json";

/// Compile C in guests that are short of memory, or not, with and without tmem; count what that costs their disks.
///
/// Takes half an hour of processor time, on two cores half of that. The report is in target/effects/report.json. Exit status 1 if an effect is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these experiments.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// List the experiments.
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// Print the report as JSON on standard output instead of the table.
    #[arg(long)]
    json: bool,
}

/// Why there are no effects to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EffectsError {
    /// The guests of an experiment did not run to their ends, or could not be started.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// It ran, and the effects are not there.
    #[error("effects are missing:\n  {}", .0.join("\n  "))]
    Missing(Vec<String>),
}

/// Runs what `args` ask for.
pub(crate) fn main(args: &Args) -> Result<(), EffectsError> {
    if args.list {
        let rows: Vec<Vec<String>> = EXPERIMENTS
            .iter()
            .map(|it| vec![it.name.into(), it.what.into(), it.demand.to_string()])
            .collect();
        print!("{}", crate::table::render(&["experiment", "what runs", "what has to come out"], &rows));
        return Ok(());
    }
    let dir = crate::paths::target().join("effects");
    let findings = experiment(args, &dir)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
    } else {
        println!("{}Report: {}", findings.text(), dir.join(REPORT).display());
    }
    let missing = findings.missing();
    if missing.is_empty() { Ok(()) } else { Err(EffectsError::Missing(missing)) }
}

/// Makes the experiments that `args` ask for, all their files in `dir`.
fn experiment(args: &Args, dir: &Path) -> Result<Findings, TrialError> {
    let experiments = choose(["effects", "experiment"], &args.only, EXPERIMENTS, |it| it.name)?;
    files::make_dir(dir)?;
    let (lab, parts) = (Lab::prepare()?, Parts::make(KernelId::Small)?);
    let mut findings = Findings::default();
    for experiment in experiments {
        eprintln!("effects: {}: {}", experiment.name, experiment.what);
        findings.add(experiment, both(&lab, &parts, experiment, dir)?);
        // After each, so that a run that is stopped leaves what it has found.
        files::write_json(&dir.join(REPORT), &findings)?;
    }
    Ok(findings)
}

/// Runs an experiment without and with tmem, each in a lab of its own, at the same time.
fn both(lab: &Lab, parts: &Parts, experiment: &Experiment, dir: &Path) -> Result<[Outcome; 2], TrialError> {
    let [disk, tmem] = thread::scope(|scope| {
        Mode::BOTH
            .map(|mode| scope.spawn(move || run(lab, parts, experiment, mode, dir)))
            .map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok([disk?, tmem?])
}

fn run(
    lab: &Lab,
    parts: &Parts,
    experiment: &Experiment,
    mode: Mode,
    dir: &Path,
) -> Result<Outcome, TrialError> {
    let name = format!("{}-{}", experiment.name, mode.name());
    let trial = Trial { dir, name: &name };
    let mut added = parts.added();
    added.push(trial.config("guests.toml", &experiment.toml(mode))?);
    let job = Job {
        added,
        memory_mib: experiment.lab_memory_mib(),
        // A guest says nothing while it compiles.
        limits: Limits {
            silence: Duration::from_secs(3600),
            total: Duration::from_secs(2 * 3600),
            ..Limits::default()
        },
        ..trial.job(&experiment.script())
    };
    let ran = trial.run(lab, &job, &mut std::io::sink())?.ended_with(0)?;
    outcome::read(&ran.report()?, &ran.said, experiment.guests).map_err(|why| ran.spoiled(why))
}
