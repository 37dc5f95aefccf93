//! Threads beside the main loop, for what may take long.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread::Builder;
use std::time::Duration;

/// A thread that can be poked, is told to end when this is dropped, and is not waited for longer than one wants to.
pub(super) struct Side {
    poke: SyncSender<()>,
    done: Receiver<()>,
}

impl Side {
    /// Starts a thread that does `work`, which is to return once what it is given is disconnected.
    ///
    /// # Errors
    /// When the host has no thread left.
    pub(super) fn start(name: &str, work: impl FnOnce(&Receiver<()>) + Send + 'static) -> io::Result<Self> {
        // One poke may wait while an earlier one is being followed; more would say nothing else.
        let (poke, poked) = sync_channel(1);
        let (alive, done) = channel();
        Builder::new().name(name.into()).spawn(move || {
            work(&poked);
            drop(alive);
        })?;
        Ok(Self { poke, done })
    }

    /// Has the thread do what it does when it is poked.
    pub(super) fn poke(&self) {
        let _ = self.poke.try_send(());
    }

    /// Tells it to end, and waits for that, at most for `time`.
    pub(super) fn finish(self, time: Duration) {
        let Self { poke, done } = self;
        drop(poke);
        let _ = done.recv_timeout(time);
    }
}

/// Waits for a poke, at most for `time` if there is one; false once the thread is to end.
pub(super) fn wait(poked: &Receiver<()>, time: Option<Duration>) -> bool {
    match time {
        None => poked.recv().is_ok(),
        Some(time) => poked.recv_timeout(time) != Err(RecvTimeoutError::Disconnected),
    }
}
