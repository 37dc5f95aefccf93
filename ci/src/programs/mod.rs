//! `cargo xtask programs`: programs that nobody here wrote, in every mode of tmem, and whether all that they check is right.
//!
//! Slow, and no part of `cargo xtask test`. Each cell of the matrix is a lab of its own.
//!
//! | module | its one idea |
//! |---|---|
//! | `matrix` | which programs, and what tmem is used for |
//! | `parts` | what the guests boot and the disk with Debian's programs |
//! | `outcome` | what a cell showed |
//! | `findings` | what all of them showed |

mod findings;
mod matrix;
mod outcome;
mod parts;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lab::watch::Limits;
use crate::lab::{Added, Job, Lab, LabError};
use crate::parts::Parts;
use findings::Findings;
use matrix::{Mode, PROGRAMS, Program};
use outcome::Outcome;

/// Longest time for a cell, which says nothing while it works.
const TOTAL: Duration = Duration::from_secs(3600);

/// Run fio, stress-ng, gcc and PostgreSQL in guests that are short of memory, with tmem off, for swap, for files, for both, and tiny.
///
/// The programs come from Debian's packages. Takes an hour or two; the report is in target/programs/report.json. Exit status 1 if
/// anything is corrupt, stalls, or makes a guest's kernel complain.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these programs.
    #[arg(long, value_name = "PROGRAM", num_args = 1..)]
    only: Vec<String>,
    /// Only with tmem used for this: off, swap, cache, both, tiny.
    #[arg(long, value_name = "MODE", num_args = 1..)]
    mode: Vec<String>,
    /// List the programs.
    #[arg(long)]
    list: bool,
    /// Print the report as JSON on standard output instead of the tables.
    #[arg(long)]
    json: bool,
}

/// Why programs could not run, or what they found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramsError {
    /// `--only` or `--mode` names nothing.
    #[error("no {0} {1}; `cargo xtask programs --list` lists them")]
    Unknown(&'static str, String),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] tmem_images::Error),
    /// The lab could not be prepared.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file could not be used.
    #[error("cannot use {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// Cells that are not good.
    #[error("the programs found something; consoles are in {}:\n  {}", dir.display(), faults.join("\n  "))]
    Found {
        /// The folder of the consoles.
        dir: PathBuf,
        /// What is wrong, cell by cell.
        faults: Vec<String>,
    },
}

/// Runs what `args` ask for.
pub(crate) fn main(args: &Args) -> Result<(), ProgramsError> {
    if args.list {
        let rows: Vec<Vec<String>> = PROGRAMS.iter().map(|it| vec![it.name.into(), it.what.into()]).collect();
        print!("{}\nModes: ", crate::table::render(&["program", "what it does"], &rows));
        println!("{}", Mode::ALL.map(Mode::name).join(", "));
        return Ok(());
    }
    let programs = chosen("program", &args.only, PROGRAMS.iter(), |it| it.name)?;
    let modes = chosen("mode", &args.mode, Mode::ALL.iter(), |it| it.name())?;
    let dir = crate::paths::target().join("programs");
    std::fs::create_dir_all(&dir).map_err(file(&dir))?;
    let (lab, parts) = (Lab::prepare()?, parts::make()?);
    let mut findings = Findings::default();
    let path = dir.join("report.json");
    for program in programs {
        for &mode in &modes {
            let result = run(&lab, &parts, program, *mode, &dir)?;
            eprintln!("{}", findings.add(program, *mode, result));
            // After each cell, so that a run that is stopped leaves what it has found.
            crate::paths::write_json(&path, &findings).map_err(file(&path))?;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
    } else {
        println!("{}Report: {}", findings.text(), path.display());
    }
    let faults = findings.faults();
    if faults.is_empty() { Ok(()) } else { Err(ProgramsError::Found { dir, faults }) }
}

/// Those of `all` that `names` name; all of them if there are none.
fn chosen<'a, T>(
    kind: &'static str,
    names: &[String],
    all: impl Iterator<Item = &'a T> + Clone,
    name: impl Fn(&T) -> &'static str,
) -> Result<Vec<&'a T>, ProgramsError> {
    if let Some(unknown) = names.iter().find(|wanted| !all.clone().any(|it| name(it) == wanted.as_str())) {
        return Err(ProgramsError::Unknown(kind, unknown.clone()));
    }
    Ok(all.filter(|it| names.is_empty() || names.iter().any(|wanted| wanted == name(it))).collect())
}

/// A file's error.
fn file(path: &Path) -> impl FnOnce(std::io::Error) -> ProgramsError {
    move |error| ProgramsError::File(path.into(), error)
}

/// Runs a cell; what it showed, or why it is not good.
fn run(
    lab: &Lab,
    parts: &Parts,
    program: &Program,
    mode: Mode,
    dir: &Path,
) -> Result<Result<Outcome, String>, ProgramsError> {
    let name = format!("{}-{}", program.name, mode.name());
    let toml = dir.join(format!("{name}.toml"));
    std::fs::write(&toml, program.toml(mode)).map_err(file(&toml))?;
    let mut added = parts.added();
    added.push(Added { from: toml, to: "/lab/guest.toml".into() });
    let job = Job {
        added,
        memory_mib: 4096,
        out: dir.join("out").join(&name),
        limits: Limits { silence: TOTAL, total: TOTAL, ..Limits::default() },
        ..Job::new(
            "truncate -s 512M /tmp/swap.img /tmp/data.img; tmem run /lab/guest.toml --report /out/report.json",
        )
    };
    let mut console = Vec::new();
    let ended = lab.run(&job, &mut console);
    let log = dir.join(format!("{name}.log"));
    std::fs::write(&log, &console).map_err(file(&log))?;
    if let Err(error) = ended {
        // A lab that fails is this cell's fault alone.
        return Ok(Err(error.to_string()));
    }
    let report = job.out.join("report.json");
    let report = std::fs::read_to_string(&report).map_err(file(&report))?;
    Ok(outcome::read(&report, &String::from_utf8_lossy(&console)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_choose_and_unknown_ones_are_refused() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            chosen("mode", &names, Mode::ALL.iter(), |it| it.name()).map(|modes| modes.len())
        };
        assert_eq!(names(&[]).unwrap(), 5);
        assert_eq!(names(&["tiny", "off"]).unwrap(), 2);
        assert!(names(&["none"]).unwrap_err().to_string().contains("no mode none"));
    }
}
