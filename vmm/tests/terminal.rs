//! `tmem run` on a terminal: raw while it is there, as it was before at every end, and a guest that does what it likes. Each test skips,
//! saying why, where there is no KVM.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail loudly

mod common;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, WaitOptions, ioctl_tiocsctty, setsid, waitpid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr,
};

use common::{echo, has_kvm, kernel, power_off, say, signal, spin, tmem_run};

/// A terminal, as whoever sits before it sees it, and as programs see it.
struct Terminal {
    screen: File,
    inside: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap();
        let inside = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes())).unwrap();
        Self { screen: screen.into(), inside: inside.into() }
    }

    /// Starts a program whose terminal this is, in the foreground.
    fn start(&self, mut command: Command) -> Child {
        let end = || self.inside.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: two system calls, and no memory is asked for.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                Ok(ioctl_tiocsctty(rustix::stdio::stdin())?)
            });
        }
        command.spawn().unwrap()
    }

    fn state(&self) -> Modes {
        let Termios { input_modes, output_modes, control_modes, local_modes, .. } =
            tcgetattr(&self.inside).unwrap();
        (input_modes, output_modes, control_modes, local_modes)
    }

    fn type_in(&mut self, bytes: &[u8]) {
        self.screen.write_all(bytes).unwrap();
    }

    /// Reads until the screen has shown `text`; all that it has shown.
    fn wait_for(&mut self, text: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        while !all.windows(text.len()).any(|part| part == text) {
            let mut part = [0; 4096];
            let read = self.screen.read(&mut part).unwrap();
            all.extend_from_slice(&part[..read]);
        }
        all
    }

    fn wait_for_raw(&self) {
        while !is_raw(self.state()) {
            std::thread::yield_now();
        }
    }
}

type Modes = (InputModes, OutputModes, ControlModes, LocalModes);

fn is_raw((input, output, _, local): Modes) -> bool {
    let cooked =
        InputModes::ICRNL | InputModes::INLCR | InputModes::IGNCR | InputModes::IXON | InputModes::ISTRIP;
    !input.intersects(cooked)
        && !local.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN)
        && output.contains(OutputModes::OPOST)
}

/// A terminal with `tmem run` in it, whose guest does `code` after it has said that it is there.
fn on_a_terminal(dir: &Path, code: &[u8]) -> (Terminal, Modes, Child) {
    kernel(dir, "kernel", &[say(b"here\n"), code.to_vec()].concat());
    let mut terminal = Terminal::new();
    let before = terminal.state();
    let child = terminal.start(tmem_run(dir, &["--kernel", "kernel", "--memory", "16M"]));
    terminal.wait_for(b"here");
    terminal.wait_for_raw();
    (terminal, before, child)
}

fn wait_for_stop(child: &Child) {
    let (_, status) = waitpid(Some(Pid::from_child(child)), WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped(), "{status:?}");
}

/// Ends it by a signal that ends it at once or as it wishes.
fn end_by(mut child: Child, number: Signal) -> ExitStatus {
    signal(&child, number);
    child.wait().unwrap()
}

#[test]
fn keys_when_typed_arrive_as_they_are_and_the_terminal_is_put_back() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut terminal, before, mut child) = on_a_terminal(dir.path(), &echo());
    // Enter, and the keys that a terminal would keep for itself: interrupt, stop, go on, suspend, quit, literal.
    let keys = b"\r\x03\x13\x11\x1a\x1c\x16.";
    terminal.type_in(keys);
    assert!(terminal.wait_for(b".").ends_with(keys));
    let pasted: Vec<u8> = (0..90).map(|n| b'a' + n % 26).chain(*b"|").collect();
    terminal.type_in(&pasted);
    assert_eq!(terminal.wait_for(b"|"), pasted, "90 characters at once, more than a FIFO holds");
    terminal.type_in(b"\x01x");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(terminal.state(), before);
}

