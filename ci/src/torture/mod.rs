//! `cargo xtask torture`: the scenarios of guest-driver/linux/{patches/,}test/guest.sh in guests that nobody needs.
//!
//! Slow, and no part of `cargo xtask test` but for [`quick`]. Each world is a lab of its own: a host and a driver that are good,
//! or bad in one way.
//!
//! | module | its one idea |
//! |---|---|
//! | `world` | what is bad in a world, and which scenarios make sense there |
//! | `parts` | what the guest boots and the programs it runs |

mod parts;
mod world;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tmem_images::KernelId;

use crate::command::CommandError;
use crate::lab::watch::Limits;
use crate::lab::{Added, Job, Lab, LabError};
use parts::Parts;
use world::{QUICK, Setting, WORLDS, World};

/// A scenario says when it starts and when it ends; none takes longer, even when three emulated CPUs share one real one.
const SILENCE: Duration = Duration::from_secs(30 * 60);
/// Longest time for a world.
const TOTAL: Duration = Duration::from_secs(4 * 3600);

/// Run the scenarios for a tmem-aware kernel in the lab: coherency torture, stress, fio, e2fsck, xfs_repair; takes an hour.
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
    scenarios: Vec<String>,
}

/// Why a torture is not good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TortureError {
    /// `--only` names no world.
    #[error("no world {0}; `cargo xtask torture --list` lists them")]
    UnknownWorld(String),
    /// A program is missing.
    #[error("{0} of Debian's package {1} is not here; `cargo xtask setup --torture` brings it")]
    NoProgram(&'static str, &'static str),
    /// The torture did not compile.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] tmem_images::Error),
    /// The lab failed.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A file could not be used.
    #[error("cannot use {0}: {1}")]
    File(PathBuf, std::io::Error),
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
    if let Some(unknown) =
        args.only.iter().find(|name| !WORLDS.iter().any(|world| world.name == name.as_str()))
    {
        return Err(TortureError::UnknownWorld(unknown.clone()));
    }
    let dir = crate::paths::target().join("torture");
    std::fs::create_dir_all(&dir).map_err(|error| TortureError::File(dir.clone(), error))?;
    let lab = Lab::prepare()?;
    let parts = Parts::make(&dir)?;
    let mut found = Vec::new();
    let asked = |world: &World| match args.only.as_slice() {
        [] => world.makes_sense_on(args.kernel),
        only => only.iter().any(|name| name == world.name),
    };
    for world in WORLDS.iter().filter(|world| asked(world)).map(|world| world.on(args.kernel)) {
        println!("== {}: {}", world.name, world.what);
        let plan = Plan {
            world: &world,
            operations: args.operations,
            seconds: args.seconds,
            scenarios: &args.scenarios,
        };
        found.extend(faults(world.name, &plan.run(&lab, &parts, &dir, &mut std::io::stdout())?));
    }
    if found.is_empty() { Ok(()) } else { Err(TortureError::Found(found)) }
}

/// The part that is soon shown, its output on `sink` and in `dir`; how many scenarios passed.
pub(crate) fn quick(lab: &Lab, dir: &Path, sink: &mut dyn Write) -> Result<usize, TortureError> {
    std::fs::create_dir_all(dir).map_err(|error| TortureError::File(dir.into(), error))?;
    let plan = Plan { world: &QUICK, operations: 0, seconds: 0, scenarios: &[] };
    let console = plan.run(lab, &Parts::few()?, dir, sink)?;
    let found = faults(QUICK.name, &console);
    let passed = console.lines().filter(|line| line.starts_with("ok ")).count();
    if found.is_empty() { Ok(passed) } else { Err(TortureError::Found(found)) }
}

/// Reads the name of a kernel with the patches.
fn tmem_aware(name: &str) -> Result<KernelId, String> {
    match name.parse()? {
        KernelId::Stock(series) => {
            Err(format!("stock-{series} is not tmem-aware; there are small and debug"))
        }
        aware => Ok(aware),
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
    /// Runs it, shown on `sink`; what the guest's console showed, which is kept in `dir`.
    fn run(
        &self,
        lab: &Lab,
        parts: &Parts,
        dir: &Path,
        sink: &mut dyn Write,
    ) -> Result<String, TortureError> {
        let scenarios = if self.scenarios.is_empty() {
            self.world.scenarios.to_owned()
        } else {
            self.scenarios.join(",")
        };
        let setting = Setting {
            boot_file: lab.boot_file(self.world.kernel)?,
            operations: self.operations,
            seconds: self.seconds,
            programs: parts.programs(),
        };
        let mut added = parts.added(self.world.kernel)?;
        let mut command = self.world.prepare();
        if let Some(before) = self.world.before {
            added.push(self.toml(dir, "before", before, &setting)?);
            command.push_str(
                "tmem run /lab/before.toml; [ $? = 3 ] || echo FAIL the guest did not reset itself; ",
            );
        }
        added.push(self.toml(dir, "guest", &scenarios, &setting)?);
        command.push_str("tmem run /lab/guest.toml --report /out/report.json");
        let job = Job {
            added,
            guests: vec![self.world.kernel],
            out: dir.join("out").join(self.world.name),
            limits: Limits { silence: SILENCE, total: TOTAL, ..Limits::default() },
            ..Job::new(&command)
        };
        let mut console = Tee { kept: Vec::new(), sink };
        let outcome = lab.run(&job, &mut console);
        let text = String::from_utf8_lossy(&console.kept).into_owned();
        let log = dir.join(format!("{}.log", self.world.name));
        std::fs::write(&log, &text).map_err(|error| TortureError::File(log.clone(), error))?;
        outcome?;
        Ok(text)
    }

    /// The configuration of a boot, at /lab/`boot`.toml.
    fn toml(
        &self,
        dir: &Path,
        boot: &str,
        scenarios: &str,
        setting: &Setting<'_>,
    ) -> Result<Added, TortureError> {
        let from = dir.join(format!("{}-{boot}.toml", self.world.name));
        let text = self.world.toml(setting, scenarios);
        std::fs::write(&from, text).map_err(|error| TortureError::File(from.clone(), error))?;
        Ok(Added { from, to: format!("/lab/{boot}.toml") })
    }
}

/// Shows everything as it comes, and keeps it.
struct Tee<'a> {
    kept: Vec<u8>,
    sink: &'a mut dyn Write,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.kept.extend_from_slice(bytes);
        self.sink.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

/// What is wrong with what a guest showed: scenarios that failed, none at all, or no good end.
fn faults(world: &str, console: &str) -> Vec<String> {
    let lines = || console.lines().map(str::trim_end);
    let mut faults: Vec<String> =
        lines().filter(|line| line.starts_with("FAIL ")).map(|line| format!("{world}: {line}")).collect();
    if !lines().any(|line| line.starts_with("ok ")) {
        faults.push(format!("{world}: not one scenario passed"));
    }
    if !lines().any(|line| line.ends_with("{\"event\":\"end\",\"status\":0}")) {
        faults.push(format!("{world}: the guest did not come to a good end"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "ok a\r\nskip b needs the fake store\r\nTMEM-REPORT {\"event\":\"end\",\"status\":0}\r\n";

    #[test]
    fn a_good_console_has_no_faults() {
        assert_eq!(faults("w", GOOD), Vec::<String>::new());
    }

    #[test]
    fn failures_and_missing_ends_are_faults() {
        let bad = "FAIL a why\r\nTMEM-REPORT {\"event\":\"end\",\"status\":1}\r\n";
        assert_eq!(
            faults("w", bad),
            ["w: FAIL a why", "w: not one scenario passed", "w: the guest did not come to a good end"]
        );
    }
}
