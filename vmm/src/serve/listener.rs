//! A disk's socket: one front end at a time, and the next when it has gone.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use vhost::vhost_user::{Error as ProtocolError, Listener};
use vhost_user_backend::{Error as ServeError, VhostUserDaemon};
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use super::backend::Backend;
use super::ring::gather;
use super::swap::SwapDisk;
use crate::control::Socket;
use crate::devices::virtio::block::Block;

/// How long to wait after a failure before trying again.
const AGAIN: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// How long a front end that goes may take to be gone.
const GOING: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A disk that is served at a socket. Dropping it ends that.
pub(super) struct Served {
    path: PathBuf,
    disk: Arc<Block<SwapDisk>>,
    over: Arc<AtomicBool>,
    wake: Wake,
    socket: Option<Socket>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Starts serving `disk` at `socket`.
    ///
    /// # Errors
    /// When the host has no thread or descriptor for it.
    pub(super) fn start(name: &str, disk: Arc<Block<SwapDisk>>, socket: Socket) -> io::Result<Self> {
        let listener = socket.listener()?;
        let over = Arc::new(AtomicBool::new(false));
        let wake = Wake::new()?;
        let accept = Acceptor {
            name: name.into(),
            disk: disk.clone(),
            listener,
            over: over.clone(),
            wake: wake.try_clone()?,
        };
        let thread = Builder::new().name(format!("serve {name}")).spawn(move || accept.run())?;
        Ok(Self { path: socket.path().into(), disk, over, wake, socket: Some(socket), thread: Some(thread) })
    }

    /// Where it is served.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn disk(&self) -> &Block<SwapDisk> {
        &self.disk
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        self.wake.wake();
        // Wakes who waits for a front end.
        self.socket.take();
        if let Some(thread) = self.thread.take() {
            // It can only have ended well: a panic ends the process.
            let _ = thread.join();
        }
    }
}

struct Acceptor {
    name: String,
    disk: Arc<Block<SwapDisk>>,
    listener: UnixListener,
    over: Arc<AtomicBool>,
    /// Written when there is something to look at beside the socket.
    wake: Wake,
}

impl Acceptor {
    fn run(&self) {
        while !self.over.load(Ordering::Acquire) {
            match self.one() {
                Ok(()) => tracing::info!(disk = self.name, "the front end has gone; its pages with it"),
                Err(_) if self.over.load(Ordering::Acquire) => {}
                Err(why) => {
                    tracing::warn!(disk = self.name, "{why}");
                    // Whatever is short now, such as descriptors, may not be in a moment.
                    self.wake.wait(&[], Some(&AGAIN));
                }
            }
        }
    }

    /// Serves one front end from its coming to its going.
    fn one(&self) -> Result<(), String> {
        let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
        let backend = Arc::new(Backend::new(self.disk.clone(), memory.clone()));
        let cannot = |error: ServeError| format!("cannot serve a front end: {error}");
        let (daemon, rings) = gather(|| VhostUserDaemon::new(self.name.clone(), backend.clone(), memory));
        backend.set_rings(rings);
        let mut daemon = daemon.map_err(cannot)?;
        let listener = self.listener.try_clone().map_err(|error| format!("cannot listen: {error}"))?;
        daemon.start(&mut Listener::from(listener)).map_err(cannot)?;
        tracing::info!(disk = self.name, "a front end has come");
        let handle = daemon.shutdown_handle();
        let gone = AtomicBool::new(false);
        let end = std::thread::scope(|scope| {
            let wait = scope.spawn(|| {
                let end = daemon.wait();
                gone.store(true, Ordering::Release);
                self.wake.wake();
                end
            });
            while !gone.load(Ordering::Acquire) {
                self.refuse_others(&gone);
                if self.over.load(Ordering::Acquire) {
                    backend.stop();
                    if let Some(handle) = &handle {
                        handle.shutdown();
                    }
                    break;
                }
            }
            wait.join().unwrap_or(Ok(()))
        });
        // Its threads have ended when it is dropped: nobody uses the disk afterwards.
        backend.stop();
        drop(daemon);
        self.disk.medium().end();
        match end {
            Ok(())
            | Err(ServeError::HandleRequest(ProtocolError::Disconnected | ProtocolError::PartialMessage)) => {
                Ok(())
            }
            Err(error) if backend.has_memory() => Err(format!("the front end was sent away: {error}")),
            Err(error) => Err(format!(
                "the front end was sent away, which has shown no memory of its guest: {error}; with QEMU, give the guest shared memory: \
                 -object memory-backend-memfd,id=mem,size=SIZE,share=on -machine memory-backend=mem"
            )),
        }
    }

    /// Waits until the front end has gone or all is over; closes what connects meanwhile. Who connects may be the next, whose turn comes
    /// as soon as it was seen that the one before has gone.
    fn refuse_others(&self, gone: &AtomicBool) {
        if !self.wake.wait(&[&self.listener], None) {
            return;
        }
        self.wake.wait(&[], Some(&GOING));
        if !gone.load(Ordering::Acquire) && self.listener.accept().is_ok() {
            tracing::warn!(disk = self.name, "a second front end was sent away: a disk has one guest");
        }
    }
}

/// What a waiting thread is woken with, once or often.
#[derive(Debug)]
struct Wake(OwnedFd);

impl Wake {
    fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    fn wake(&self) {
        // A full counter wakes as well.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Waits until it is woken, or somebody connects to `listener`: true for that alone.
    fn wait(&self, listener: &[&UnixListener], limit: Option<&Timespec>) -> bool {
        let mut fds: Vec<_> = listener.iter().map(|listener| PollFd::new(*listener, PollFlags::IN)).collect();
        fds.push(PollFd::new(&self.0, PollFlags::IN));
        if poll(&mut fds, limit).is_err() {
            return false;
        }
        let woken = fds.pop().is_some_and(|fd| fd.revents().contains(PollFlags::IN));
        if woken {
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
        !woken && fds.iter().any(|fd| !fd.revents().is_empty())
    }
}
