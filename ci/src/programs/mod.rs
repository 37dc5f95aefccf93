//! `cargo xtask programs`: programs that nobody here wrote, in every mode of tmem, and whether all that they check is right.
//!
//! Slow, and no part of `cargo xtask test`. Each cell of the matrix is a lab of its own.
//!
//! | module | its one idea |
//! |---|---|
//! | `matrix` | which programs, and what tmem is used for |
//! | `outcome` | what a cell showed |
//! | `findings` | what all of them showed |

mod findings;
mod matrix;
mod outcome;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tmem_images::KernelId;

use crate::choice::choose;
use crate::files;
use crate::lab::trial::{Trial, TrialError};
use crate::lab::watch::Limits;
use crate::lab::{Job, Lab};
use crate::parts::Parts;
use crate::torture::tmem_aware;
use findings::Findings;
use matrix::{Mode, PROGRAMS, Program};
use outcome::Outcome;

/// Longest time for a cell, which says nothing while it works.
const TOTAL: Duration = Duration::from_secs(3600);

/// The report's name in its folder.
const REPORT: &str = "report.json";

/// Run fio, stress-ng, gcc and PostgreSQL in guests that are short of memory, with tmem off, for swap, for files, for both, and tiny.
///
/// The programs come from Debian's packages. Each of the 8 x 5 cells takes two to ten minutes; the report is in target/programs/report.json. Exit status 1 if
/// anything is corrupt, stalls, or makes a guest's kernel complain.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these programs.
    #[arg(long, value_name = "PROGRAM", num_args = 1..)]
    only: Vec<String>,
    /// Only with tmem used for this: off, swap, cache, both, tiny.
    #[arg(long, value_name = "MODE", num_args = 1..)]
    mode: Vec<String>,
    /// What the guests boot: `small`, or `debug`, which has lockdep and KASAN, and takes several times as long.
    #[arg(long, default_value_t = KernelId::Small, value_parser = tmem_aware)]
    kernel: KernelId,
    /// List the programs.
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// Print the report as JSON on standard output instead of the tables.
    #[arg(long)]
    json: bool,
}

/// Why programs could not run, or what they found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramsError {
    /// There are no cells, or one could not be made.
    #[error(transparent)]
    Trial(#[from] TrialError),
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
    let dir = crate::paths::target().join("programs");
    let findings = matrix(args, &dir)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
    } else {
        println!("{}Report: {}", findings.text(), dir.join(REPORT).display());
    }
    let faults = findings.faults();
    if faults.is_empty() { Ok(()) } else { Err(ProgramsError::Found { dir, faults }) }
}

/// Runs the cells that `args` ask for, all their files in `dir`.
fn matrix(args: &Args, dir: &Path) -> Result<Findings, TrialError> {
    let programs = choose(["programs", "program"], &args.only, PROGRAMS, |it| it.name)?;
    let modes = choose(["programs", "mode"], &args.mode, &Mode::ALL, |it| it.name())?;
    files::make_dir(dir)?;
    let (lab, parts) = (Lab::prepare()?, Parts::make(args.kernel)?);
    let mut findings = Findings::default();
    for program in programs {
        for &mode in &modes {
            // A lab that fails is this cell's fault alone.
            let result = run(&lab, &parts, program, *mode, args.kernel, dir);
            eprintln!("{}", findings.add(program, *mode, result.map_err(|error| error.to_string())));
            // After each cell, so that a run that is stopped leaves what it has found.
            files::write_json(&dir.join(REPORT), &findings)?;
        }
    }
    Ok(findings)
}

/// Runs a cell; what it showed, or why it is not good.
fn run(
    lab: &Lab,
    parts: &Parts,
    program: &Program,
    mode: Mode,
    kernel: KernelId,
    dir: &Path,
) -> Result<Outcome, TrialError> {
    let name = format!("{}-{}", program.name, mode.name());
    let trial = Trial { dir, name: &name };
    let mut added = parts.added();
    added.push(trial.config("guest.toml", &program.toml(mode, kernel, lab.boot_file(kernel)?))?);
    let job = Job {
        added,
        guests: vec![kernel],
        memory_mib: 4096,
        limits: Limits { silence: TOTAL, total: TOTAL, ..Limits::default() },
        ..trial.job(
            "truncate -s 512M /tmp/swap.img /tmp/data.img; tmem run /lab/guest.toml --report /out/report.json",
        )
    };
    let ran = trial.run(lab, &job, &mut std::io::sink())?;
    outcome::read(&ran.report()?, &ran.said).map_err(|why| ran.spoiled(why))
}
