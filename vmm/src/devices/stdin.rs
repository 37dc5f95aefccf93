//! Standard input as the keyboard of one guest, and a way out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::Builder;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::isatty;

use super::terminal;

/// Ctrl-A, which announces a command to the VMM, as in QEMU's and screen's consoles.
const ESCAPE: u8 = 1;
/// How often a job in the background looks whether it has been brought to the foreground, of which nobody tells it.
const LOOK: Duration = Duration::from_millis(500);

/// What comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// For the guest.
    Bytes(&'a [u8]),
    /// Ctrl-A x: stop the guest.
    Stop,
}

/// Tells bytes for the guest from commands for the VMM.
#[derive(Debug, Default)]
struct Keys {
    escaped: bool,
}

impl Keys {
    /// Hands what was typed to `on`, as long as that says true; whether it still does.
    fn read(&mut self, typed: &[u8], on: &mut impl FnMut(Input<'_>) -> bool) -> bool {
        let mut bytes = Vec::with_capacity(typed.len());
        for byte in typed {
            match (std::mem::take(&mut self.escaped), *byte) {
                (false, ESCAPE) => self.escaped = true,
                (true, b'x' | b'X') => {
                    if !on(Input::Bytes(&std::mem::take(&mut bytes))) || !on(Input::Stop) {
                        return false;
                    }
                }
                (true, other) if other != ESCAPE => {}
                (_, other) => bytes.push(other),
            }
        }
        on(Input::Bytes(&bytes))
    }
}

/// Starts a thread that hands what comes in to `on` until it ends or `on` says false. Commands are those of a terminal: in a file or
/// a pipe every byte is the guest's. The thread is never joined: a blocked read of standard input ends with the process.
pub fn listen(mut on: impl FnMut(Input<'_>) -> bool + Send + 'static) {
    let Ok(fd) = io::stdin().as_fd().try_clone_to_owned() else { return };
    let is_terminal = isatty(&fd);
    let reader = move || {
        let mut keys = Keys::default();
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = read(&fd, is_terminal, &mut part) {
            let bytes = part.get(..count).unwrap_or_default();
            if !(if is_terminal { keys.read(bytes, &mut on) } else { on(Input::Bytes(bytes)) }) {
                return;
            }
        }
    };
    // Without the thread the guest merely has no keyboard.
    let _ = Builder::new().name("stdin".into()).spawn(reader);
}

fn read(fd: &OwnedFd, is_terminal: bool, part: &mut [u8]) -> Result<usize, Errno> {
    loop {
        if is_terminal {
            while !terminal::is_foreground() {
                std::thread::sleep(LOOK);
            }
            terminal::resume();
        }
        match rustix::io::read(fd, &mut *part) {
            Err(Errno::INTR) => {}
            // Others share what is open, and may have changed how it behaves.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(fd, PollFlags::IN)], None)),
            Err(Errno::IO) if is_terminal && !terminal::is_foreground() => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives of what was typed in these parts: bytes, and `!` for the command.
    fn heard(parts: &[&[u8]]) -> Vec<u8> {
        let (mut keys, mut heard) = (Keys::default(), Vec::new());
        for part in parts {
            keys.read(part, &mut |input| {
                match input {
                    Input::Bytes(bytes) => heard.extend_from_slice(bytes),
                    Input::Stop => heard.push(b'!'),
                }
                true
            });
        }
        heard
    }

    #[test]
    fn bytes_when_plain_go_to_the_guest() {
        assert_eq!(heard(&[b"a\x03"]), b"a\x03");
    }

    #[test]
    fn escape_when_followed_by_x_stops_and_when_doubled_is_sent_once() {
        assert_eq!(heard(&[b"ab\x01xc"]), b"ab!c");
        assert_eq!(heard(&[b"\x01\x01a"]), b"\x01a");
        assert_eq!(heard(&[b"\x01qa"]), b"a");
        assert_eq!(heard(&[b"a\x01", b"x"]), b"a!");
    }
}
