//! One thread that writes what many hand it. Whoever hands it something never waits: what a slow reader leaves no room for is left out,
//! with a mark in its place. The turns go round, so that a flood of one takes nothing from another.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{Builder, Thread, park};
use std::time::Duration;

use parking_lot::Mutex;

use super::backlog::{Backlog, Next};

/// Bytes that may wait for each source: 512 KiB of the beginning of what is not read, and 512 KiB of its end.
const WAITING_MAX: usize = 1 << 20;
/// Bytes of one turn; no line of one source is longer, so that lines of several sources stay whole.
const TURN: usize = 8192;

/// Where somebody's bytes wait for their turn.
struct Source {
    backlog: Mutex<Backlog>,
    /// Before and after the mark of what was left out.
    mark: (String, &'static str),
    /// Nothing more will come.
    closed: AtomicBool,
}

#[derive(Default)]
struct Shared {
    sources: Mutex<Vec<Arc<Source>>>,
    /// The thread has found nothing, or is about to; who clears it wakes the thread.
    idle: AtomicBool,
    /// No more sources will come.
    over: AtomicBool,
}

/// The thread, as those see it who add sources. When it is dropped, the thread ends as soon as all sources are closed and written.
pub struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
}

/// Tells when everything is written.
#[derive(Debug)]
pub struct Left(Receiver<()>);

/// One source's way in. Dropping it closes the source.
pub struct Feed {
    source: Arc<Source>,
    shared: Arc<Shared>,
    thread: Thread,
}

impl Writer {
    /// Starts a thread that writes to `out`, which may block.
    ///
    /// # Errors
    /// When the host has no thread left.
    pub fn start(name: &str, out: impl Write + Send + 'static) -> io::Result<(Self, Left)> {
        let shared = Arc::new(Shared::default());
        let (alive, done) = channel();
        let worker = shared.clone();
        let thread = Builder::new().name(name.into()).spawn(move || {
            work(&worker, out);
            drop(alive);
        })?;
        Ok((Self { shared, thread: thread.thread().clone() }, Left(done)))
    }

    /// Adds a source. Where bytes of it had to be left out, a line says how many, behind `prefix` and ended by `line_end`.
    pub fn feed(&self, prefix: &str, line_end: &'static str) -> Feed {
        let source = Arc::new(Source {
            backlog: Mutex::new(Backlog::new(WAITING_MAX)),
            mark: (prefix.into(), line_end),
            closed: AtomicBool::new(false),
        });
        self.shared.sources.lock().push(source.clone());
        Feed { source, shared: self.shared.clone(), thread: self.thread.clone() }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.shared.wake(&self.thread);
    }
}

impl Left {
    /// Waits until everything is written, at most for `time`; tells whether it is.
    pub fn wait(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }
}

impl Feed {
    /// Hands over bytes. Never waits for the reader.
    pub fn push(&self, bytes: &[u8]) {
        self.source.backlog.lock().push(bytes);
        self.shared.wake(&self.thread);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.source.closed.store(true, Ordering::Release);
        self.shared.wake(&self.thread);
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("mark", &self.source.mark).finish_non_exhaustive()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("thread", &self.thread.name()).finish_non_exhaustive()
    }
}

impl Shared {
    /// What the thread is to find must have been stored before.
    fn wake(&self, thread: &Thread) {
        if self.idle.swap(false, Ordering::SeqCst) {
            thread.unpark();
        }
    }
}

fn work(shared: &Shared, mut out: impl Write) {
    let mut sources = Vec::new();
    let mut chunk = Vec::new();
    loop {
        // Before looking: what comes after a look wakes the thread.
        shared.idle.store(true, Ordering::SeqCst);
        let over = shared.over.load(Ordering::Acquire);
        sources.clone_from(&shared.sources.lock());
        let mut found = false;
        for source in &sources {
            found |= turn(source, &mut chunk, &mut out);
        }
        if found {
            continue;
        }
        let mut left = shared.sources.lock();
        // Whose mark alone is left could not have it written.
        left.retain(|source| !source.closed.load(Ordering::Acquire) || source.backlog.lock().has_bytes());
        if over && left.is_empty() {
            return;
        }
        drop(left);
        park();
    }
}

