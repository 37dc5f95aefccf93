//! Counts the work that is done under locks, for tests that bound it. In a build without tests it is nothing.

/// Chunks, names of pages or clients were touched.
#[inline(always)]
pub(crate) fn touch(count: u32) {
    #[cfg(test)]
    counted::touch(count);
    #[cfg(not(test))]
    let _ = count;
}

/// A lock was taken.
#[inline(always)]
pub(crate) fn locked() {
    #[cfg(test)]
    counted::locked();
}

#[cfg(test)]
pub(crate) use counted::{Steps, count};

#[cfg(test)]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static STEPS: Cell<Steps> = const { Cell::new(Steps { all: 0, lock: 0, most: 0, locks: 0 }) };
    }

    /// What one thread touched.
    #[derive(Clone, Copy, Debug, Default)]
    pub(crate) struct Steps {
        /// In all.
        pub(crate) all: u64,
        /// Since a lock was last taken.
        lock: u64,
        /// Between taking one lock and taking the next, at most.
        pub(crate) most: u64,
        /// Locks taken.
        pub(crate) locks: u64,
    }

    /// What `work` touches, on this thread.
    pub(crate) fn count<T>(work: impl FnOnce() -> T) -> (T, Steps) {
        STEPS.set(Steps::default());
        let done = work();
        (done, STEPS.get())
    }

    pub(super) fn touch(count: u32) {
        let mut steps = STEPS.get();
        steps.all += u64::from(count);
        steps.lock += u64::from(count);
        steps.most = steps.most.max(steps.lock);
        STEPS.set(steps);
    }

    pub(super) fn locked() {
        let mut steps = STEPS.get();
        steps.lock = 0;
        steps.locks += 1;
        STEPS.set(steps);
    }
}
