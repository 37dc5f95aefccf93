//! One boot: power-on to power-off, with every byte of the console kept, and how it ended.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::files::FileError;
use crate::lab::trial::TrialError;
use crate::lab::watch::{Action, Broken, Limits, Watch};

use super::machine::{Machine, questions};

/// How long a guest may say nothing before its init speaks, however busy the machine.
const BOOT: Limits = Limits {
    silence: Duration::from_secs(120),
    total: Duration::from_secs(300),
    dump: Duration::from_secs(1),
};

/// What the init says first.
const UP: &str = "TMEM-REPORT {\"event\":\"boot\"";

/// A kernel that met a breakpoint of its own while it patched itself: with several emulated processors one of them may run the
/// instruction that the others are told of too late (QEMU invalidates translated code between processors in its own time).
const PATCHING: [&str; 2] = ["Oops: int3", "int3: 0000"];

/// A boot that came to some end.
#[derive(Debug)]
pub(super) struct Boot {
    /// All that the console showed.
    pub(super) said: String,
    /// What the emulator itself said.
    pub(super) emulator_said: String,
    /// How it ended.
    pub(super) end: End,
    /// From power-on to the end.
    pub(super) took: Duration,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The machine switched itself off, or reset itself.
    Off(ExitStatus),
    /// It was silent for too long.
    Silent,
    /// It took too long.
    Late,
}

/// What is the emulator's fault and not the guest's; such a boot is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mishap {
    /// The kernel did not come up.
    HungAtBoot,
    /// The kernel met a breakpoint while it patched itself.
    Patching,
}

impl Boot {
    /// The mishap that it is, if it is one.
    pub(super) fn mishap(&self) -> Option<Mishap> {
        if PATCHING.iter().any(|word| self.said.contains(word)) {
            return Some(Mishap::Patching);
        }
        let hung = matches!(self.end, End::Silent | End::Late) && !self.said.contains(UP);
        hung.then_some(Mishap::HungAtBoot)
    }
}

/// Boots `machine`, its console shown on `sink` and kept in `log`. `limits` count from when its init speaks.
pub(super) fn boot(
    machine: &Machine<'_>,
    limits: Limits,
    log: &Path,
    sink: &mut dyn Write,
) -> Result<Boot, TrialError> {
    let mut kept = Kept {
        said: Vec::new(),
        file: std::fs::File::create(log).map_err(FileError::new("write", log))?,
        path: log,
        sink,
    };
    let started = Instant::now();
    let child = machine
        .start()
        .map_err(|source| FileError::new("start", Path::new(crate::lab::qemu::PROGRAM))(source))?;
    let mut emulator = Emulator(child);
    let input = emulator.0.stdin.take();
    let (sender, events) = mpsc::channel();
    let readers = emulator.readers(&sender);
    drop(sender);

    let mut watch = Watch::new(BOOT, started);
    let mut up = false;
    let mut emulator_said = Vec::new();
    loop {
        let wait = match watch.check(Instant::now()) {
            Action::Wait(time) => time,
            Action::Dump(_) => {
                ask(input.as_ref());
                continue;
            }
            Action::Kill(_) => {
                emulator.kill();
                Duration::from_secs(1)
            }
        };
        match events.recv_timeout(wait) {
            Ok(Event::Console(bytes)) => {
                watch.progress(Instant::now());
                kept.take(&bytes)?;
                if !up && kept.has_seen(UP) {
                    up = true;
                    watch = Watch::new(limits, Instant::now());
                }
            }
            Ok(Event::Stderr(bytes)) => emulator_said.extend(bytes),
            Err(RecvTimeoutError::Timeout) => {}
            // Both streams are closed: it has ended.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = emulator.0.wait().map_err(FileError::new("wait for", log))?;
    for reader in readers {
        // A reader that panicked has closed its stream, which was noticed.
        let _ = reader.join();
    }
    let end = match watch.broken() {
        None => End::Off(status),
        Some(Broken::Silence) => End::Silent,
        Some(Broken::Total) => End::Late,
    };
    Ok(Boot {
        said: String::from_utf8_lossy(&kept.said).into_owned(),
        emulator_said: String::from_utf8_lossy(&emulator_said).into_owned(),
        end,
        took: started.elapsed(),
    })
}

/// Asks a silent guest what it waits for. One that is dead does not read, and is killed soon.
fn ask(input: Option<&ChildStdin>) {
    if let Some(mut input) = input {
        let _ = input.write_all(&questions()).and_then(|()| input.flush());
    }
}

/// What the readers report.
enum Event {
    Console(Vec<u8>),
    Stderr(Vec<u8>),
}

/// A running emulator. Dropping it kills it.
struct Emulator(Child);

impl Emulator {
    fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.0.kill();
    }

    fn readers(&mut self, events: &Sender<Event>) -> Vec<thread::JoinHandle<()>> {
        let mut readers = Vec::new();
        if let Some(stdout) = self.0.stdout.take() {
            readers.push(forward(stdout, Event::Console, events.clone()));
        }
        if let Some(stderr) = self.0.stderr.take() {
            readers.push(forward(stderr, Event::Stderr, events.clone()));
        }
        readers
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
        let _ = self.0.wait();
    }
}

fn forward(
    mut from: impl Read + Send + 'static,
    event: fn(Vec<u8>) -> Event,
    events: Sender<Event>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                    if events.send(event(bytes)).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })
}

/// The console, kept and shown.
struct Kept<'a> {
    said: Vec<u8>,
    file: std::fs::File,
    path: &'a Path,
    sink: &'a mut dyn Write,
}

impl Kept<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.said.extend_from_slice(bytes);
        self.file.write_all(bytes).map_err(FileError::new("write", self.path))?;
        // Whoever watched has gone away: the record and the log are what counts.
        let _ = self.sink.write_all(bytes);
        Ok(())
    }

    fn has_seen(&self, word: &str) -> bool {
        self.said.windows(word.len()).any(|window| window == word.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn boot(said: &str, end: End) -> Boot {
        Boot { said: said.into(), emulator_said: String::new(), end, took: Duration::ZERO }
    }

    #[test]
    fn silence_before_init_speaks_is_the_emulators_and_later_the_guests() {
        assert_eq!(boot("Booting", End::Silent).mishap(), Some(Mishap::HungAtBoot));
        let up = format!("{UP},\"cpus\":4}}\nstart x\n");
        assert_eq!(boot(&up, End::Silent).mishap(), None);
        assert_eq!(boot(&up, End::Late).mishap(), None);
    }

    #[test]
    fn a_kernel_that_dies_while_it_patches_itself_is_the_emulators_and_any_other_oops_is_not() {
        let off = End::Off(ExitStatus::from_raw(0));
        assert_eq!(boot("[    0.5] Oops: int3: 0000 [#1] SMP", off).mishap(), Some(Mishap::Patching));
        assert_eq!(boot("Oops: general protection fault", off).mishap(), None);
        assert_eq!(boot("", off).mishap(), None);
    }
}
