//! `cargo xtask effects`: what tmem does for programs that somebody else wrote, in counts.
//!
//! Guests compile C with gcc in a loop, first with their disks alone, then with tmem before the same disks. What the VMM counted
//! at their disks and exits is compared, and so are the object files: they must be the same.
//!
//! | module | its one idea |
//! |---|---|
//! | `experiment` | which guests, how short of memory, and what has to come out |
//! | `parts` | what they boot and the disk with their programs |
//! | `outcome` | what a run showed |

mod experiment;
mod outcome;
mod parts;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::demo::measure::Mode;
use crate::lab::watch::Limits;
use crate::lab::{Added, Job, Lab, LabError};
use crate::parts::Parts;
use experiment::{EXPERIMENTS, Experiment};
use outcome::{Findings, Outcome};

/// Compile C in guests that are short of memory, or not, with and without tmem; count what that costs their disks.
///
/// Takes about an hour of two cores. The report is in target/effects/report.json. Exit status 1 if an effect is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these experiments.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// List the experiments.
    #[arg(long)]
    list: bool,
    /// Print the report as JSON on standard output instead of the table.
    #[arg(long)]
    json: bool,
}

/// Why there are no effects to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EffectsError {
    /// `--only` names no experiment.
    #[error("no experiment {0}; `cargo xtask effects --list` lists them")]
    Unknown(String),
    /// The compiler of this machine is not where it says.
    #[error("cannot find what gcc needs: {0}; `apt-get install gcc libc6-dev` brings it")]
    Compiler(String),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] tmem_images::Error),
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file could not be used.
    #[error("cannot use {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// Guests did not do what they should.
    #[error("{0}, {1}: {2}; its consoles are in {3}")]
    Run(&'static str, &'static str, String, PathBuf),
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
    let chosen = |it: &&Experiment| args.only.is_empty() || args.only.iter().any(|name| name == it.name);
    if let Some(unknown) =
        args.only.iter().find(|name| !EXPERIMENTS.iter().any(|it| it.name == name.as_str()))
    {
        return Err(EffectsError::Unknown(unknown.clone()));
    }
    let dir = crate::paths::target().join("effects");
    std::fs::create_dir_all(&dir).map_err(|error| EffectsError::File(dir.clone(), error))?;
    let (lab, parts) = (Lab::prepare()?, parts::make()?);
    let mut findings = Findings::default();
    for experiment in EXPERIMENTS.iter().filter(chosen) {
        eprintln!("effects: {}: {}", experiment.name, experiment.what);
        findings.add(experiment, both(&lab, &parts, experiment, &dir)?);
    }
    let path = dir.join("report.json");
    crate::paths::write_json(&path, &findings).map_err(|error| EffectsError::File(path.clone(), error))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
    } else {
        println!("{}Report: {}", findings.text(), path.display());
    }
    let missing = findings.missing();
    if missing.is_empty() { Ok(()) } else { Err(EffectsError::Missing(missing)) }
}

/// Runs an experiment without and with tmem, each in a lab of its own, at the same time.
fn both(lab: &Lab, parts: &Parts, experiment: &Experiment, dir: &Path) -> Result<[Outcome; 2], EffectsError> {
    let [disk, tmem] = thread::scope(|scope| {
        Mode::BOTH
            .map(|mode| scope.spawn(move || run(lab, parts, experiment, mode, dir)))
            .map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    Ok([disk?, tmem?])
}

/// A file's error.
fn file(path: &Path) -> impl FnOnce(std::io::Error) -> EffectsError {
    move |error| EffectsError::File(path.into(), error)
}

fn run(
    lab: &Lab,
    parts: &Parts,
    experiment: &Experiment,
    mode: Mode,
    dir: &Path,
) -> Result<Outcome, EffectsError> {
    let name = format!("{}-{}", experiment.name, mode.name());
    let toml = dir.join(format!("{name}.toml"));
    std::fs::write(&toml, experiment.toml(mode)).map_err(file(&toml))?;
    let mut added = parts.added();
    added.push(Added { from: toml, to: "/lab/guests.toml".into() });
    let job = Job {
        added,
        memory_mib: experiment.lab_memory_mib(),
        out: dir.join("out").join(&name),
        // A guest says nothing while it compiles.
        limits: Limits {
            silence: Duration::from_secs(3600),
            total: Duration::from_secs(2 * 3600),
            ..Limits::default()
        },
        ..Job::new(&experiment.script())
    };
    let mut console = Vec::new();
    let ended = lab.run(&job, &mut console);
    let log = dir.join(format!("{name}.log"));
    std::fs::write(&log, &console).map_err(file(&log))?;
    let status = ended?.status;
    let report = job.out.join("report.json");
    let wrong = |why: String| EffectsError::Run(experiment.name, mode.name(), why, log.clone());
    if status != 0 {
        return Err(wrong(format!("`tmem run` ended with status {status}")));
    }
    let report = std::fs::read_to_string(&report).map_err(file(&report))?;
    outcome::read(&report, &String::from_utf8_lossy(&console), experiment.guests).map_err(wrong)
}
