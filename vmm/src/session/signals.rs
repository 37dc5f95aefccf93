//! Signals as events: the handlers only note which one came and wake a thread.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::register_signal_handler;

/// What the user asked for by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, SIGTERM, SIGHUP: stop all guests.
    Stop,
    /// SIGQUIT, SIGUSR1: say where every guest stands.
    Show,
}

static WAKE: OnceLock<EventFd> = OnceLock::new();
static STOPS: AtomicU32 = AtomicU32::new(0);
static SHOWS: AtomicU32 = AtomicU32::new(0);

/// Only what is safe in a signal handler: an atomic and a write to a descriptor.
extern "C" fn on_signal(number: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let counter = if matches!(number, libc::SIGQUIT | libc::SIGUSR1) { &SHOWS } else { &STOPS };
    counter.fetch_add(1, Ordering::SeqCst);
    if let Some(wake) = WAKE.get() {
        let _ = wake.write(1);
    }
}

/// From now on, signals are handed to `on` by a thread of their own.
pub(crate) fn listen(on: impl Fn(Signal) + Send + 'static) -> io::Result<()> {
    let wake = EventFd::new(libc::EFD_CLOEXEC)?;
    let mine = wake.try_clone()?;
    // A second session in one process keeps the first descriptor, whose thread is still there.
    let _ = WAKE.set(wake);
    for number in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1] {
        register_signal_handler(number, on_signal).map_err(io::Error::from)?;
    }
    let forward = move || {
        loop {
            // An interrupted wait only looks once more.
            let _ = mine.read();
            (0..SHOWS.swap(0, Ordering::SeqCst)).for_each(|_| on(Signal::Show));
            (0..STOPS.swap(0, Ordering::SeqCst)).for_each(|_| on(Signal::Stop));
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(forward).map(|_| ())
}
