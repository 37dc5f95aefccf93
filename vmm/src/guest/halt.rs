//! Noticing that a guest has halted.
//!
//! A vCPU that executes HLT sleeps in the kernel, which tells nobody when nothing can wake it any more. So all are called now and
//! then, and each says whether it is asleep for good. A guest has halted when all were in two calls, one after the other: between
//! the answers to one call a vCPU could still have woken another by an interrupt that cannot be switched off.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often the vCPUs are called: seldom enough to cost nothing, often enough not to be waited for.
const EVERY: Duration = Duration::from_secs(2);

/// A call of all vCPUs, as their threads see it.
pub(super) struct Calls {
    vcpus: u32,
    newest: AtomicU32,
    halted: Mutex<Halted>,
}

/// Answers to one call.
struct Halted {
    call: u32,
    vcpus: u32,
}

impl Calls {
    pub(super) fn new(vcpus: u32) -> Self {
        Self { vcpus, newest: AtomicU32::new(0), halted: Mutex::new(Halted { call: 0, vcpus: 0 }) }
    }

    /// The newest call; 0 before the first.
    pub(super) fn newest(&self) -> u32 {
        self.newest.load(Ordering::Acquire)
    }

    /// A vCPU is asleep for good, which it says once in a call; whether all of them are.
    pub(super) fn is_halted(&self, call: u32) -> bool {
        let mut halted = self.halted.lock();
        if halted.call != call {
            *halted = Halted { call, vcpus: 0 };
        }
        halted.vcpus += 1;
        halted.vcpus == self.vcpus
    }
}

/// The supervisor's side.
pub(super) struct Watch {
    next: Instant,
    /// The last call in which all were asleep.
    asleep: Option<u32>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + EVERY, asleep: None }
    }

    /// When the vCPUs are to be called again.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Calls them. They have to be kicked afterwards.
    pub(super) fn call(&mut self, calls: &Calls) {
        calls.newest.fetch_add(1, Ordering::Release);
        self.next = Instant::now() + EVERY;
    }

    /// All were asleep in this call; whether the guest has halted.
    pub(super) fn all_asleep(&mut self, call: u32) -> bool {
        self.asleep.replace(call).is_some_and(|last| last.wrapping_add(1) == call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_when_all_are_asleep_in_two_calls_has_halted() {
        let (calls, mut watch) = (Calls::new(2), Watch::new());
        watch.call(&calls);
        assert_eq!((calls.is_halted(1), calls.is_halted(1)), (false, true));
        assert!(!watch.all_asleep(1));
        watch.call(&calls);
        assert_eq!((calls.newest(), calls.is_halted(2), calls.is_halted(2)), (2, false, true));
        assert!(watch.all_asleep(2));
    }

    #[test]
    fn guest_when_one_was_awake_in_between_has_not_halted() {
        let (calls, mut watch) = (Calls::new(2), Watch::new());
        calls.is_halted(1);
        assert!(calls.is_halted(1) && !watch.all_asleep(1));
        assert!(!calls.is_halted(2), "the other one did not say so");
        calls.is_halted(3);
        assert!(calls.is_halted(3) && !watch.all_asleep(3));
    }
}
