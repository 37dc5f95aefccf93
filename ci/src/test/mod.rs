//! `cargo xtask test`: every check that there is, each one line with its time and result, two at a time.
//!
//! | module | its one idea |
//! |---|---|
//! | `steps` | the list |
//! | `cargo` | steps that run cargo |
//! | `guests` | the lab itself, bare guests, driver builds |
//! | `ends` | how Linux guests end, and how they are stopped |
//! | `memory` | guests that give memory back, and programs' pools in them |
//! | `smoke` | a program in C among the files of a guest |
//! | `asked` | a guest whose balloon is set from outside |
//! | `linux` | Linux guests in the lab, judged by the counters of both sides |
//! | `serve` | a stock guest of plain QEMU that swaps to `tmem serve` |
//! | `bench` | what `tmem bench hypercall` prints |
//! | `lock` | one version of each rust-vmm crate |
//! | `report` | lines, table, JSON |

mod asked;
mod bench;
mod brakes;
mod cargo;
mod disk;
mod ends;
mod guests;
mod linux;
mod lock;
mod memory;
mod report;
mod serve;
mod smoke;
mod steps;
mod tiny;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use report::{Finished, Report};
use steps::{Lane, STEPS, Step};

use crate::choice::{Unknown, choose};
use crate::files::{self, FileError};
use crate::lab::trial::{Ran, Trial};
use crate::lab::{Job, Lab};

/// How often the steps under way are named.
const BEAT: Duration = Duration::from_secs(15);

/// Run every check: format, lints, unit and model tests, bare guests, Linux guests in the lab, driver builds.
///
/// A step that this machine cannot run is SKIPPED with the reason. The report is in target/test/report.json, the output of
/// each step in target/test/STEP.log, or a log for each guest in target/test/STEP/. Exit status 1 if a step failed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only these steps.
    #[arg(long, value_name = "STEP", num_args = 1..)]
    only: Vec<String>,
    /// List the steps and what they check.
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// Print the report as JSON on standard output instead of the table.
    #[arg(long)]
    json: bool,
}

/// Why the tests are not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestError {
    /// `--only` names no step.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The report says which.
    #[error("not every step passed; the output of each is in {0}")]
    Bad(PathBuf),
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] FileError),
}

/// What steps share: made by the first that needs it, and its failure told to every other.
#[derive(Debug, Default)]
struct Context {
    lab: OnceLock<Result<Lab, String>>,
}

impl Context {
    fn lab(&self) -> Result<&Lab, String> {
        self.lab
            .get_or_init(|| Lab::prepare().map_err(|error| error.to_string()))
            .as_ref()
            .map_err(Clone::clone)
    }

    fn dir() -> PathBuf {
        crate::paths::target().join("test")
    }

    fn log(name: &str) -> PathBuf {
        Self::dir().join(format!("{name}.log"))
    }

    /// What a step has said: its log, or, where each guest has one of its own, those in its folder. Consoles may say anything, and
    /// a step that failed early has said nothing.
    fn said(name: &str) -> Vec<(PathBuf, String)> {
        let in_folder = std::fs::read_dir(Self::dir().join(name)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = in_folder.map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        if Self::log(name).exists() {
            paths = vec![Self::log(name)];
        }
        let read = |path: PathBuf| {
            let bytes = std::fs::read(&path).ok()?;
            Some((path, String::from_utf8_lossy(&bytes).into_owned()))
        };
        paths.into_iter().filter_map(read).collect()
    }

    /// Removes what the step said the last time.
    fn forget(name: &str) {
        // What is not there needs no removing, and what cannot be removed cannot be written either, which the step will tell.
        let _ = std::fs::remove_file(Self::log(name));
        let _ = std::fs::remove_dir_all(Self::dir().join(name));
    }

    /// A step's command in the lab.
    fn job(name: &str, command: &str) -> Job {
        Job { out: Self::dir().join(name), ..Job::new(command) }
    }

    /// Runs it, what it says in the step's log.
    fn run(&self, name: &str, job: &Job) -> Result<Ran, Box<dyn std::error::Error>> {
        let dir = Self::dir();
        Ok(Trial { dir: &dir, name }.run(self.lab()?, job, &mut std::io::sink())?)
    }
}

/// Runs what `args` asks for.
pub(crate) fn main(args: &Args) -> Result<(), TestError> {
    if args.list {
        let rows: Vec<Vec<String>> =
            STEPS.iter().map(|step| vec![step.name.into(), step.what.into()]).collect();
        print!("{}", crate::table::render(&["step", "what it checks"], &rows));
        return Ok(());
    }
    let steps = choose(["test", "step"], &args.only, STEPS, |step| step.name)?;
    let path = Context::dir().join("report.json");
    files::make_dir(&Context::dir())?;
    let report = run(&steps);
    files::write_json(&path, &report)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{}", report.summary(Context::said));
    }
    if report.good() { Ok(()) } else { Err(TestError::Bad(Context::dir())) }
}

/// Two workers: one compiles, in order, and then helps the other with the guests. Compiling and emulating want a CPU each.
fn run(steps: &[&'static Step]) -> Report {
    let started = Instant::now();
    let context = Context::default();
    let running: Mutex<BTreeMap<&'static str, Instant>> = Mutex::default();
    let of = |lane| Mutex::new(steps.iter().copied().filter(|step| step.lane == lane).collect());
    let (compile, guests): (Queue, Queue) = (of(Lane::Compile), of(Lane::Guests));
    let (sender, finished) = mpsc::channel();
    let mut done = Vec::new();
    thread::scope(|scope| {
        for queues in [vec![&compile, &guests], vec![&guests]] {
            let (sender, context, running) = (sender.clone(), &context, &running);
            scope.spawn(move || {
                while let Some(step) = queues.iter().find_map(|queue| lock(queue).pop_front()) {
                    let start = Instant::now();
                    lock(running).insert(step.name, start);
                    Context::forget(step.name);
                    let ending = (step.run)(context, step.name);
                    lock(running).remove(step.name);
                    // The receiver outlives this scope.
                    let _ = sender.send(Finished::new(step.name, start.elapsed(), ending));
                }
            });
        }
        drop(sender);
        loop {
            match finished.recv_timeout(BEAT) {
                Ok(step) => {
                    eprintln!("{}", step.line());
                    done.push(step);
                }
                Err(RecvTimeoutError::Timeout) => eprintln!("test: running {}", names(&lock(&running))),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    done.sort_by_key(|step: &Finished| steps.iter().position(|listed| listed.name == step.name));
    Report { steps: done, seconds: started.elapsed().as_secs_f64().round() }
}

/// Steps that wait for a worker.
type Queue = Mutex<VecDeque<&'static Step>>;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind them, maps and queues, is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn names(running: &BTreeMap<&'static str, Instant>) -> String {
    running
        .iter()
        .map(|(name, since)| format!("{name} ({} s)", since.elapsed().as_secs()))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use report::Ending;

    #[test]
    fn step_names_are_unique() {
        let names: std::collections::BTreeSet<_> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
    }

    #[test]
    fn results_come_in_listed_order_from_both_lanes() {
        fn pass(_: &Context, _: &str) -> Ending {
            Ending::Passed(String::new())
        }
        static STEPS: [Step; 3] = [
            Step { name: "a", what: "", lane: Lane::Guests, run: pass },
            Step { name: "b", what: "", lane: Lane::Compile, run: pass },
            Step { name: "c", what: "", lane: Lane::Guests, run: pass },
        ];
        let report = run(&STEPS.iter().collect::<Vec<_>>());
        assert_eq!(report.steps.iter().map(|step| step.name).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
