//! SIGINT and SIGTERM end the work in good order.

use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicI32, Ordering};

use vmm_sys_util::signal::register_signal_handler;

/// The last that came; 0: none.
static CAME: AtomicI32 = AtomicI32::new(0);

/// Only what is safe in a signal handler: an atomic.
extern "C" fn on_signal(number: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    CAME.store(number, Ordering::SeqCst);
}

/// From now on they are only noted.
pub(super) fn note() -> io::Result<()> {
    [libc::SIGINT, libc::SIGTERM]
        .into_iter()
        .try_for_each(|number| register_signal_handler(number, on_signal).map_err(io::Error::from))
}

/// The signal that came, if one did.
pub(super) fn came() -> Option<i32> {
    Some(CAME.load(Ordering::SeqCst)).filter(|number| *number != 0)
}

/// Sends one to a child that nobody has waited for yet.
pub(super) fn send(child: &Child, number: i32) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // SAFETY: no memory is involved, and nobody else gets this id before the child has been waited for.
        unsafe { libc::kill(pid, number) };
    }
}
