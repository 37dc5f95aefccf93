//! `cargo xtask torture --smp`: the torture on several processors at once, in plain QEMU, with the store inside the guest.
//!
//! The lab's emulated host runs one processor at a time, so that put, flush and get hardly overlap. Here every processor of the guest is
//! a thread of this machine. Scenarios, worlds and verdicts are those of `torture`.
//!
//! | module | its one idea |
//! |---|---|
//! | `worlds` | the worlds whose store is inside the guest |
//! | `machine` | the emulator's command line |
//! | `boot` | one boot, and whether the emulator spoilt it |
//! | `record` | what a run has done and found |

mod boot;
mod machine;
mod record;
pub(crate) mod worlds;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use boot::{Boot, End, boot};
use machine::{CPUS, Machine};
use record::{Finding, Record};
use tmem_images::KernelId;
use worlds::WORLDS;

use crate::choice::choose;
use crate::command;
use crate::files::{self, FileError};
use crate::lab::trial::TrialError;
use crate::lab::watch::Limits;
use crate::torture::parts::Parts;
use crate::torture::verdict;
use crate::torture::world::{Setting, World};
use crate::torture::{Args, TortureError};

/// A scenario says when it starts and when it ends; none takes longer, however busy the machine.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(20 * 60),
    total: Duration::from_secs(3 * 3600),
    // Every task's stack through a serial line.
    dump: Duration::from_secs(60),
};

/// Size of the disks for swap and for data.
const DISK_BYTES: u64 = 512 << 20;

/// So many boots in a row are no mishaps any more.
const MOST_MISHAPS: u32 = 6;

/// The emulator hung or died so often that there may be another reason.
const TOO_MANY: &str = "the emulator hung or died in a row";

/// Runs what `args` ask for.
pub(crate) fn main(args: &Args) -> Result<(), TortureError> {
    if args.list {
        let rows: Vec<Vec<String>> =
            WORLDS.iter().map(|world| vec![world.name.into(), world.what.into()]).collect();
        print!("{}", crate::table::render(&["world", "what is bad in it"], &rows));
        return Ok(());
    }
    let kernel = args.kernel.unwrap_or(KernelId::Torture);
    // Runs with two kernels at once do not meet.
    let dir = crate::paths::target().join("torture-smp").join(kernel.to_string());
    let record = Run::new(args, kernel, &dir)?.all()?;
    println!("torture: {}; {}", record.line(), dir.join(RECORD).display());
    let found: Vec<String> = record
        .findings
        .into_iter()
        .map(|finding| format!("{} ({}): {}", finding.what, finding.kernel, finding.log.display()))
        .collect();
    if found.is_empty() { Ok(()) } else { Err(TortureError::Found(found)) }
}

/// The record's name in the folder of a run.
const RECORD: &str = "record.json";

/// A run: what it needs, and what it has done so far.
struct Run<'a> {
    args: &'a Args,
    kernel: KernelId,
    dir: &'a Path,
    parts: Parts,
    record: Record,
    started: Instant,
}

impl<'a> Run<'a> {
    fn new(args: &'a Args, kernel: KernelId, dir: &'a Path) -> Result<Self, TrialError> {
        files::make_dir(dir)?;
        let record = Record {
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            started: now()?,
            emulator: crate::lab::qemu::version(),
            cpus: CPUS,
            ..Record::default()
        };
        // Named wrongly, nothing is built.
        choose(["torture --smp", "world"], &args.only, WORLDS, |world| world.name)?;
        crate::setup::ensure().map_err(crate::lab::LabError::from)?;
        Ok(Self { args, kernel, dir, parts: Parts::make(dir)?, record, started: Instant::now() })
    }

    /// Round after round until the time is over, or one.
    fn all(mut self) -> Result<Record, TrialError> {
        let (args, kernel) = (self.args, self.kernel);
        let mut worlds = choose(["torture --smp", "world"], &args.only, WORLDS, |world| world.name)?;
        if args.only.is_empty() {
            worlds.retain(|world| world.makes_sense_on(kernel));
        }
        let until = args.hours.map(|hours| Duration::from_secs_f64(hours.max(0.0) * 3600.0));
        loop {
            self.record.rounds += 1;
            for world in &worlds {
                self.world(&world.on(kernel))?;
                if until.is_some_and(|until| self.started.elapsed() >= until) {
                    return Ok(self.record);
                }
            }
            if until.is_none() {
                return Ok(self.record);
            }
        }
    }

