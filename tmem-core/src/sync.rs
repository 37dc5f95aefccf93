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
mod spinning {
    use std::hint::spin_loop;

    pub(crate) use parking_lot::MutexGuard;

    /// Pauses before a thread sleeps: 4 us where a pause takes 10 ns, 18 us where it takes 140 cycles (Intel since Skylake).
    ///
    /// A lock is held for well under a microsecond, and to sleep and be woken takes 15 to 60 on a virtual machine. Waiting for
    /// about as long as that costs before sleeping is at most twice as dear as the best choice each time (Karlin et al.,
    /// "Empirical studies of competitive spinning for a shared-memory multiprocessor", 1991). 100 pauses are too few here,
    /// 150 to 800 do the same.
    const PAUSES: u32 = 400;

    /// parking_lot's mutex, whose own spinning ends after 14 pauses and some yields.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(parking_lot::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(parking_lot::Mutex::new(value))
        }

        #[inline]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.try_lock().unwrap_or_else(|| self.lock_slow())
        }

        #[inline]
        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock()
        }

        #[cold]
        fn lock_slow(&self) -> MutexGuard<'_, T> {
            for _ in 0..PAUSES {
                spin_loop();
                // Looked at before it is tried: a try takes the lock's cache line from who holds it.
                if !self.0.is_locked()
                    && let Some(guard) = self.0.try_lock()
                {
                    return guard;
                }
            }
            self.0.lock()
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn one_at_a_time_whether_a_waiter_spins_or_sleeps() {
            let mutex = Mutex::new((0, false));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for turn in 0..1000 {
                            let mut guard = mutex.lock();
                            assert!(!std::mem::replace(&mut guard.1, true), "two are inside");
                            if turn % 100 == 0 {
                                // Others are past their pauses by then.
                                std::thread::sleep(std::time::Duration::from_micros(200));
                            }
                            guard.0 += 1;
                            guard.1 = false;
                        }
                    });
                }
            });
            assert_eq!(mutex.lock().0, 4000);
            let held = mutex.lock();
            assert!(mutex.try_lock().is_none());
            drop(held);
            assert!(mutex.try_lock().is_some());
        }
    }
}

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
