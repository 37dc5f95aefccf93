//! The watch for lack of progress: a small state machine over time, told about every byte and asked what to do next.
//!
//! An emulated host that hangs does not fail, it waits. So silence is limited: after `silence` without a byte on any
//! channel the host is asked for every vCPU's registers and every console's tail, and after `dump` more it is killed and
//! the run fails by the name of the limit that it broke.

use std::time::{Duration, Instant};

/// How long a run may take and be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Longest time without a byte on any channel.
    pub(crate) silence: Duration,
    /// Longest time from power-on to power-off.
    pub(crate) total: Duration,
    /// Time that the host gets to print its registers and consoles before it is killed.
    pub(crate) dump: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(90),
            total: Duration::from_secs(900),
            dump: Duration::from_secs(20),
        }
    }
}

/// The limit that a run broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// No byte for [`Limits::silence`].
    Silence,
    /// Not finished after [`Limits::total`].
    Total,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing before this much time has passed, unless a byte arrives.
    Wait(Duration),
    /// Ask the host for registers and consoles (once a run).
    Dump(Broken),
    /// Kill the emulator.
    Kill(Broken),
}

/// The state of the watch over one run.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Limits,
    started: Instant,
    last_progress: Instant,
    dumping: Option<(Broken, Instant)>,
    dumped: bool,
}

impl Watch {
    /// Starts the watch at power-on.
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, started: now, last_progress: now, dumping: None, dumped: false }
    }

    /// A byte arrived on some channel. Once a dump was asked for, bytes are the dump's and save nobody.
    pub(crate) fn progress(&mut self, now: Instant) {
        self.last_progress = now;
    }

    /// The host says that its dump is complete.
    pub(crate) fn dumped(&mut self) {
        self.dumped = true;
    }

    /// The limit that was broken, if one was.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.dumping.map(|(broken, _)| broken)
    }

    /// How long the run has been silent.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_progress)
    }

    /// How long the run has taken.
    pub(crate) fn running_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// What to do at `now`.
    pub(crate) fn check(&mut self, now: Instant) -> Action {
        if let Some((broken, since)) = self.dumping {
            let left = self.limits.dump.saturating_sub(now.saturating_duration_since(since));
            return if self.dumped || left.is_zero() { Action::Kill(broken) } else { Action::Wait(left) };
        }
        let silence_left = self.limits.silence.saturating_sub(self.silent_for(now));
        let total_left = self.limits.total.saturating_sub(self.running_for(now));
        let broken = match (silence_left.is_zero(), total_left.is_zero()) {
            (true, _) => Broken::Silence,
            (false, true) => Broken::Total,
            (false, false) => return Action::Wait(silence_left.min(total_left)),
        };
        self.dumping = Some((broken, now));
        Action::Dump(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        silence: Duration::from_secs(10),
        total: Duration::from_secs(100),
        dump: Duration::from_secs(5),
    };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_fresh_run_waits_for_the_nearest_limit() {
        let start = Instant::now();
        let mut watch = Watch::new(LIMITS, start);
        assert_eq!(watch.check(start + seconds(4)), Action::Wait(seconds(6)));
    }

    #[test]
    fn progress_moves_the_silence_limit_but_not_the_total() {
        let start = Instant::now();
        let mut watch = Watch::new(LIMITS, start);
        watch.progress(start + seconds(95));
        assert_eq!(watch.check(start + seconds(96)), Action::Wait(seconds(4)));
    }

    #[test]
    fn silence_asks_for_a_dump_once_and_then_kills() {
        let start = Instant::now();
        let mut watch = Watch::new(LIMITS, start);
        assert_eq!(watch.check(start + seconds(10)), Action::Dump(Broken::Silence));
        assert_eq!(watch.check(start + seconds(11)), Action::Wait(seconds(4)));
        assert_eq!(watch.check(start + seconds(15)), Action::Kill(Broken::Silence));
    }

    #[test]
    fn bytes_of_the_dump_do_not_save_a_silent_run() {
        let start = Instant::now();
        let mut watch = Watch::new(LIMITS, start);
        watch.check(start + seconds(10));
        watch.progress(start + seconds(12));
        assert_eq!(watch.check(start + seconds(15)), Action::Kill(Broken::Silence));
    }

    #[test]
    fn a_finished_dump_kills_at_once() {
        let start = Instant::now();
        let mut watch = Watch::new(LIMITS, start);
        watch.check(start + seconds(10));
        watch.dumped();
        assert_eq!(watch.check(start + seconds(11)), Action::Kill(Broken::Silence));
    }

    #[test]
    fn a_chatty_run_still_breaks_the_total() {
        let start = Instant::now();
        let mut watch = Watch::new(LIMITS, start);
        watch.progress(start + seconds(99));
        assert_eq!(watch.check(start + seconds(100)), Action::Dump(Broken::Total));
        assert_eq!(watch.broken(), Some(Broken::Total));
    }
}
