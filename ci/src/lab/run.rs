//! One run: power-on to power-off, with every byte recorded and shown.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::protocol::{ControlParser, Message, Nonce, OutputFilter};
use super::qemu::{Channel, Event, Machine, write_line};
use super::verdict::{LabError, Seen, decide};
use super::watch::{Action, Limits, Watch};

/// A line of progress after this much silence.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// How often the emulated host gets a byte that it ignores.
///
/// QEMU (7.2, target/i386/tcg/sysemu/svm_helper.c) sets and clears a bit of its CPU's pending interrupts at every entry to
/// and exit from a nested guest, without the lock under which its device threads set others: now and then one that is set
/// at that moment is lost. If that was the timer's, an idle host sleeps until any other interrupt comes, which without this
/// was seen to take minutes.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// What a run needs, complete.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The host kernel.
    pub(super) kernel: &'a Path,
    /// The initramfs, command and nonce included.
    pub(super) initrd: &'a Path,
    /// The nonce in there.
    pub(super) nonce: Nonce,
    /// Memory of the emulated host in MiB.
    pub(super) memory_mib: u32,
    /// Limits on time and silence.
    pub(super) limits: Limits,
    /// Folder of this run's logs.
    pub(super) logs: &'a Path,
    /// Under which name to speak about progress on standard error, if at all.
    pub(super) progress: Option<&'a str>,
}

/// A finished run.
#[derive(Debug)]
pub(super) struct Finished {
    /// The command's exit status.
    pub(super) status: i32,
    /// Archive of /out: path, length, SHA-256.
    pub(super) files: (PathBuf, u64, String),
    /// Power-on to power-off.
    pub(super) took: Duration,
}

/// Boots the emulated host, shows the command's output on `sink`, and tells how it ended.
pub(super) fn run(plan: &Plan<'_>, sink: &mut dyn Write) -> Result<Finished, LabError> {
    let sockets = SocketDir::new().map_err(LabError::setup("cannot make a folder for sockets"))?;
    let archive = plan.logs.join("out.tar");
    let machine = Machine {
        kernel: plan.kernel,
        initrd: plan.initrd,
        memory_mib: plan.memory_mib,
        sockets: &sockets.0,
        files: &archive,
    };
    let (sender, events) = mpsc::channel();
    let started = Instant::now();
    let mut emulator = machine.start(&sender).map_err(LabError::setup("cannot start qemu-system-x86_64"))?;
    drop(sender);
    let mut session = Session::new(plan, started).map_err(LabError::setup("cannot write logs"))?;
    let mut status = None;
    loop {
        let wait = session.tick(&mut || emulator.kill());
        let event = match events.recv_timeout(wait) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if matches!(event, Event::Closed(Channel::Stderr)) {
            status = Some(emulator.wait().map_err(LabError::setup("cannot wait for QEMU"))?);
        }
        session.take(event, sink).map_err(LabError::setup("cannot write the output"))?;
    }
    session.flush(sink).map_err(LabError::setup("cannot write the output"))?;
    let mut seen = session.seen;
    seen.broken = session.watch.broken();
    seen.qemu_failure = match status {
        Some(status) if status.success() => String::new(),
        Some(status) => status.to_string(),
        None => "QEMU closed its streams and lives on".into(),
    };
    let (status, (bytes, sha256)) = decide(&seen, &plan.limits, plan.logs)?;
    Ok(Finished { status, files: (archive, bytes, sha256), took: started.elapsed() })
}

/// What is known during a run.
struct Session {
    started: Instant,
    watch: Watch,
    control: ControlParser,
    output: OutputFilter,
    writers: HashMap<&'static str, UnixStream>,
    logs: HashMap<&'static str, std::fs::File>,
    seen: Seen,
    off: bool,
    /// When the last beat was sent; nothing once the host has stopped to read them.
    last_beat: Option<Instant>,
    progress: Option<Progress>,
}

impl Session {
    fn new(plan: &Plan<'_>, started: Instant) -> std::io::Result<Self> {
        let mut logs = HashMap::new();
        for name in ["console", "output", "control", "monitor", "stderr"] {
            logs.insert(name, std::fs::File::create(plan.logs.join(format!("{name}.log")))?);
        }
        Ok(Self {
            started,
            watch: Watch::new(plan.limits, started),
            control: ControlParser::new(plan.nonce.clone()),
            output: OutputFilter::new(&plan.nonce),
            writers: HashMap::new(),
            logs,
            seen: Seen::default(),
            off: false,
            last_beat: Some(started),
            progress: plan.progress.map(Progress::new),
        })
    }