    /// One world, whose boot is done again while the emulator spoils it.
    fn world(&mut self, world: &World) -> Result<(), TrialError> {
        println!("== {}: {}", world.name, world.what);
        let asked = &self.args.scenarios;
        let scenarios = if asked.is_empty() { world.scenarios.to_owned() } else { asked.join(",") };
        let log = self.dir.join(format!("{}-{}-{}.log", world.kernel, world.name, self.record.rounds));
        let mut mishaps = 0;
        let done = loop {
            let done = self.boot(world, &scenarios, &log)?;
            match done.mishap() {
                Some(mishap) if mishaps < MOST_MISHAPS => {
                    mishaps += 1;
                    self.record.boots_repeated.count(mishap);
                    println!("torture: {}: {mishap:?}: the emulator's; once more", world.name);
                }
                _ => break done,
            }
        };
        self.account(world, &scenarios, &done, &log);
        self.write()
    }

    fn boot(&self, world: &World, scenarios: &str, log: &Path) -> Result<Boot, TrialError> {
        let setting = Setting {
            boot_file: "",
            operations: self.args.operations,
            seconds: self.args.seconds,
            round: self.record.rounds,
            programs: self.parts.programs(),
        };
        let kernel = self.parts.kernel(world.kernel)?;
        let machine = Machine {
            kernel: &kernel,
            initrd: &self.parts.initramfs(world.kernel)?,
            words: &world.words(&setting, scenarios),
            memory_mib: world.memory_mib(),
            disks: &self.disks()?,
            sleeps: world.sleeps,
        };
        boot(&machine, LIMITS, log, &mut std::io::stdout())
    }

    /// Two empty disks, and that of programs.
    fn disks(&self) -> Result<Vec<(PathBuf, bool)>, FileError> {
        let mut disks = Vec::new();
        for name in ["swap.img", "data.img"] {
            let path = self.dir.join(name);
            let made = std::fs::File::create(&path).and_then(|file| file.set_len(DISK_BYTES));
            made.map_err(FileError::new("make", &path))?;
            disks.push((path, false));
        }
        disks.extend(self.parts.disk_of_programs().map(|path| (path.to_owned(), true)));
        Ok(disks)
    }

    /// Adds a boot to the record.
    fn account(&mut self, world: &World, scenarios: &str, done: &Boot, log: &Path) {
        let mut found = verdict::faults(world, scenarios, &done.said);
        match done.end {
            End::Off(status) if status.success() => {}
            End::Off(status) => found.push(format!(
                "{}: the emulator ended with {status}: {}",
                world.name,
                done.emulator_said.trim()
            )),
            End::Silent => found.push(format!("{}: silent for {} s", world.name, LIMITS.silence.as_secs())),
            End::Late => found.push(format!("{}: not done after {} s", world.name, LIMITS.total.as_secs())),
        }
        if done.mishap().is_some() {
            found.push(format!("{}: {TOO_MANY}", world.name));
        }
        let kernel = world.kernel.to_string();
        let record = &mut self.record;
        record.add(&done.said);
        record.boots += 1;
        let entry = record.worlds.entry(world.name.to_owned()).or_default();
        entry.kernel.clone_from(&kernel);
        entry.boots += 1;
        entry.seconds += done.took.as_secs_f64().round();
        record.findings.extend(found.into_iter().map(|what| Finding {
            what,
            kernel: kernel.clone(),
            log: log.to_owned(),
        }));
        record.hours = (self.started.elapsed().as_secs_f64() / 36.0).round() / 100.0;
    }

    /// What was done until now stays if the run is ended.
    fn write(&self) -> Result<(), TrialError> {
        Ok(files::write_json(&self.dir.join(RECORD), &self.record)?)
    }
}

fn now() -> Result<String, TrialError> {
    Ok(command::stdout_of(Command::new("date").arg("--iso-8601=seconds"))?.trim().to_owned())
}
