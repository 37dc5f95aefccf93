//! Where a guest's serial output goes: the terminal, prefixed lines among others', or a file; and its last lines, kept
//! for reports about guests that died or stand still.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::output::{GuestOutput, Output};

/// Bytes of output that are kept for reports.
const TAIL_BYTES: usize = 4096;
/// A prefixed line is written out at this length even if the guest never ends it. A guest's report of all its counters, in JSON, is a
/// quarter of it.
const LINE_MAX: usize = 4096;
/// Most bytes that one guest may write to its console file; a guest must not fill the host's disk.
const FILE_MAX: u64 = 64 << 20;
/// How long a look at the tail waits for a console that waits for its reader.
const TAIL_PATIENCE: Duration = Duration::from_millis(200);

/// Where output goes.
enum Sink {
    /// As it comes, for the one guest of a terminal.
    Terminal(GuestOutput),
    /// Whole lines behind `name| `.
    Lines { prefix: String, line: Vec<u8>, out: GuestOutput },
    /// A file of its own, up to a limit.
    File { file: File, left: u64 },
}

struct State {
    sink: Sink,
    tail: VecDeque<u8>,
}

/// One guest's console output. Clones share it.
#[derive(Clone)]
pub struct Console {
    state: Arc<Mutex<State>>,
    abandoned: Arc<AtomicBool>,
}

impl Console {
    fn new(sink: Sink) -> Self {
        let state = State { sink, tail: VecDeque::with_capacity(TAIL_BYTES) };
        Self { state: Arc::new(Mutex::new(state)), abandoned: Arc::default() }
    }

    /// Output that goes out byte by byte.
    pub fn terminal(out: &Output) -> Self {
        Self::to(out, Sink::Terminal)
    }

    /// Output in lines that start with the guest's name. Control characters are shown and not passed on: a guest must not
    /// write over other guests' lines, or speak to the terminal.
    pub fn lines(name: &str, out: &Output) -> Self {
        let prefix = format!("{name}| ");
        Self::to(out, |out| Sink::Lines { prefix, line: Vec::new(), out })
    }

    fn to(out: &Output, sink: impl FnOnce(GuestOutput) -> Sink) -> Self {
        let abandoned = Arc::new(AtomicBool::new(false));
        let sink = sink(out.guest(abandoned.clone()));
        Self { abandoned, ..Self::new(sink) }
    }

    /// Output to a new file at `path`, at most 64 MiB of it.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn file(path: &Path) -> io::Result<Self> {
        Ok(Self::new(Sink::File { file: File::create(path)?, left: FILE_MAX }))
    }

    /// From now on, output that nobody reads is dropped: the guest is being stopped.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// The last output, at most [`TAIL_BYTES`], as printable text.
    pub fn tail(&self) -> String {
        let Some(state) = self.state.try_lock_for(TAIL_PATIENCE) else {
            return "(the console waits for somebody to read it)".into();
        };
        let bytes: Vec<u8> = state.tail.iter().copied().collect();
        drop(state);
        let mut text = Vec::with_capacity(bytes.len());
        bytes.iter().filter(|byte| **byte != b'\r').for_each(|byte| match byte {
            b'\n' => text.push(b'\n'),
            other => push_printable(&mut text, *other),
        });
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Writes out a line that the guest has not ended.
    pub fn finish(&self) {
        if let Sink::Lines { prefix, line, out } = &mut self.state.lock().sink
            && !line.is_empty()
        {
            write_line(prefix, line, out);
        }
    }
}

fn write_line(prefix: &str, line: &mut Vec<u8>, out: &mut GuestOutput) {
    let mut whole = Vec::with_capacity(prefix.len() + line.len() + 1);
    whole.extend_from_slice(prefix.as_bytes());
    whole.append(line);
    whole.push(b'\n');
    // One piece per line keeps lines of several guests whole. It fails only when the guest is being stopped.
    let _ = out.write_all(&whole);
}

/// A control character as `\xNN`, anything else as it is.
fn push_printable(text: &mut Vec<u8>, byte: u8) {
    match byte {
        0..=0x08 | 0x0a..=0x1f | 0x7f => text.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        other => text.push(other),
    }
}

impl Write for Console {
    /// Never fails: a guest must not notice that nobody listens.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock();
        let excess = (state.tail.len() + bytes.len()).saturating_sub(TAIL_BYTES).min(state.tail.len());
        state.tail.drain(..excess);
        state.tail.extend(bytes.iter().rev().take(TAIL_BYTES).rev());
        match &mut state.sink {
            Sink::Terminal(out) => {
                let _ = out.write_all(bytes);
            }
            Sink::Lines { prefix, line, out } => {
                for byte in bytes {
                    match byte {
                        b'\n' => write_line(prefix, line, out),
                        b'\r' => {}
                        other => push_printable(line, *other),
                    }
                    if line.len() >= LINE_MAX {
                        write_line(prefix, line, out);
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

    fn shared() -> (Shared, Output, super::super::output::Drain) {
        let out = Shared::default();
        let (output, drain) = Output::start(out.clone()).unwrap();
        (out, output, drain)
    }

    #[test]
    fn lines_and_tail_when_a_guest_writes_control_characters_show_them() {
        let (out, output, drain) = shared();
        let mut console = Console::lines("a", &output);
        console.write_all(b"\x1b[2Jb| x\ty\n").unwrap();
        assert_eq!(console.tail(), "\\x1b[2Jb| x\ty\n");
        drop((console, output));
        while !drain.wait(Duration::from_millis(10)) {}
        assert_eq!(out.text(), "a| \\x1b[2Jb| x\ty\n");
    }

    #[test]
    fn lines_when_several_guests_write_stay_whole_and_named() {
        let (out, output, drain) = shared();
        let mut a = Console::lines("a", &output);
        let mut b = Console::lines("b", &output);
        a.write_all(b"one ").unwrap();
        b.write_all(b"two\r\n").unwrap();
        a.write_all(b"three\nrest").unwrap();
        a.finish();
        b.finish();
        drop((a, b, output));
        while !drain.wait(Duration::from_millis(10)) {}
        assert_eq!(out.text(), "b| two\na| one three\na| rest\n");
    }

    #[test]
    fn lines_when_never_ended_are_cut() {
        let (out, output, drain) = shared();
        Console::lines("a", &output).write_all(&[b'x'; 2 * LINE_MAX]).unwrap();
        drop(output);
        while !drain.wait(Duration::from_millis(10)) {}
        assert_eq!(out.text().lines().count(), 2);
    }

    #[test]
    fn tail_when_much_was_written_keeps_the_last_part() {
        let (_, output, _) = shared();
        let mut console = Console::terminal(&output);
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
