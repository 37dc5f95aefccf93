//! `cargo xtask torture`: the scenarios of guest-driver/linux/{patches/,}test/guest.sh in guests that nobody needs.
//!
//! Slow, and no part of `cargo xtask test` but for [`quick`]. Each world is a lab of its own: a host and a driver that are good,
//! or bad in one way.
//!
//! | module | its one idea |
//! |---|---|
//! | `world` | what is bad in a world, and what its guest is told |
//! | `worlds` | all of them, and which scenarios make sense there |
//! | `parts` | what the guest boots and the programs it runs |
//! | `verdict` | what is wrong with what a guest showed |

pub(crate) mod parts;
pub(crate) mod verdict;
pub(crate) mod world;
pub(crate) mod worlds;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tmem_images::KernelId;

use crate::choice::choose;
use crate::files;
use crate::lab::trial::{Trial, TrialError};
use crate::lab::watch::Limits;
use crate::lab::{Added, Job, Lab};
use parts::Parts;
use verdict::faults;
use world::{Setting, World};
use worlds::{QUICK, WORLDS};

/// A scenario says when it starts and when it ends; none takes longer, even when three emulated CPUs share one real one.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// Longest time for a world.
const TOTAL: Duration = Duration::from_secs(4 * 3600);

/// Run the scenarios for a tmem-aware kernel in the lab: coherency torture, stress, fio, e2fsck, xfs_repair; takes an hour or two.
///
/// Needs what `cargo xtask setup --torture` installs. Each scenario prints ok, skip or FAIL; the consoles are in target/torture.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these worlds.
    #[arg(long, value_name = "WORLD", num_args = 1..)]
    pub(crate) only: Vec<String>,
    /// List the worlds.
    #[arg(long)]
    pub(crate) list: bool,
    /// On several processors at once: in plain QEMU instead of the lab, with the store inside the guest. Writes
    /// target/torture-smp/KERNEL/record.json.
    #[arg(long)]
    pub(crate) smp: bool,
    /// With `--smp`, all worlds again and again until so many hours are over.
    #[arg(long, requires = "smp")]
    pub(crate) hours: Option<f64>,
    /// What a guest boots where a world is about the tmem-aware kernel: `small` (the default), `torture` (the default with `--smp`),
    /// `debug` or `torture-debug`, which have lockdep and KASAN and are slow, or `torture-kcsan`.
    #[arg(long, value_parser = tmem_aware)]
    pub(crate) kernel: Option<KernelId>,
    /// Operations of each job of the coherency torture.
    #[arg(long, default_value_t = 400)]
    pub(crate) operations: u32,
    /// Seconds of each stress.
    #[arg(long, default_value_t = 8)]
    pub(crate) seconds: u32,
    /// Only these scenarios, in every world.
    #[arg(long = "scenario", value_name = "SCENARIO", num_args = 1..)]
    pub(crate) scenarios: Vec<String>,
}

/// Why a torture is not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TortureError {
    /// A world could not be made, or its guest did not run to its end.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// Scenarios failed.
    #[error("the torture found something:\n  {}", .0.join("\n  "))]
    Found(Vec<String>),
}

/// Runs what `args` ask for.
pub(crate) fn main(args: &Args) -> Result<(), TortureError> {
    if args.list {
        let rows: Vec<Vec<String>> =
            WORLDS.iter().map(|world| vec![world.name.into(), world.what.into()]).collect();
        print!("{}", crate::table::render(&["world", "what is bad in it"], &rows));
        return Ok(());
    }
    let found = worlds(args, &crate::paths::target().join("torture"))?;
    if found.is_empty() { Ok(()) } else { Err(TortureError::Found(found)) }
}

