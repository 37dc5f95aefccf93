//! The one place that names locks and atomics, so that a model checker can take their place.
//!
//! With the feature `shuttle` every lock and atomic below is shuttle's, and a test explores schedules of the same code.

#[cfg(not(feature = "shuttle"))]
pub(crate) use parking_lot::MutexGuard;
#[cfg(not(feature = "shuttle"))]
pub(crate) use spinning::Mutex;
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::atomic;

#[cfg(feature = "shuttle")]
pub(crate) use checked::{Mutex, MutexGuard};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::atomic;

#[cfg(not(feature = "shuttle"))]
mod spinning;

#[cfg(feature = "shuttle")]
mod checked {
    pub(crate) use shuttle::sync::MutexGuard;

    /// Shuttle's mutex with the interface of parking_lot's.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a panic ends the test before the lock is taken again")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

/// Set once, by whoever comes first. Nothing in this crate waits or takes a lock while it is being set, so a model checker
/// need not know of it.
pub(crate) use std::sync::OnceLock;

/// Time since the process first asked.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn uptime() -> std::time::Duration {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// Under the model checker time stands still, so that a schedule repeats itself.
#[cfg(feature = "shuttle")]
pub(crate) fn uptime() -> std::time::Duration {
    std::time::Duration::ZERO
}

/// A small number that differs between most threads, to spread them over magazines and counters.
#[cfg(not(feature = "shuttle"))]
pub(crate) fn thread_hint() -> usize {
    use std::cell::Cell;
    static NEXT: atomic::AtomicUsize = atomic::AtomicUsize::new(0);
    thread_local! {
        static HINT: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    HINT.with(|hint| {
        if hint.get() == usize::MAX {
            hint.set(NEXT.fetch_add(1, atomic::Ordering::Relaxed));
        }
        hint.get()
    })
}

/// Under the model checker a hint must not depend on what ran before.
#[cfg(feature = "shuttle")]
pub(crate) fn thread_hint() -> usize {
    0
}
