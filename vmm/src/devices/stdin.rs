//! The terminal as the keyboard of one guest: raw mode while the guest runs, and a way out.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

use vmm_sys_util::terminal::Terminal;

/// Ctrl-A, which announces a command to the VMM, as in QEMU's and screen's consoles.
const ESCAPE: u8 = 1;

/// What a byte typed by the user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// For the guest.
    Byte(u8),
    /// Ctrl-A x: stop the guest.
    Stop,
}

/// Tells bytes for the guest from commands for the VMM.
#[derive(Debug, Default)]
pub struct Keys {
    escaped: bool,
}

impl Keys {
    /// What the next byte means; `None` while a command is incomplete.
    pub fn next(&mut self, byte: u8) -> Option<Key> {
        match (std::mem::take(&mut self.escaped), byte) {
            (false, ESCAPE) => {
                self.escaped = true;
                None
            }
            (true, b'x' | b'X') => Some(Key::Stop),
            (true, ESCAPE) | (false, _) => Some(Key::Byte(byte)),
            (true, _) => None,
        }
    }
}

/// Raw mode of the terminal on standard input, undone when dropped.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Enters raw mode, if standard input is a terminal.
    pub fn enter() -> Option<Self> {
        let stdin = io::stdin();
        (stdin.is_terminal() && stdin.lock().set_raw_mode().is_ok()).then_some(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // There is nobody left to tell if the terminal is gone.
        let _ = io::stdin().lock().set_canon_mode();
    }
}

/// Starts a thread that hands keys to `on_key` until input ends or `on_key` says false. The thread is never joined: a
/// blocked read of standard input ends with the process.
pub fn listen(on_key: Arc<dyn Fn(Key) -> bool + Send + Sync>) {
    // Not `stdin().lock()`: the thread would hold that lock while it waits, and leaving raw mode takes it.
    let Ok(input) = io::stdin().as_fd().try_clone_to_owned() else { return };
    let reader = move || {
        let mut keys = Keys::default();
        for byte in BufReader::new(File::from(input)).bytes() {
            let Ok(byte) = byte else { return };
            if let Some(key) = keys.next(byte)
                && !on_key(key)
            {
                return;
            }
        }
    };
    // Without the thread the guest merely has no keyboard.
    let _ = std::thread::Builder::new().name("stdin".into()).spawn(reader);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        bytes.iter().filter_map(|b| keys.next(*b)).collect()
    }

    #[test]
    fn bytes_when_plain_go_to_the_guest() {
        assert_eq!(keys(b"a\x03"), [Key::Byte(b'a'), Key::Byte(3)]);
    }

    #[test]
    fn escape_when_followed_by_x_stops_and_when_doubled_is_sent_once() {
        assert_eq!(keys(b"\x01x"), [Key::Stop]);
        assert_eq!(keys(b"\x01\x01a"), [Key::Byte(1), Key::Byte(b'a')]);
        assert_eq!(keys(b"\x01qa"), [Key::Byte(b'a')]);
    }
}