/// Runs the worlds that `args` ask for, all their files in `dir`; what they found.
fn worlds(args: &Args, dir: &Path) -> Result<Vec<String>, TrialError> {
    let kernel = args.kernel.unwrap_or(KernelId::Small);
    let mut worlds = choose(["torture", "world"], &args.only, WORLDS, |world| world.name)?;
    if args.only.is_empty() {
        worlds.retain(|world| world.makes_sense_on(kernel));
    }
    files::make_dir(dir)?;
    let lab = Lab::prepare()?;
    let parts = Parts::make(dir)?;
    let mut found = Vec::new();
    for world in worlds.into_iter().map(|world| world.on(kernel)) {
        println!("== {}: {}", world.name, world.what);
        let plan = Plan {
            world: &world,
            operations: args.operations,
            seconds: args.seconds,
            scenarios: &args.scenarios,
        };
        let console = plan.run(&lab, &parts, dir, &mut std::io::stdout())?;
        found.extend(faults(&world, &plan.asked(), &console));
    }
    Ok(found)
}

/// The part that is soon shown, its output on `sink` and in `dir`; how many scenarios passed.
pub(crate) fn quick(lab: &Lab, dir: &Path, sink: &mut dyn Write) -> Result<usize, TortureError> {
    files::make_dir(dir).map_err(TrialError::from)?;
    let plan = Plan { world: &QUICK, operations: 0, seconds: 0, scenarios: &[] };
    let console = plan.run(lab, &Parts::few(dir)?, dir, sink)?;
    let found = faults(&QUICK, &plan.asked(), &console);
    let passed = console.lines().filter(|line| line.starts_with("ok ")).count();
    if found.is_empty() { Ok(passed) } else { Err(TortureError::Found(found)) }
}

/// Reads the name of a kernel with the patches.
pub(crate) fn tmem_aware(name: &str) -> Result<KernelId, String> {
    let known = || {
        let aware = KernelId::ALL.into_iter().filter(|id| id.is_tmem_aware());
        aware.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
    };
    match name.parse::<KernelId>() {
        Ok(id) if id.is_tmem_aware() => Ok(id),
        Ok(id) => Err(format!("{id} is not tmem-aware; there are {}", known())),
        Err(_) => Err(format!("no kernel {name} here; there are {}", known())),
    }
}

/// One world and how long to torture it.
struct Plan<'a> {
    world: &'a World,
    operations: u32,
    seconds: u32,
    /// Instead of the world's own.
    scenarios: &'a [String],
}

impl Plan<'_> {
    /// The scenarios, separated by commas.
    fn asked(&self) -> String {
        if self.scenarios.is_empty() { self.world.scenarios.to_owned() } else { self.scenarios.join(",") }
    }

    /// Runs it, shown on `sink`; what the guest's console showed, which is kept in `dir`.
    fn run(&self, lab: &Lab, parts: &Parts, dir: &Path, sink: &mut dyn Write) -> Result<String, TrialError> {
        let setting = Setting {
            boot_file: lab.boot_file(self.world.kernel)?,
            operations: self.operations,
            seconds: self.seconds,
            round: 0,
            programs: parts.programs(),
        };
        let trial = Trial { dir, name: self.world.name };
        let mut added = parts.added(self.world.kernel)?;
        let mut command = self.world.prepare();
        if let Some(before) = self.world.before {
            added.push(trial.config("before.toml", &self.world.toml(&setting, before))?);
            command.push_str(
                "tmem run /lab/before.toml; [ $? = 3 ] || echo FAIL the guest did not reset itself; ",
            );
        }
        added.push(trial.config("guest.toml", &self.world.toml(&setting, &self.asked()))?);
        command.push_str(self.world.run());
        if self.world.asks {
            let from = crate::paths::root().join("ci/lab/frozen.sh");
            added.push(Added { from, to: "/lab/frozen.sh".into() });
        }
        let job = Job {
            added,
            guests: vec![self.world.kernel],
            limits: Limits { silence: SILENCE, total: TOTAL, ..Limits::default() },
            ..trial.job(&command)
        };
        Ok(trial.run(lab, &job, sink)?.said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tmem_aware_kernels_are_offered() {
        assert_eq!(tmem_aware("debug"), Ok(KernelId::Debug));
        for other in ["stock-6.12", "smal"] {
            let error = tmem_aware(other).unwrap_err();
            assert!(error.contains("; there are small, debug, torture"), "{error}");
        }
    }
}
