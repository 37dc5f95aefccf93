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
//! | `run` | world after world, boots that are done again, and what came of them |
//! | `record` | what a run has done and found |

mod boot;
mod machine;
mod record;
mod run;
pub(crate) mod worlds;

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use run::{RECORD, Run};
use tmem_images::KernelId;
use worlds::{QUICK, WORLDS};

use crate::choice::choose;
use crate::files::{self, FileError};
use crate::lab::trial::TrialError;
use crate::torture::parts::Parts;
use crate::torture::world::Setting;
use crate::torture::{Args, TortureError};

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
    let found = worlds(args, kernel, &dir)?;
    if found.is_empty() { Ok(()) } else { Err(TortureError::Found(found)) }
}

/// Round after round until the time is over, or one; what was found.
fn worlds(args: &Args, kernel: KernelId, dir: &Path) -> Result<Vec<String>, TrialError> {
    let mut worlds = choose(["torture --smp", "world"], &args.only, WORLDS, |world| world.name)?;
    if args.only.is_empty() {
        worlds.retain(|world| world.makes_sense_on(kernel));
    }
    files::make_dir(dir)?;
    crate::setup::ensure().map_err(crate::lab::LabError::from)?;
    let parts = Parts::make(dir)?;
    let setting = Setting {
        boot_file: "",
        operations: args.operations,
        seconds: args.seconds,
        round: 0,
        programs: true,
    };
    let mut run = Run::new(dir, parts, setting)?;
    let until = args.hours.map(|hours| Duration::from_secs_f64(hours.max(0.0) * 3600.0));
    let mut stdout = std::io::stdout();
    'rounds: loop {
        run.next_round();
        for world in &worlds {
            run.world(&world.on(kernel), &args.scenarios, &mut stdout)?;
            if until.is_some_and(|until| run.has_taken() >= until) {
                break 'rounds;
            }
        }
        if until.is_none() {
            break;
        }
    }
    println!("torture: {}; {}", run.record().line(), dir.join(RECORD).display());
    Ok(run.record().found())
}

/// The part that is soon shown, with the small kernel, its files in `dir` and its console in `log`; what it has done.
pub(crate) fn quick(dir: &Path, log: &Path) -> Result<String, TortureError> {
    let done = || -> Result<_, TrialError> {
        files::make_dir(dir)?;
        let mut sink = File::create(log).map_err(FileError::new("write", log))?;
        let setting = Setting { boot_file: "", operations: 100, seconds: 1, round: 0, programs: false };
        let mut run = Run::new(dir, Parts::few(dir)?, setting)?;
        run.next_round();
        run.world(&QUICK, &[], &mut sink)?;
        Ok((run.record().line(), run.record().found()))
    };
    let (line, found) = done()?;
    if found.is_empty() { Ok(line) } else { Err(TortureError::Found(found)) }
}
