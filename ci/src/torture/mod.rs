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

mod parts;
mod world;
mod worlds;

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
    only: Vec<String>,
    /// List the worlds.
    #[arg(long)]
    list: bool,
    /// What a guest boots where a world is about the tmem-aware kernel: `small`, or `debug`, which has lockdep and KASAN and is slow.
    #[arg(long, default_value_t = KernelId::Small, value_parser = tmem_aware)]
    kernel: KernelId,
    /// Operations of each job of the coherency torture.
    #[arg(long, default_value_t = 400)]
    operations: u32,
    /// Seconds of each stress.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Only these scenarios, in every world.
    #[arg(long = "scenario", value_name = "SCENARIO", num_args = 1..)]
    scenarios: Vec<String>,
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
    let mut worlds = choose(["torture", "world"], &args.only, WORLDS, |world| world.name)?;
    if args.only.is_empty() {
        worlds.retain(|world| world.makes_sense_on(args.kernel));
    }
    files::make_dir(dir)?;
    let lab = Lab::prepare()?;
    let parts = Parts::make(dir)?;
    let mut found = Vec::new();
    for world in worlds.into_iter().map(|world| world.on(args.kernel)) {
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
    let console = plan.run(lab, &Parts::few()?, dir, sink)?;
    let found = faults(&QUICK, &plan.asked(), &console);
    let passed = console.lines().filter(|line| line.starts_with("ok ")).count();
    if found.is_empty() { Ok(passed) } else { Err(TortureError::Found(found)) }
}

/// Reads the name of a kernel with the patches.
pub(crate) fn tmem_aware(name: &str) -> Result<KernelId, String> {
    match name.parse() {
        Ok(KernelId::Stock(series)) => {
            Err(format!("stock-{series} is not tmem-aware; there are small and debug"))
        }
        Ok(aware) => Ok(aware),
        Err(_) => Err(format!("no kernel {name} here; there are small and debug")),
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

/// What is wrong with what a guest showed: scenarios that failed, or were not done, or no good end.
///
/// `asked` are those that it was to run, separated by commas. It may skip what makes sense in other worlds only.
fn faults(world: &World, asked: &str, console: &str) -> Vec<String> {
    let name = world.name;
    let lines = || console.lines().map(str::trim_end);
    let mut faults: Vec<String> =
        lines().filter(|line| line.starts_with("FAIL ")).map(|line| format!("{name}: {line}")).collect();
    for scenario in asked.split(',') {
        let good = format!("ok {}", world.ends_as(scenario));
        match lines().find(|line| is_skip(line, scenario)) {
            _ if lines().any(|line| line == good) => {}
            Some(_) if !world.is_own(scenario) => {}
            Some(skip) => faults.push(format!("{name}: {skip}")),
            None => faults.push(format!("{name}: {scenario} was not seen to end well")),
        }
    }
    if !lines().any(|line| line.ends_with("{\"event\":\"end\",\"status\":0}")) {
        faults.push(format!("{name}: the guest did not come to a good end"));
    }
    faults
}

/// Whether `line` says that `scenario` was skipped; the reason follows.
fn is_skip(line: &str, scenario: &str) -> bool {
    let reason = line.strip_prefix("skip ").and_then(|rest| rest.strip_prefix(scenario));
    reason.is_some_and(|reason| reason.starts_with([' ', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "ok a\r\nskip b needs the fake store\r\nTMEM-REPORT {\"event\":\"end\",\"status\":0}\r\n";

    #[test]
    fn only_tmem_aware_kernels_are_offered() {
        assert_eq!(tmem_aware("debug"), Ok(KernelId::Debug));
        for other in ["stock-6.12", "smal"] {
            let error = tmem_aware(other).unwrap_err();
            assert!(error.ends_with("there are small and debug"), "{error}");
        }
    }

    fn world(name: &str) -> &'static World {
        WORLDS.iter().find(|world| world.name == name).unwrap()
    }

    #[test]
    fn a_good_console_has_no_faults() {
        assert_eq!(faults(world("roomy"), "a,b", GOOD), Vec::<String>::new());
    }

    #[test]
    fn failures_and_missing_ends_are_faults() {
        let bad = "FAIL a why\r\nTMEM-REPORT {\"event\":\"end\",\"status\":1}\r\n";
        assert_eq!(
            faults(world("roomy"), "a", bad),
            [
                "roomy: FAIL a why",
                "roomy: a was not seen to end well",
                "roomy: the guest did not come to a good end"
            ]
        );
    }

    #[test]
    fn a_scenario_of_the_world_may_not_be_skipped_or_missing() {
        let said = GOOD.replace("skip b", "skip swap_pages_come_back");
        assert_eq!(
            faults(world("roomy"), "a,swap_pages_come_back,a_b", &said),
            ["roomy: skip swap_pages_come_back needs the fake store", "roomy: a_b was not seen to end well"]
        );
    }

    #[test]
    fn a_kernel_that_was_replaced_is_answered_for_by_the_next() {
        let kexec = world("kexec");
        assert_eq!(
            faults(kexec, kexec.scenarios, &GOOD.replace("ok a", "ok after_a_kexec")),
            Vec::<String>::new()
        );
        assert_eq!(faults(kexec, kexec.scenarios, GOOD).len(), 1);
    }
}
