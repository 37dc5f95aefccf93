//! The terminal on standard input: raw while one guest has it, and as it was before at every end.
//!
//! A process that is not in the terminal's foreground leaves it alone. The state to go back to is that of the first entry; what a shell
//! sets while this process is stopped is undone when it goes on.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr};

/// Signals of a process that cannot go on, and what they did before.
const FATAL: [i32; 6] =
    [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGSYS];
static BEFORE: OnceLock<[libc::sigaction; FATAL.len()]> = OnceLock::new();

/// The state to go back to.
static EARLIER: OnceLock<Termios> = OnceLock::new();
/// The terminal is raw.
static RAW: AtomicBool = AtomicBool::new(false);
/// A session wants it raw. Also keeps changes apart.
static WANTED: Mutex<bool> = Mutex::new(false);

/// The wish for a raw terminal. Dropping it puts the terminal back.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes the terminal on standard input raw as soon as this process is in its foreground; nothing if there is no terminal.
    pub fn enter() -> Option<Self> {
        if !isatty(stdin()) {
            return None;
        }
        put_back_before_the_end();
        *WANTED.lock() = true;
        resume();
        Some(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        suspend();
        *WANTED.lock() = false;
    }
}

/// Whether the terminal is this process's to use. One that does not control it knows no foreground.
pub fn is_foreground() -> bool {
    !tcgetpgrp(stdin()).is_ok_and(|group| group != rustix::process::getpgrp())
}

/// Makes the terminal raw again, if that is wanted and the process is in its foreground: it was stopped, or in the background.
pub fn resume() {
    let wanted = WANTED.lock();
    if !*wanted || !is_foreground() {
        return;
    }
    // There is nobody left to tell if the terminal is gone.
    let Ok(now) = tcgetattr(stdin()) else { return };
    let earlier = EARLIER.get_or_init(|| now);
    if tcsetattr(stdin(), OptionalActions::Now, &raw(earlier)).is_ok() {
        RAW.store(true, Ordering::SeqCst);
    }
}

/// Puts the terminal back until [`resume`].
pub fn suspend() {
    let _wanted = WANTED.lock();
    put_back();
}

/// Everything typed is the guest's, byte for byte. What is shown is left as it is: others write lines there, too.
fn raw(earlier: &Termios) -> Termios {
    let mut raw = earlier.clone();
    raw.make_raw();
    raw.output_modes = earlier.output_modes;
    raw
}

/// Only what is safe in a signal handler: atomics and system calls.
fn put_back() {
    if let Some(earlier) = EARLIER.get()
        && is_foreground()
        && RAW.swap(false, Ordering::SeqCst)
    {
        // At once: what was written may wait for ever for a reader.
        let _ = tcsetattr(stdin(), OptionalActions::Now, earlier);
    }
}

extern "C" fn on_fatal(number: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    put_back();
    // SAFETY: the kernel gives a handler with SA_SIGINFO what it knows of the signal.
    let is_fault = unsafe { (*info).si_code } > 0;
    let place = FATAL.iter().position(|fatal| *fatal == number);
    match BEFORE.get().zip(place).and_then(|(all, place)| all.get(place)).filter(|_| is_fault) {
        // The instruction at fault is tried again, and whoever had the signal before says what there is to say.
        // SAFETY: `before` is what the kernel gave for this signal; the call is safe in a signal handler.
        Some(before) => drop(unsafe { libc::sigaction(number, before, std::ptr::null_mut()) }),
        // Sent by this process, which aborts, or by another one: taken when this handler returns.
        // SAFETY: the default action runs no code of ours; both calls are safe in a signal handler.
        None => unsafe {
            libc::signal(number, libc::SIG_DFL);
            libc::raise(number);
        },
    }
}

/// Puts the terminal back also where no destructor runs: a panic aborts the process.
fn put_back_before_the_end() {
    BEFORE.get_or_init(|| {
        FATAL.map(|number| {
            let mut before = MaybeUninit::zeroed();
            // SAFETY: a zeroed action is a valid one (no flags, an empty mask), and gets a handler of the type that SA_SIGINFO wants,
            // which does only what is safe in one. `before` is valid for writes; zeroed, it is the default action if the kernel
            // refuses, which it does for no signal of this list.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction =
                    on_fatal as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(number, &action, before.as_mut_ptr());
                before.assume_init()
            }
        })
    });
}

/// Job control stops nobody: a job in the background that touches the terminal gets an error instead, and does not touch it.
///
/// # Errors
/// When the host refuses.
pub fn ignore_job_control() -> io::Result<()> {
    for number in [libc::SIGTTOU, libc::SIGTTIN] {
        // SAFETY: to ignore a signal runs no code of ours.
        if unsafe { libc::signal(number, libc::SIG_IGN) } == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
