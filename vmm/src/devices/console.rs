//! Where a guest's serial output goes: the terminal, lines among others' lines, or a file of its own; and its last bytes, kept for
//! reports about guests that died or stand still. A guest never waits for whoever reads it.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use thiserror::Error;

use crate::output::{Feed, Left, OpenError, Target, Terminal, Text, Writer};

/// Bytes of output that are kept for reports.
const TAIL_BYTES: usize = 4096;
/// A prefixed line is written out at this length even if the guest never ends it. A guest's report of all its counters, in JSON, is a
/// quarter of it.
const LINE_MAX: usize = 4096;

/// Why a console cannot have its file.
#[derive(Debug, Error)]
pub enum ConsoleError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nobody to write to it.
    #[error("the host has no thread to write to it: {0}; raise its limit (ulimit -u)")]
    Thread(#[source] io::Error),
}

/// How output is made fit for where it goes.
enum Sink {
    /// As it comes.
    Raw(Feed),
    /// For a terminal that the guest has for itself.
    Terminal(Terminal, Feed),
    /// Whole lines of text behind `name| `.
    Lines { prefix: String, text: Text, line: String, out: Feed },
    /// Nothing goes out any more.
    Closed,
}

struct State {
    sink: Sink,
    tail: VecDeque<u8>,
}

/// One guest's console output. Clones share it.
#[derive(Clone)]
pub struct Console(Arc<Mutex<State>>);

/// What a file still has to get, once its console is finished.
#[derive(Debug)]
pub struct Unwritten {
    left: Left,
    unread: Arc<AtomicBool>,
}

impl Unwritten {
    /// Whether all is written, or nobody is there to read the rest.
    pub fn is_over(&self) -> bool {
        self.left.wait(std::time::Duration::ZERO) || self.unread.load(Ordering::Acquire)
    }
}

impl Console {
    fn new(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(State { sink, tail: VecDeque::with_capacity(TAIL_BYTES) })))
    }

    /// Output that goes out byte by byte, to what this guest has for itself. If that is a terminal, it does not get C1 controls.
    pub fn alone(out: &Writer, is_terminal: bool) -> Self {
        Self::new(if is_terminal {
            Sink::Terminal(Terminal::default(), out.feed("\r\n", "\r\n"))
        } else {
            Sink::Raw(out.feed("\n", "\n"))
        })
    }

    /// Output in lines that start with the guest's name. Control characters are shown and not passed on: a guest must not
    /// write over other guests' lines, or speak to the terminal.
    pub fn lines(name: &str, out: &Writer) -> Self {
        let prefix = format!("{name}| ");
        let out = out.feed(&prefix, "\n");
        Self::new(Sink::Lines { prefix, text: Text::default(), line: String::new(), out })
    }

    /// Output to what is at `path` (see [`Target`]), written by a thread of its own.
    ///
    /// # Errors
    /// [`ConsoleError`].
    pub fn open(path: &Path) -> Result<(Self, Unwritten), ConsoleError> {
        let target = Target::open(path)?;
        let (is_terminal, unread) = (target.is_terminal(), target.unread());
        let (writer, left) = Writer::start("console", target).map_err(ConsoleError::Thread)?;
        Ok((Self::alone(&writer, is_terminal), Unwritten { left, unread }))
    }

    /// The last output, at most [`TAIL_BYTES`] of it, as text.
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.0.lock().tail.iter().copied().collect();
        Text::of(&bytes)
    }

    /// Writes out what the guest has begun and not ended. What it writes from now on is kept for reports only.
    pub fn finish(&self) {
        match std::mem::replace(&mut self.0.lock().sink, Sink::Closed) {
            Sink::Raw(_) | Sink::Closed => {}
            Sink::Terminal(mut terminal, out) => {
                let mut rest = Vec::new();
                terminal.finish(&mut rest);
                out.push(&rest);
            }
            Sink::Lines { prefix, mut text, mut line, out } => {
                text.finish(&mut line);
                if !line.is_empty() {
                    write_line(&prefix, &line, &out);
                }
            }
        }
    }
}

/// One piece per line keeps lines of several guests whole.
fn write_line(prefix: &str, line: &str, out: &Feed) {
    out.push([prefix, line, "\n"].concat().as_bytes());
}

