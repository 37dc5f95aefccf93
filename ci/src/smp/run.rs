//! World after world: boots that are done again when the emulator spoilt them, and what came of the others.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tmem_images::KernelId;

use super::boot::{Boot, End, boot};
use super::machine::{CPUS, Machine};
use super::record::{Finding, Record};
use crate::command;
use crate::files::{self, FileError};
use crate::lab::trial::TrialError;
use crate::lab::watch::Limits;
use crate::torture::parts::Parts;
use crate::torture::verdict;
use crate::torture::world::{Setting, World};

/// The record's name in the folder of a run.
pub(super) const RECORD: &str = "record.json";

/// A scenario says when it starts and when it ends; none takes longer, however busy the machine.
const LIMITS: Limits = Limits {
    silence: Duration::from_secs(20 * 60),
    total: Duration::from_secs(3 * 3600),
    // Every task's stack through a serial line.
    dump: Duration::from_secs(60),
};

/// Size of the disks for swap and for data.
const DISK_BYTES: u64 = 512 << 20;

/// Memory that a guest has beside what its world gives it in the lab, in MiB: for each processor's share of everything, a RAM disk and a
/// store inside.
const MORE_MIB: u32 = 256;

/// So many boots in a row are no mishaps any more.
const MOST_MISHAPS: u32 = 6;

/// What a guest boots.
#[derive(Clone, Debug)]
struct Image {
    kernel: PathBuf,
    initrd: PathBuf,
}

/// A run: what it needs, and what it has done so far.
pub(super) struct Run<'a> {
    dir: &'a Path,
    parts: Parts,
    setting: Setting<'a>,
    /// Made once: what is changed here meanwhile is for the next run.
    images: BTreeMap<KernelId, Image>,
    record: Record,
    started: Instant,
}

impl<'a> Run<'a> {
    /// One whose files are in `dir`.
    pub(super) fn new(dir: &'a Path, parts: Parts, setting: Setting<'a>) -> Result<Self, TrialError> {
        let record = Record {
            command: std::env::args().skip(1).collect::<Vec<_>>().join(" "),
            started: command::stdout_of(Command::new("date").arg("--iso-8601=seconds"))?.trim().to_owned(),
            emulator: crate::lab::qemu::version(),
            cpus: CPUS,
            ..Record::default()
        };
        Ok(Self { dir, parts, setting, images: BTreeMap::new(), record, started: Instant::now() })
    }

    /// What it has done.
    pub(super) const fn record(&self) -> &Record {
        &self.record
    }

    /// How long it has taken so far, images not counted.
    pub(super) fn has_taken(&self) -> Duration {
        self.started.elapsed()
    }

    /// From now on other things are done.
    pub(super) const fn next_round(&mut self) {
        self.setting.round += 1;
        self.record.rounds = self.setting.round;
    }

    /// One world, or these scenarios in it, its console shown on `sink`; the boot is done again while the emulator spoils it.
    pub(super) fn world(
        &mut self,
        world: &World,
        scenarios: &[String],
        sink: &mut dyn Write,
    ) -> Result<(), TrialError> {
        println!("== {}: {}", world.name, world.what);
        let scenarios = if scenarios.is_empty() { world.scenarios.to_owned() } else { scenarios.join(",") };
        let log = self.dir.join(format!("{}-{}-{}.log", world.kernel, world.name, self.setting.round));
        let image = self.image(world.kernel)?;
        let disks = self.disks()?;
        let words = world.words(&self.setting, &scenarios);
        let machine = Machine {
            kernel: &image.kernel,
            initrd: &image.initrd,
            words: &words,
            memory_mib: world.memory_mib() + MORE_MIB,
            disks: &disks,
            sleeps: world.sleeps,
        };
        let mut mishaps = 0;
        let done = loop {
            let done = boot(&machine, LIMITS, &log, sink)?;
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
        // What was done until now stays if the run is ended.
        Ok(files::write_json(&self.dir.join(RECORD), &self.record)?)
    }

    fn image(&mut self, kernel: KernelId) -> Result<Image, TrialError> {
        if let Some(image) = self.images.get(&kernel) {
            return Ok(image.clone());
        }
        let begun = Instant::now();
        let image = Image { kernel: self.parts.kernel(kernel)?, initrd: self.parts.initramfs(kernel)? };
        self.images.insert(kernel, image.clone());
        self.started += begun.elapsed();
        Ok(image)
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
        let mut add = |what: String| found.push(format!("{}: {what}", world.name));
        match done.end {
            End::Off(status) if status.success() => {}
            End::Off(status) => {
                add(format!("the emulator ended with {status}: {}", done.emulator_said.trim()));
            }
            End::Silent => add(format!("silent for {} s", LIMITS.silence.as_secs())),
            End::Late => add(format!("not done after {} s", LIMITS.total.as_secs())),
        }
        if let Some(mishap) = done.mishap() {
            add(format!("{mishap:?} {} times in a row, which is more than the emulator's", MOST_MISHAPS + 1));
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
}
