//! Standard output for all consoles: a queue, and the thread that empties it.
//!
//! Nothing is lost: a guest whose output finds the queue full waits. But it waits where it can be stopped, which it could
//! not be inside write(2) on a pipe that nobody reads.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

/// Pieces of output that may wait; a piece is a line of at most about 1 KiB, or what a lone guest writes at once.
const QUEUE: usize = 256;
/// How often a guest that waits looks for room.
const LOOK: Duration = Duration::from_millis(5);

/// The queue. Clones share it.
#[derive(Clone, Debug)]
pub struct Output(SyncSender<Vec<u8>>);

/// The thread's end of it.
#[derive(Debug)]
pub struct Drain(Receiver<()>);

impl Output {
    /// Starts the thread that writes to `out`. It ends when every clone and every [`GuestOutput`] is gone.
    ///
    /// # Errors
    /// When the host has no thread left.
    pub fn start(mut out: impl Write + Send + 'static) -> io::Result<(Self, Drain)> {
        let (sender, pieces) = sync_channel::<Vec<u8>>(QUEUE);
        let (alive, done) = channel();
        std::thread::Builder::new().name("output".into()).spawn(move || {
            for piece in pieces {
                // Nothing can be done when the reader is gone.
                let _ = out.write_all(&piece).and_then(|()| out.flush());
            }
            drop(alive);
        })?;
        Ok((Self(sender), Drain(done)))
    }

    /// One guest's way in; what it writes after `abandoned` is set and finds no room is dropped.
    pub fn guest(&self, abandoned: Arc<AtomicBool>) -> GuestOutput {
        GuestOutput { queue: self.0.clone(), abandoned }
    }
}

impl Drain {
    /// Waits until everything is written, at most for `time`; tells whether it is.
    pub fn wait(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }
}

/// One guest's way into the queue.
#[derive(Debug)]
pub struct GuestOutput {
    queue: SyncSender<Vec<u8>>,
    abandoned: Arc<AtomicBool>,
}

impl Write for GuestOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut piece = bytes.to_vec();
        loop {
            piece = match self.queue.try_send(piece) {
                Ok(()) => return Ok(bytes.len()),
                Err(TrySendError::Full(piece)) if !self.abandoned.load(Ordering::Acquire) => piece,
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            };
            std::thread::sleep(LOOK);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing until it is told to.
    struct Stuck(Receiver<()>, Arc<parking_lot::Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn guest_when_nobody_reads_waits_until_it_is_abandoned_and_what_it_sent_arrives() {
        let (go, wait) = channel();
        let written = Arc::default();
        let (output, drain) = Output::start(Stuck(wait, Arc::clone(&written))).unwrap();
        let abandoned = Arc::new(AtomicBool::new(false));
        let mut guest = output.guest(abandoned.clone());
        let sent = std::thread::spawn(move || (0..).take_while(|_| guest.write_all(b"x").is_ok()).count());
        while !sent.is_finished() {
            abandoned.store(true, Ordering::Release);
            std::thread::yield_now();
        }
        let sent = sent.join().unwrap();
        assert!(sent <= QUEUE + 1, "{sent}");
        drop(output);
        assert!(!drain.wait(Duration::ZERO));
        drop(go);
        while !drain.wait(Duration::from_millis(10)) {}
        assert_eq!(written.lock().len(), sent);
    }
}