    /// Does what the watch asks for; returns how long to wait for the next event.
    fn tick(&mut self, kill: &mut dyn FnMut()) -> Duration {
        let now = Instant::now();
        let wait = match self.watch.check(now) {
            Action::Wait(wait) => wait,
            Action::Dump(_) => {
                write_line(self.writers.get("control"), "dump");
                write_line(self.writers.get("monitor"), "info registers");
                Duration::ZERO
            }
            Action::Kill(_) => {
                kill();
                PROGRESS_EVERY
            }
        };
        if let Some(progress) = &mut self.progress {
            let phase = if self.seen.ready { "running the command" } else { "booting the emulated host" };
            progress.say(phase, self.started, self.watch.silent_for(now));
        }
        if self.seen.ready && self.last_beat.is_some_and(|last| now.duration_since(last) >= HEARTBEAT) {
            self.last_beat = write_line(self.writers.get("control"), "").then_some(now);
        }
        wait.min(HEARTBEAT)
    }

    fn take(&mut self, event: Event, sink: &mut dyn Write) -> std::io::Result<()> {
        let (channel, bytes) = match event {
            Event::Connected(channel, stream) => {
                self.writers.insert(log_name(channel), stream);
                return Ok(());
            }
            Event::Closed(_) => return Ok(()),
            Event::Bytes(channel, bytes) => (channel, bytes),
        };
        if let Some(log) = self.logs.get_mut(log_name(channel)) {
            log.write_all(&bytes)?;
        }
        match channel {
            Channel::Console => self.seen.console.push_str(&String::from_utf8_lossy(&bytes)),
            Channel::Stderr => self.seen.stderr.push_str(&String::from_utf8_lossy(&bytes)),
            Channel::Monitor => return Ok(()),
            Channel::Output => {
                let passed = self.output.feed(&bytes);
                self.show(&passed.bytes, sink)?;
                self.seen.status = passed.status;
            }
            Channel::Control => {
                for message in self.control.feed(&bytes) {
                    self.message(message);
                }
            }
        }
        self.watch.progress(Instant::now());
        self.power_off_when_complete();
        Ok(())
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Ready => self.seen.ready = true,
            Message::Files { bytes, sha256 } => self.seen.files = Some((bytes, sha256)),
            Message::Dumped => self.watch.dumped(),
            Message::Failed(why) => self.seen.failed = Some(why),
        }
    }

    /// The init waits for this word: only now has everything arrived.
    fn power_off_when_complete(&mut self) {
        let complete = self.seen.status.is_some() && self.seen.files.is_some();
        if (complete || self.seen.failed.is_some()) && !self.off {
            self.off = true;
            write_line(self.writers.get("control"), "off");
        }
    }

    fn show(&mut self, bytes: &[u8], sink: &mut dyn Write) -> std::io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(progress) = &mut self.progress {
            progress.clear();
        }
        sink.write_all(bytes)?;
        sink.flush()
    }

    fn flush(&mut self, sink: &mut dyn Write) -> std::io::Result<()> {
        let rest = self.output.finish();
        self.show(&rest, sink)
    }
}

fn log_name(channel: Channel) -> &'static str {
    match channel {
        Channel::Console => "console",
        Channel::Output => "output",
        Channel::Control => "control",
        Channel::Monitor => "monitor",
        Channel::Stderr => "stderr",
    }
}

/// Says on standard error that something is happening while the command is silent: one line that is rewritten on a
/// terminal, a line every [`PROGRESS_EVERY`] elsewhere.
struct Progress {
    name: String,
    terminal: bool,
    shown: bool,
    last: Instant,
}

impl Progress {
    fn new(name: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { name: name.to_owned(), terminal, shown: false, last: Instant::now() }
    }

    fn say(&mut self, phase: &str, started: Instant, silent: Duration) {
        if silent < PROGRESS_EVERY.mul_f32(0.9) || self.last.elapsed() < PROGRESS_EVERY.mul_f32(0.9) {
            return;
        }
        self.last = Instant::now();
        let (took, silent) = (started.elapsed().as_secs(), silent.as_secs());
        let text = format!("{}: {phase}, {took} s, silent for {silent} s", self.name);
        if self.terminal {
            eprint!("\r\x1b[K{text}");
            self.shown = true;
        } else {
            eprintln!("{text}");
        }
    }

    fn clear(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
            self.shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A folder with a short path for sockets, removed at the end.
struct SocketDir(PathBuf);

impl SocketDir {
    fn new() -> std::io::Result<Self> {
        let nonce = Nonce::draw()?;
        let short: String = nonce.as_str().chars().take(12).collect();
        let path = std::env::temp_dir().join(format!("tmem-lab-{short}"));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
