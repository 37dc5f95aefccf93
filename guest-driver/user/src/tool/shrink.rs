//! `tmem-guest shrink`: memory that nobody misses goes back to the host.
//!
//! It asks the kernel to reclaim a little at a time (cgroup v2, `memory.reclaim` of the root group). What is reclaimed goes to
//! tmem, and the pages that become free are reported to the host by virtio-balloon's free page reporting. They stay free pages
//! of this guest: whoever needs one takes it with a page fault, so nothing has to be given back in time and no process can be
//! killed for a balloon that is too slow. How much to ask for is decided by what it costs others ([`Pace`]).

mod balloon;
mod control;
mod measure;
mod report;
mod signals;

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use balloon::{Balloon, Order};
use control::{Next, Pace, Seen};
use measure::{Memory, Reclaimed};
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
    #[error("cannot be told of signals: {0}")]
    Signals(io::Error),
}

/// Gives memory back until the time is over, enough was reclaimed, a signal came, or the command has ended, whose exit status is the
/// answer.
pub(crate) fn run(options: &Options) -> Result<ExitCode, ShrinkError> {
    let balloon = Balloon::find();
    let memory = Memory::open(balloon)?;
    measure::missing(balloon).iter().for_each(|says| eprintln!("tmem-guest: {says}"));
    signals::note().map_err(ShrinkError::Signals)?;
    let _order = balloon.reports.then(|| order(options.order));
    let mut pace = Pace::new(memory.total_pages(), options.floor, options.pressure);
    let mut child = start(&options.command)?;
    let started = Instant::now();
    let mut totals = Totals::start(&memory);
    let mut last = memory.sample()?;
    let mut got = Reclaimed::default();
    let code = loop {
        match wait(child.as_mut(), options.every) {
            Woken::Ended(status) => break exit_code(status),
            Woken::Signal(number) => break leave(child.as_mut(), number),
            Woken::Time => {}
        }
        if child.is_none() && options.duration.is_some_and(|limit| started.elapsed() >= limit) {
            break ExitCode::SUCCESS;
        }
        // One interval begins where the last ended, before the request, so that what a request costs is seen in the next.
        let now = memory.sample()?;
        let next = pace.next(&Seen::between(&last, &now, got.cut_short));
        totals.interval(now.used, next);
        last = now;
        got = if let Next::Reclaim(pages) = next { memory.reclaim(pages)? } else { Reclaimed::default() };
        totals.request(got);
        if child.is_none() && options.until.is_some_and(|enough| totals.reclaimed() >= enough) {
            break ExitCode::SUCCESS;
        }
    };
    totals.used(memory.sample()?.used);
    totals.tell(options.report, &memory);
    Ok(code)
}

fn order(order: u32) -> Option<Order> {
    let failed =
        |error| eprintln!("tmem-guest: only free blocks as large as a huge page are reported: {error}");
    Order::set(order).map_err(failed).ok()
}

fn start(command: &[OsString]) -> Result<Option<Child>, ShrinkError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(None) };
    let failed = |source| ShrinkError::Command { command: program.to_string_lossy().into_owned(), source };
    Command::new(program).args(arguments).spawn().map(Some).map_err(failed)
}

/// Why a wait has ended.
#[derive(Debug)]
enum Woken {
    Time,
    Signal(i32),
    Ended(ExitStatus),
}

/// Waits for `time`, or less if a signal comes or the child ends.
fn wait(mut child: Option<&mut Child>, time: Duration) -> Woken {
    const STEP: Duration = Duration::from_millis(100);
    let until = Instant::now() + time;
    while Instant::now() < until {
        if let Some(Ok(Some(status))) = child.as_mut().map(|child| child.try_wait()) {
            return Woken::Ended(status);
        }
        if let Some(number) = signals::came() {
            return Woken::Signal(number);
        }
        thread::sleep(STEP);
    }
    Woken::Time
}

/// After a signal: nothing more is asked for, and the child, if there is one, decides when to end. A terminal sends SIGINT to both,
/// so it gets only the other one from here.
fn leave(child: Option<&mut Child>, number: i32) -> ExitCode {
    let Some(child) = child else { return ExitCode::SUCCESS };
    if number == libc::SIGTERM {
        signals::send(child, number);
    }
    child.wait().map_or(ExitCode::FAILURE, exit_code)
}

/// As a shell says it: the child's own, or 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_that_is_told_to_end_does_and_its_signal_is_its_status() {
        let mut child = start(&["sleep".into(), "1000".into()]).unwrap();
        assert_eq!(leave(child.as_mut(), libc::SIGTERM), ExitCode::from(128 + 15));
        assert_eq!(leave(None, libc::SIGINT), ExitCode::SUCCESS);
    }

    #[test]
    fn wait_ends_with_the_child_and_its_status_is_the_answer() {
        let mut child = start(&["sh".into(), "-c".into(), "exit 7".into()]).unwrap();
        let Woken::Ended(status) = wait(child.as_mut(), Duration::from_secs(1000)) else {
            panic!("woken too early")
        };
        assert_eq!(exit_code(status), ExitCode::from(7));
    }

    #[test]
    fn command_that_is_not_there_is_named() {
        let error = start(&["/nowhere/x".into()]).unwrap_err().to_string();
        assert!(error.starts_with("cannot run /nowhere/x: "), "{error}");
    }
}