/// Writes some of what waits at `source`; whether there was something.
fn turn(source: &Source, chunk: &mut Vec<u8>, out: &mut impl Write) -> bool {
    chunk.clear();
    // A statement of its own, so that the lock is free while the reader is waited for.
    let next = source.backlog.lock().take(TURN, chunk);
    let lost = match next {
        None => return false,
        Some(Next::Bytes) => 0,
        Some(Next::Lost(bytes)) => {
            let (prefix, line_end) = &source.mark;
            let mark = format!("{prefix}[tmem: {bytes} bytes of output are left out here]{line_end}");
            chunk.extend_from_slice(mark.as_bytes());
            bytes
        }
    };
    let unwritten = write(chunk, out);
    if unwritten > 0 {
        // A mark that was not written is nothing that the guest said, but what it stands for is.
        let bytes = if lost > 0 { lost } else { unwritten as u64 };
        source.backlog.lock().lose(bytes);
    }
    // The mark is tried again when there is something to follow it, and not without a pause.
    unwritten == 0
}

/// Writes `bytes`; how many could not be.
fn write(mut bytes: &[u8], out: &mut impl Write) -> usize {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => break,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // What a buffer holds is on its way; an error of it comes up at the next write.
    let _ = out.flush();
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Sender;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Tells of every write and takes it when it is told to, or when nobody tells any more.
    struct Stalled(Sender<()>, Receiver<()>, Kept);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(());
            let _ = self.1.recv();
            self.2.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled() -> (Writer, Left, Kept, Receiver<()>, Sender<()>) {
        let kept = Kept::default();
        let ((to_us, writing), (go, wait)) = (channel(), channel());
        let (writer, left) = Writer::start("test", Stalled(to_us, wait, kept.clone())).unwrap();
        (writer, left, kept, writing, go)
    }

    fn done(left: &Left) {
        while !left.wait(Duration::from_secs(1)) {}
    }

    #[test]
    fn sources_when_nobody_reads_never_wait_and_keep_beginning_and_end() {
        let (writer, left, kept, writing, go) = stalled();
        let feed = writer.feed("a| ", "\n");
        feed.push(b"first\n");
        // From here on the thread waits for its reader, and all else is pushed beside it.
        writing.recv().unwrap();
        for number in 0..1_000_000 {
            feed.push(format!("{number}\n").as_bytes());
        }
        feed.push(b"last\n");
        drop((feed, writer));
        assert!(!left.wait(Duration::ZERO));
        drop(go);
        done(&left);
        let text = kept.text();
        assert!(text.starts_with("first\n0\n1\n") && text.ends_with("999999\nlast\n"));
        let (mark, rest) = text.split_once("a| [tmem: ").unwrap().1.split_once(' ').unwrap();
        let (lost, marks) = (mark.parse::<usize>().unwrap(), text.matches("[tmem: ").count());
        let sent = 11 + (0..1_000_000).map(|number: u32| number.to_string().len() + 1).sum::<usize>();
        let mark = "a| [tmem:  bytes of output are left out here]\n".len() + mark.len();
        assert_eq!((marks, text.len() - mark + lost), (1, sent));
        assert!(rest.starts_with("bytes of output are left out here]\n"));
        assert!(text.len() <= WAITING_MAX + 100);
    }

    #[test]
    fn turns_when_one_source_floods_go_round() {
        let (writer, left, kept, writing, go) = stalled();
        let (flood, quiet) = (writer.feed("", "\n"), writer.feed("", "\n"));
        flood.push(b"begun\n");
        writing.recv().unwrap();
        for _ in 0..100_000 {
            flood.push(b"flood\n");
        }
        quiet.push(b"quiet\n");
        drop((flood, quiet, writer, go));
        done(&left);
        let text = kept.text();
        let before = text.split_once("quiet\n").unwrap().0.len();
        assert!(before <= "begun\n".len() + TURN, "{before} bytes of the flood before the other's line");
    }

    /// Fails until it is told that there is room.
    struct Full(Arc<AtomicBool>, Kept);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.load(Ordering::SeqCst) {
                self.1.write(bytes)
            } else {
                Err(ErrorKind::StorageFull.into())
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn bytes_when_they_cannot_be_written_are_told_once_there_is_room() {
        let (room, kept) = (Arc::new(AtomicBool::new(false)), Kept::default());
        let (writer, left) = Writer::start("test", Full(room.clone(), kept.clone())).unwrap();
        let feed = writer.feed("", "\n");
        feed.push(b"lost\n");
        while feed.source.backlog.lock().lost() != 5 {
            std::thread::yield_now();
        }
        room.store(true, Ordering::SeqCst);
        feed.push(b"kept\n");
        drop((feed, writer));
        done(&left);
        assert_eq!(kept.text(), "[tmem: 5 bytes of output are left out here]\nkept\n");
    }

    #[test]
    fn thread_when_nothing_can_be_written_ever_ends_all_the_same() {
        let (writer, left) = Writer::start("test", Full(Arc::default(), Kept::default())).unwrap();
        let feed = writer.feed("", "\n");
        (0..1_000).for_each(|_| feed.push(b"lost\n"));
        drop((feed, writer));
        done(&left);
    }
}
