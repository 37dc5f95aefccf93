//! `cargo xtask demo`: four Linux guests that are short of memory, with their swap on disks and then in one tmem store.
//!
//! | module | its one idea |
//! |---|---|
//! | `scenario` | what runs, as TOML for `tmem run` |
//! | `place` | on this machine or in the lab, and running it there |
//! | `consoles` | many guests' consoles out of one stream, and progress |
//! | `guest` | what a guest says about itself |
//! | `measure` | that beside what the VMM says |
//! | `report` | the table, the JSON, the faults |
//! | `plot` | the picture |

pub(crate) mod consoles;
pub(crate) mod guest;
pub(crate) mod measure;
pub(crate) mod place;
mod plot;
pub(crate) mod report;
pub(crate) mod scenario;

use std::path::{Path, PathBuf};

use tmem_images::{KernelId, Series};

use crate::command::CommandError;
use crate::files::{self, FileError};
use crate::lab::LabError;
use crate::vmm_report;
use guest::GuestError;
use measure::Mode;
use place::Ran;
use report::{Report, Total};
use scenario::Guest;

/// Four Linux guests of 64 MB work on 128 MB of memory and then on a file of 80 MB each: once with their disks alone, once with
/// tmem in front of the same disks.
///
/// Installs and builds what is missing, runs on this machine's KVM if Linux boots on it and else in the lab, and says which.
/// The report is in target/demo/report.json, and drawn in report.svg. Exit status 1 if a page was
/// corrupt, the counters contradict each other, nothing was swapped, or nothing came from the store.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the report as JSON on standard output instead of the table.
    #[arg(long)]
    json: bool,
    /// Let the guests boot Debian's stock 6.12 cloud kernel (which needs 112 MB) instead of the small tmem-aware one: the
    /// driver is then a disk to swap to, and clean file pages are not offered.
    #[arg(long)]
    stock: bool,
    /// Run in the lab even if this machine could run Linux guests itself.
    #[arg(long)]
    lab: bool,
}

/// Why there is no demonstration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// A package is missing.
    #[error(transparent)]
    Setup(#[from] crate::setup::SetupError),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] tmem_images::Error),
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// `tmem run` failed.
    #[error("`tmem run` ended with status {status}; it said:\n{said}")]
    Run {
        /// Its exit status.
        status: i32,
        /// Its own words.
        said: String,
    },
    /// A guest did not run to a good end.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the VMM's is not what it should be.
    #[error("{}: not what `tmem run` of this tree writes: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
    /// The VMM's report has no word about a guest.
    #[error("the report of `tmem run` does not mention guest {0}")]
    Unmentioned(String),
    /// It ran, and what it shows is wrong.
    #[error("the demo failed:\n  {}", .0.join("\n  "))]
    Faults(Vec<String>),
}

/// Runs the demo as `args` ask and prints what it found.
pub(crate) fn main(args: &Args) -> Result<(), DemoError> {
    let kernel = if args.stock { KernelId::Stock(Series::V6_12) } else { KernelId::Small };
    let dir = crate::paths::target().join("demo");
    files::make_dir(&dir)?;
    let guests = scenario::demo(kernel);
    let report = read(&guests, place::run(&guests, args.lab, &dir)?, &dir)?;
    let path = dir.join("report.json");
    files::write_json(&path, &report)?;
    let courses = Mode::BOTH.map(|mode| plot::Course::read(mode, &place::stats(&dir, mode)));
    let picture = dir.join("report.svg");
    plot::draw(&courses.into_iter().collect::<Result<Vec<_>, _>>()?, &picture)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("\n{}", report.text());
        println!("Report: {}, drawn: {}", path.display(), picture.display());
    }
    let faults = report.faults();
    if faults.is_empty() { Ok(()) } else { Err(DemoError::Faults(faults)) }
}

/// Reads what all sides say about guests that ran, their reports being in `dir`.
pub(crate) fn read(guests: &[Guest], ran: Ran, dir: &Path) -> Result<Report, DemoError> {
    let (mut rows, mut disagreements) = (Vec::new(), Vec::new());
    for consoles in &ran.consoles {
        let mode = consoles.mode();
        let vmm = read_vmm_report(&place::report(dir, mode))?;
        for Guest { name, .. } in guests {
            let inside = guest::read(name, consoles.console(name))?;
            let outside = vmm.guests.iter().find(|guest| guest.name == *name);
            let row =
                measure::row(mode, &inside, outside.ok_or_else(|| DemoError::Unmentioned(name.clone()))?);
            disagreements.extend(measure::disagreements(&row, &inside));
            rows.push(row);
        }
    }
    let total = Total::of(&rows);
    Ok(Report { place: ran.place, why: ran.why, rows, total, disagreements, packages: ran.packages })
}

fn read_vmm_report(path: &Path) -> Result<vmm_report::Report, DemoError> {
    let text = files::read(path)?;
    serde_json::from_str(&text).map_err(|source| DemoError::Json { path: path.into(), source })
}
