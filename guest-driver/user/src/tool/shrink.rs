//! `tmem-guest shrink`: memory that nobody misses goes back to the host.
//!
//! It asks the kernel to reclaim a little at a time (cgroup v2, `memory.reclaim` of the root group). What is reclaimed goes to
//! tmem, and the pages that become free are reported to the host by virtio-balloon's free page reporting. They stay free pages
//! of this guest: whoever needs one takes it with a page fault, so nothing has to be given back in time and no process can be
//! killed for a balloon that is too slow. How much to ask for is decided by what it costs others ([`Pace`]).

mod control;
mod measure;
mod report;

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use control::{Pace, Seen};
use measure::Memory;
use report::Totals;

/// How to go about it.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) duration: Option<Duration>,
    /// Pages reclaimed, after which to end.
    pub(crate) until: Option<u64>,
    pub(crate) every: Duration,
    /// Per cent of memory that stays in use at least.
    pub(crate) floor: u64,
    /// Per cent of time waited for memory, from which on to stop.
    pub(crate) pressure: u64,
    pub(crate) order: u32,
    pub(crate) report: bool,
    pub(crate) command: Vec<OsString>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            duration: None,
            until: None,
            every: Duration::from_secs(2),
            floor: 20,
            pressure: 1,
            order: 4,
            report: false,
            command: Vec::new(),
        }
    }
}

/// Why memory cannot be given back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShrinkError {
    #[error("no cgroup v2 is mounted: mount -t cgroup2 none /sys/fs/cgroup")]
    NoCgroup,
    #[error("cannot use {}: {source}; it takes root, cgroup v2 with the memory controller, and Linux 5.19 or later", path.display())]
    Reclaim { path: PathBuf, source: io::Error },
    #[error(
        "cannot read {path}: {source}; the kernel needs CONFIG_PSI, and psi=1 where it is off by default"
    )]
    Pressure { path: &'static str, source: io::Error },
    #[error("cannot run {command}: {source}")]
    Command { command: String, source: io::Error },
}

/// Gives memory back until the time is over, enough was reclaimed, or the command has ended, whose exit status is the answer.
pub(crate) fn run(options: &Options) -> Result<ExitCode, ShrinkError> {
    let memory = Memory::open(options.order)?;
    let mut pace = Pace::new(memory.total_pages(), options.floor, options.pressure);
    let mut child = start(&options.command)?;
    let started = Instant::now();
    let mut totals = Totals::start(&memory);
    let mut last = memory.sample()?;
    let code = loop {
        if let Some(code) = wait(child.as_mut(), options.every) {
            break code;
        }
        if child.is_none() && options.duration.is_some_and(|limit| started.elapsed() >= limit) {
            break ExitCode::SUCCESS;
        }
        let now = memory.sample()?;
        let pages = pace.next(&Seen::between(&last, &now));
        let got = if pages > 0 { memory.reclaim(pages)? } else { false };
        totals.count(pages, got);
        // Reclaim counts as waiting for memory, also what is asked for here: the next interval begins behind it.
        last = memory.sample()?;
        totals.lowest(&last);
        if child.is_none() && options.until.is_some_and(|enough| totals.reclaimed() >= enough) {
            break ExitCode::SUCCESS;
        }
    };
    totals.tell(options.report, &memory);
    Ok(code)
}

fn start(command: &[OsString]) -> Result<Option<Child>, ShrinkError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    let failed = |source| ShrinkError::Command { command: program.to_string_lossy().into_owned(), source };
    Command::new(program).args(arguments).spawn().map(Some).map_err(failed)
}

/// Waits for `time`, or less if the child ends: then its exit status.
fn wait(child: Option<&mut Child>, time: Duration) -> Option<ExitCode> {
    const STEP: Duration = Duration::from_millis(100);
    let until = Instant::now() + time;
    let Some(child) = child else {
        thread::sleep(time);
        return None;
    };
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Some(ExitCode::from(code));
        }
        thread::sleep(STEP);
    }
    None
}