impl Write for Console {
    /// Never fails and never waits: a guest must not notice that nobody listens.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let excess = (state.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES).min(state.tail.len());
        state.tail.drain(..excess);
        state.tail.extend(bytes.iter().rev().take(TAIL_BYTES).rev());
        match &mut state.sink {
            Sink::Closed => {}
            Sink::Raw(out) => out.push(bytes),
            Sink::Terminal(terminal, out) => {
                let mut shown = Vec::with_capacity(bytes.len());
                terminal.feed(bytes, &mut shown);
                out.push(&shown);
            }
            Sink::Lines { prefix, text, line, out } => {
                // Piece by piece, so that a line stays near its limit whatever is written at once.
                for piece in bytes.chunks(LINE_MAX / 16) {
                    text.feed(piece, line);
                    while let Some(end) = line.find('\n') {
                        let whole: String = line.drain(..=end).collect();
                        write_line(prefix, whole.trim_end_matches('\n'), out);
                    }
                    if line.len() >= LINE_MAX {
                        write_line(prefix, line, out);
                        line.clear();
                    }
                }
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shared() -> (Shared, Writer, Left) {
        let out = Shared::default();
        let (writer, left) = Writer::start("test", out.clone()).unwrap();
        (out, writer, left)
    }

    fn done(writer: Writer, left: &Left) {
        drop(writer);
        while !left.wait(Duration::from_secs(1)) {}
    }

    #[test]
    fn lines_and_tail_when_a_guest_writes_control_characters_show_them() {
        let (out, writer, left) = shared();
        let mut console = Console::lines("a", &writer);
        console.write_all(b"\x1b[2Jb| x\ty\n\xc2").unwrap();
        console.write_all(b"\x9b2J\x9d\n").unwrap();
        let shown = "\\x1b[2Jb| x\ty\n\\u{9b}2J\\x9d\n";
        assert_eq!(console.tail(), shown);
        console.finish();
        done(writer, &left);
        assert_eq!(out.text(), shown.lines().map(|line| format!("a| {line}\n")).collect::<String>());
    }

    #[test]
    fn lines_when_several_guests_write_stay_whole_and_named() {
        let (out, writer, left) = shared();
        let mut a = Console::lines("a", &writer);
        let mut b = Console::lines("b", &writer);
        a.write_all(b"one ").unwrap();
        b.write_all(b"two\r\n").unwrap();
        a.write_all(b"three\n\nrest").unwrap();
        a.finish();
        b.finish();
        done(writer, &left);
        let of = |name: &str| {
            out.text().lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>().join("/")
        };
        assert_eq!(of("a"), "a| one three/a| /a| rest");
        assert_eq!(of("b"), "b| two");
    }

    #[test]
    fn lines_when_never_ended_are_cut() {
        let (out, writer, left) = shared();
        let mut console = Console::lines("a", &writer);
        console.write_all(&[b'x'; 2 * LINE_MAX]).unwrap();
        console.finish();
        done(writer, &left);
        assert_eq!(out.text().lines().count(), 2);
    }

    #[test]
    fn terminal_when_a_guest_has_it_gets_no_c1_and_a_pipe_gets_every_byte() {
        for (is_terminal, shown) in [(true, &b"\x1b[1m\\u{9b}2J\\x9b"[..]), (false, b"\x1b[1m\xc2\x9b2J\x9b")]
        {
            let (out, writer, left) = shared();
            let mut console = Console::alone(&writer, is_terminal);
            for byte in b"\x1b[1m\xc2\x9b2J\x9b" {
                console.write_all(&[*byte]).unwrap();
            }
            console.finish();
            done(writer, &left);
            assert_eq!(*out.0.lock(), shown);
        }
    }

    #[test]
    fn tail_when_much_was_written_keeps_the_last_part() {
        let (_, writer, _left) = shared();
        let mut console = Console::alone(&writer, true);
        console.write_all(&[b'x'; 3 * TAIL_BYTES]).unwrap();
        console.write_all(b"end").unwrap();
        let tail = console.tail();
        assert_eq!(tail.len(), TAIL_BYTES);
        assert!(tail.ends_with("xend"));
    }

    #[test]
    fn file_when_written_has_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (mut console, unwritten) = Console::open(&path).unwrap();
        console.write_all(b"hello\n\x1b\x9b").unwrap();
        console.finish();
        while !unwritten.left.wait(Duration::from_secs(1)) {}
        assert_eq!(std::fs::read(path).unwrap(), b"hello\n\x1b\x9b");
    }
}
