//! Where a guest's serial output goes: the terminal, prefixed lines among others', or a file; and its last lines, kept
//! for reports about guests that died or stand still.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bytes of output that are kept for reports.
const TAIL_BYTES: usize = 4096;
/// A prefixed line is written out at this length even if the guest never ends it.
const LINE_MAX: usize = 1024;
/// Most bytes that one guest may write to its console file; a guest must not fill the host's disk.
const FILE_MAX: u64 = 64 << 20;

/// Where output goes.
enum Sink {
    /// As it comes, for the one guest of a terminal.
    Terminal(Box<dyn Write + Send>),
    /// Whole lines behind `name| `.
    Lines { prefix: String, line: Vec<u8>, out: Box<dyn Write + Send> },
    /// A file of its own, up to a limit.
    File { file: File, left: u64 },
}

struct State {
    sink: Sink,
    tail: VecDeque<u8>,
}

/// One guest's console output. Clones share it.
#[derive(Clone)]
pub struct Console(Arc<Mutex<State>>);

impl Console {
    fn new(sink: Sink) -> Self {
        Self(Arc::new(Mutex::new(State { sink, tail: VecDeque::with_capacity(TAIL_BYTES) })))
    }

    /// Output that goes out byte by byte.
    pub fn terminal(out: impl Write + Send + 'static) -> Self {
        Self::new(Sink::Terminal(Box::new(out)))
    }

    /// Output in lines that start with the guest's name.
    pub fn lines(name: &str, out: impl Write + Send + 'static) -> Self {
        Self::new(Sink::Lines { prefix: format!("{name}| "), line: Vec::new(), out: Box::new(out) })
    }

    /// Output to a new file at `path`, at most 64 MiB of it.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::new(Sink::File { file: File::create(path)?, left: FILE_MAX }))
    }

    /// The last output, at most [`TAIL_BYTES`], as text.
    pub fn tail(&self) -> String {
        let bytes: Vec<u8> = self.0.lock().tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes out a line that the guest has not ended.
    pub fn finish(&self) {
        if let Sink::Lines { prefix, line, out } = &mut self.0.lock().sink
            && !line.is_empty()
        {
            write_line(prefix, line, out.as_mut());
        }
    }
}

fn write_line(prefix: &str, line: &mut Vec<u8>, out: &mut dyn Write) {
    let mut whole = Vec::with_capacity(prefix.len() + line.len() + 1);
    whole.extend_from_slice(prefix.as_bytes());
    whole.append(line);
    whole.push(b'\n');
    // One write per line keeps lines of several guests whole. Nothing can be done when the terminal is gone.
    let _ = out.write_all(&whole).and_then(|()| out.flush());
}

impl Write for Console {
    /// Never fails: a guest must not notice that nobody listens.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let excess = (state.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES).min(state.tail.len());
        state.tail.drain(..excess);
        state.tail.extend(bytes.iter().rev().take(TAIL_BYTES).rev());
        match &mut state.sink {
            Sink::Terminal(out) => {
                let _ = out.write_all(bytes).and_then(|()| out.flush());
            }
            Sink::Lines { prefix, line, out } => {
                for byte in bytes {
                    match byte {
                        b'\n' => write_line(prefix, line, out.as_mut()),
                        b'\r' => {}
                        other => line.push(*other),
                    }
                    if line.len() >= LINE_MAX {
                        write_line(prefix, line, out.as_mut());
                    }
                }
            }
            Sink::File { file, left } => {
                if let Some(rest) = left.checked_sub(bytes.len() as u64) {
                    *left = rest;
                    let _ = file.write_all(bytes);
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

    #[test]
    fn lines_when_several_guests_write_stay_whole_and_named() {
        let out = Shared::default();
        let mut a = Console::lines("a", out.clone());
        let mut b = Console::lines("b", out.clone());
        a.write_all(b"one ").unwrap();
        b.write_all(b"two\r\n").unwrap();
        a.write_all(b"three\nrest").unwrap();
        a.finish();
        b.finish();
        assert_eq!(out.text(), "b| two\na| one three\na| rest\n");
    }

    #[test]
    fn lines_when_never_ended_are_cut() {
        let out = Shared::default();
        Console::lines("a", out.clone()).write_all(&[b'x'; 2 * LINE_MAX]).unwrap();
        assert_eq!(out.text().lines().count(), 2);
    }

    #[test]
    fn tail_when_much_was_written_keeps_the_last_part() {
        let mut console = Console::terminal(io::sink());
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
        Console::file(&path).unwrap().write_all(b"hello\n").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"hello\n");
    }
}
