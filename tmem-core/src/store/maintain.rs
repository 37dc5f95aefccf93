//! Work that may wait: releasing destroyed pools, evicting and compressing ahead of puts, giving memory back.
//!
//! The store starts no thread. Whoever embeds it calls [`Store::maintain`]; several threads may.

use std::time::Duration;

use super::Store;
use super::compress::Zeal;
use super::release::Jobs;
use crate::sync::atomic::AtomicUsize;
use crate::sync::{self, Mutex};
use crate::usage::{Budget, Progress};

/// A segment is emptied in the background when one byte in so many of it is dead; in a store short of memory; and by a
/// put that found the store full.
const SPARSE: u32 = 8;
const SPARSE_SHORT: u32 = 16;
/// In the background pages are evicted to keep one frame in so many free for puts, at most [`MOST_AHEAD`].
const EVICT_AHEAD: u32 = 64;
const MOST_AHEAD: u32 = 2048;
/// Pages evicted of a client for a host that is short of memory, before the next is looked for.
const SHED_STEP: u32 = 32;
/// Pages evicted before segments are looked at.
const EVICT_STEP: u32 = 16;
/// Frames kept backed with memory ahead of puts while there are any: 16 MiB.
const AHEAD: u32 = 4096;
/// Rounds of trimming before a free extent goes back to the host.
const IDLE_ROUNDS: u8 = 32;

/// While the store has room, the compressor looks at every page once in this time, and takes those that nobody wanted
/// between two looks.
const ROUND: Duration = Duration::from_secs(4);
/// Rest between two calls when all there is to do is to wait for pages to age.
const REST: Duration = Duration::from_millis(50);

/// What background work there is.
#[derive(Default)]
pub(super) struct Background {
    pub(super) jobs: Jobs,
    /// The shard that the compressor looks at next.
    pub(super) hand: AtomicUsize,
    /// The shard whose metadata is moved together next.
    pub(super) tidy_hand: AtomicUsize,
    pace: Pace,
}

/// How far the compressor has come in looking at all pages once in [`ROUND`].
#[derive(Default)]
struct Pace(Mutex<Paced>);

#[derive(Default)]
struct Paced {
    last: Duration,
    /// Steps owed, in billionths.
    owed: u64,
}

impl Pace {
    /// Steps that are due now, of a round of `steps`.
    fn due(&self, steps: impl FnOnce() -> u64) -> u32 {
        let Some(mut paced) = self.0.try_lock() else { return 0 };
        let now = sync::uptime();
        let passed = now.saturating_sub(paced.last).min(ROUND);
        paced.last = now;
        let share = passed.as_nanos() as u64 * 1_000_000_000 / ROUND.as_nanos() as u64;
        paced.owed += steps() * share;
        let due = paced.owed / 1_000_000_000;
        paced.owed %= 1_000_000_000;
        due.min(u64::from(u32::MAX)) as u32
    }
}

impl Store {
    /// Does background work: releases pages of destroyed pools, evicts ahead of puts in a full store, compresses pages
    /// that stay, moves pages together, keeps memory ready for the next puts and gives back what is free for long.
    ///
    /// Bounded by `budget`; [`Progress`] tells when to call again. Any number of threads may call it; no lock is held for
    /// longer than it takes to copy a few pages.
    pub fn maintain(&self, budget: Budget) -> Progress {
        let mut progress = Progress::default();
        let mut left = self.work_off(budget.pages, &mut progress);
        left = self.evict_ahead(left, &mut progress);
        if budget.shed {
            left = self.shed(left, &mut progress);
        }
        let short = self.is_short();
        if self.compresses() {
            let zeal = match (budget.at_once, short) {
                (true, _) => Zeal::All,
                (_, true) => Zeal::Short,
                _ => Zeal::Paced(self.background.pace.due(|| self.round_steps())),
            };
            // What cannot be had by eviction is not waited for.
            let low = if self.arena.common() >= self.evict_goal() / 2 { self.evict_goal() / 2 } else { 0 };
            left = self.compress_some(left, zeal, low, &mut progress);
            let sparse = if short || budget.at_once { SPARSE_SHORT } else { SPARSE };
            while left > 0 && self.arena.common() >= low {
                let moved = self.move_together(sparse, left);
                if moved == 0 {
                    break;
                }
                progress.moved += moved;
                left = left.saturating_sub(moved);
            }
        }
        if self.arena.bare() > 0 && !budget.at_once && self.arena.populate_ahead(AHEAD) {
            progress.more = true;
        }
        let calm = !progress.more && left == budget.pages;
        let (rounds, keep) = if budget.at_once { (0, 0) } else { (IDLE_ROUNDS, AHEAD) };
        if calm && self.arena.trim(rounds, keep) {
            progress.more |= budget.at_once;
        }
        progress.more |= left == 0;
        if !progress.more {
            progress.rest = self.rest();
        }
        progress
    }

    /// Evicts pages for a host that is short of memory, and gives the memory of free frames back. Returns what is left of
    /// `left`.
    fn shed(&self, mut left: u32, progress: &mut Progress) -> u32 {
        let most = left;
        while left > 0 {
            let evicted = match self.evict_from_largest(None, 0, SHED_STEP.min(left), 1) {
                // Nobody is beyond its reservation.
                0 => self.evict_from_any(SHED_STEP.min(left)),
                evicted => evicted,
            };
            if evicted == 0 {
                break;
            }
            progress.evicted += evicted;
            left = left.saturating_sub(evicted);
        }
        while (left < most || progress.compressed > 0) && self.arena.shed() {}
        left
    }

    /// How long background work may rest; `None` until it is woken.
    fn rest(&self) -> Option<Duration> {
        // Watched before it looks: whatever comes after the look wakes.
        self.arena.watch();
        let work =
            !self.background.jobs.is_empty() || self.has_young() || self.is_short() || self.arena.may_trim();
        work.then_some(REST)
    }

    /// Has `wake` called when there is background work again, after [`Progress::rest`] was `None`. It is called on the
    /// path of a put or a flush, once for each such rest, and must not wait.
    pub fn on_work(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.arena.on_change(Box::new(wake));
    }

    /// Evicts pages until a few frames are free, so that puts into a full store need not. Returns what is left of `left`.
    fn evict_ahead(&self, mut left: u32, progress: &mut Progress) -> u32 {
        let goal = self.evict_goal();
        if self.arena.common() >= goal / 2 {
            return left;
        }
        while left > 0 && self.arena.common() < goal {
            let evicted = self.evict_from_largest(None, 0, EVICT_STEP.min(left), 1);
            if evicted == 0 {
                return left;
            }
            progress.evicted += evicted;
            left = left.saturating_sub(evicted);
            if self.arena.common() < goal {
                left = left.saturating_sub(self.move_together(SPARSE_SHORT, left));
            }
        }
        left
    }

    /// Frames kept free for puts by evicting in the background, once half of them are taken.
    fn evict_goal(&self) -> u32 {
        (self.arena.frames() / EVICT_AHEAD).min(MOST_AHEAD)
    }
}