#[test]
fn controls_when_a_guest_writes_them_are_shown_unless_they_are_its_terminals() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = b"\x1b[1m\xc2\x9b2J\x9d0;\xc3\xa4.";
    kernel(dir.path(), "kernel", &[say(text), power_off()].concat());
    let mut terminal = Terminal::new();
    let mut child = terminal.start(tmem_run(dir.path(), &["--kernel", "kernel", "--memory", "16M"]));
    let shown = terminal.wait_for(b".");
    assert!(shown.starts_with(b"\x1b[1m\\u{9b}2J\\x9d0;\xc3\xa4."), "{}", shown.escape_ascii());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn terminal_when_the_program_ends_in_whatever_way_is_put_back() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (number, code) in
        [(Signal::TERM, Some(130)), (Signal::HUP, Some(130)), (Signal::ABORT, None), (Signal::SEGV, None)]
    {
        let (terminal, before, child) = on_a_terminal(dir.path(), &spin());
        let status = end_by(child, number);
        assert_eq!(status.code(), code, "{number:?}");
        assert!(code.is_some() || status.signal() == Some(number.as_raw()), "{status:?}");
        assert_eq!(terminal.state(), before, "{number:?}");
    }
    let (mut terminal, before, mut child) = on_a_terminal(dir.path(), &echo());
    terminal.type_in(b"\x04");
    assert_eq!(child.wait().unwrap().code(), Some(0), "the guest's own end");
    assert_eq!(terminal.state(), before);
}

#[test]
fn terminal_when_the_program_was_stopped_and_goes_on_is_raw_again() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut terminal, before, mut child) = on_a_terminal(dir.path(), &echo());
    let as_before = tcgetattr(&Terminal::new().inside).unwrap();
    signal(&child, Signal::STOP);
    wait_for_stop(&child);
    // What a shell does when its job has stopped.
    tcsetattr(&terminal.inside, OptionalActions::Now, &as_before).unwrap();
    signal(&child, Signal::CONT);
    terminal.wait_for_raw();
    // Ctrl-C is the guest's again.
    terminal.type_in(b"\x03!");
    assert!(terminal.wait_for(b"!").ends_with(b"\x03!"));
    terminal.type_in(b"\x01x");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(terminal.state(), before);
}

/// A shell in the terminal's foreground that starts `tmem run` in the background: the script's `set -m` gives each job a group of its own.
fn in_the_background(dir: &Path, script: &str) -> (Terminal, Modes, Child) {
    let terminal = Terminal::new();
    let before = terminal.state();
    let mut shell = Command::new("bash");
    shell.args(["-c", script, "bash", env!("CARGO_BIN_EXE_tmem")]).current_dir(dir);
    let child = terminal.start(shell);
    (terminal, before, child)
}

#[test]
fn job_when_in_the_background_runs_to_its_end_and_leaves_the_terminal_alone() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    kernel(dir.path(), "kernel", &[say(b"from behind"), power_off()].concat());
    // A job that stops ends `wait` too, with the number of the signal.
    let script = "set -m; \"$1\" run --any-kvm --kernel kernel --memory 16M & wait $!; exit $?";
    let (mut terminal, before, mut shell) = in_the_background(dir.path(), script);
    terminal.wait_for(b"from behind");
    assert_eq!(terminal.state(), before);
    assert_eq!(shell.wait().unwrap().code(), Some(0));
    assert_eq!(terminal.state(), before);
}

#[test]
fn job_when_brought_to_the_foreground_gets_the_keys() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    kernel(dir.path(), "kernel", &[say(b"here"), echo()].concat());
    let script = "set -m; \"$1\" run --any-kvm --kernel kernel --memory 16M & read line; fg; exit $?";
    let (mut terminal, _, mut shell) = in_the_background(dir.path(), script);
    terminal.wait_for(b"here");
    assert!(!is_raw(terminal.state()));
    // For the shell, which then brings its job to the front.
    terminal.type_in(b"\n");
    terminal.wait_for_raw();
    terminal.type_in(b"keys!");
    assert!(terminal.wait_for(b"!").ends_with(b"keys!"));
    terminal.type_in(b"\x01x");
    assert_eq!(shell.wait().unwrap().code(), Some(130));
}
