//! Signals as events: the handlers only note which one came and wake a thread.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::signal::register_signal_handler;

use crate::devices::terminal;

/// What the user asked for by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGINT, SIGTERM, SIGHUP: stop all guests.
    Stop,
    /// SIGQUIT, SIGUSR1: say where every guest stands.
    Show,
}

const STOPS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
const SHOWS: [i32; 2] = [libc::SIGQUIT, libc::SIGUSR1];
/// The terminal is put back before a stop that can be noticed, and made raw again after every stop.
const JOBS: [i32; 2] = [libc::SIGTSTP, libc::SIGCONT];

static WAKE: OnceLock<EventFd> = OnceLock::new();
/// How often each came since it was looked at, by its number.
static CAME: [AtomicU32; 32] = [const { AtomicU32::new(0) }; 32];

/// Only what is safe in a signal handler: an atomic and a write to a descriptor.
extern "C" fn on_signal(number: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if let Some(count) = usize::try_from(number).ok().and_then(|number| CAME.get(number)) {
        count.fetch_add(1, Ordering::SeqCst);
    }
    if let Some(wake) = WAKE.get() {
        let _ = wake.write(1);
    }
}

fn came(number: i32) -> u32 {
    let count = usize::try_from(number).ok().and_then(|number| CAME.get(number));
    count.map_or(0, |count| count.swap(0, Ordering::SeqCst))
}

/// Signals are listened to. Once it is dropped, those that ask for an end end the process.
#[must_use]
pub(crate) struct Listening(());

impl Drop for Listening {
    fn drop(&mut self) {
        for number in STOPS {
            // SAFETY: the default action runs no code of ours.
            unsafe { libc::signal(number, libc::SIG_DFL) };
        }
    }
}

/// From now on, signals are handed to `on` by a thread of their own.
pub(crate) fn listen(on: impl Fn(Signal) + Send + 'static) -> io::Result<Listening> {
    let wake = EventFd::new(libc::EFD_CLOEXEC)?;
    let mine = wake.try_clone()?;
    // A second session in one process keeps the first descriptor, whose thread is still there.
    let _ = WAKE.set(wake);
    terminal::ignore_job_control()?;
    // A file that may not grow any more is an error of whoever writes to it, as a full disk is.
    // SAFETY: to ignore a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    for number in STOPS.into_iter().chain(SHOWS).chain(JOBS) {
        register_signal_handler(number, on_signal).map_err(io::Error::from)?;
    }
    let listening = Listening(());
    let forward = move || {
        loop {
            // An interrupted wait only looks once more.
            let _ = mine.read();
            for number in SHOWS {
                (0..came(number)).for_each(|_| on(Signal::Show));
            }
            for number in STOPS {
                (0..came(number)).for_each(|_| on(Signal::Stop));
            }
            if came(libc::SIGTSTP) > 0 {
                stop_as_a_job();
            }
            if came(libc::SIGCONT) > 0 {
                terminal::resume();
            }
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(forward)?;
    Ok(listening)
}

/// Does what SIGTSTP does by default, with the terminal as it was.
fn stop_as_a_job() {
    terminal::suspend();
    // SAFETY: the default action runs no code of ours. It stops all threads before this one goes on; where there is no shell that could
    // let them go on, the kernel does not stop them.
    unsafe {
        libc::signal(libc::SIGTSTP, libc::SIG_DFL);
        libc::raise(libc::SIGTSTP);
    }
    // It was registered before.
    let _ = register_signal_handler(libc::SIGTSTP, on_signal);
    terminal::resume();
}
