//! Work that may wait: releasing destroyed pools, evicting and compressing ahead of puts, giving memory back.
//!
//! The store starts no thread. Whoever embeds it calls [`Store::maintain`]; several threads may.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::compress::Zeal;
use super::control::ClientState;
use super::flush::Removed;
use super::shard::Kind;
use crate::index::{NIL, SPAN};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{self, Mutex};
use crate::usage::{Budget, Progress};

/// Chunks released under one lock.
const RELEASE: usize = 4;
/// A segment is emptied in the background when one byte in so many of it is dead; in a store short of memory; and by a
/// put that found the store full.
const SPARSE: u32 = 8;
const SPARSE_SHORT: u32 = 16;
/// In the background pages are evicted to keep one frame in so many free for puts, at most [`MOST_AHEAD`].
const EVICT_AHEAD: u32 = 64;
const MOST_AHEAD: u32 = 2048;
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

/// A thing to do in bounded steps.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Release all pages of a pool that nobody can reach since this client left.
    Drain { pool: u32, client: u16, shared: bool, shard: usize },
    /// Release the pages that a client put into a shared pool that it left.
    Leaver { pool: u32, client: u16, shard: usize, chunk: u32 },
    /// Free the slot of a closed client once nothing is charged to it.
    Retire { client: u16 },
}

/// What background work there is.
#[derive(Default)]
pub(super) struct Background {
    jobs: Mutex<VecDeque<Job>>,
    /// The shard that the compressor looks at next.
    pub(super) hand: AtomicUsize,
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

impl Background {
    pub(super) fn add(&self, job: Job) {
        self.jobs.lock().push_back(job);
    }

    /// Takes the next job; it is this thread's to do, or to add again.
    pub(super) fn take(&self) -> Option<Job> {
        self.jobs.lock().pop_front()
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

    /// How long background work may rest; `None` until it is woken.
    fn rest(&self) -> Option<Duration> {
        // Watched before it looks: whatever comes after the look wakes.
        self.arena.watch();
        let work = !self.background.jobs.lock().is_empty()
            || self.has_young()
            || self.is_short()
            || self.arena.may_trim();
        work.then_some(REST)
    }

    /// Has `wake` called when there is background work again, after [`Progress::rest`] was `None`. It is called on the
    /// path of a put or a flush, once for each such rest, and must not wait.
    pub fn on_work(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.arena.on_change(Box::new(wake));
    }

    pub(super) fn add_job(&self, job: Job) {
        self.background.add(job);
        self.arena.changed();
    }

    /// Evicts pages until a few frames are free, so that puts into a full store need not. Returns what is left of `left`.
    fn evict_ahead(&self, mut left: u32, progress: &mut Progress) -> u32 {
        let goal = self.evict_goal();
        if self.arena.common() >= goal / 2 {
            return left;
        }
        while left > 0 && self.arena.common() < goal {
            let evicted = self.evict_from_largest(None, EVICT_STEP.min(left));
            if evicted == 0 {
                return left;
            }
            progress.evicted += evicted;
            left -= evicted;
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

    /// Works off jobs; returns what is left of the budget.
    fn work_off(&self, mut left: u32, progress: &mut Progress) -> u32 {
        while left > 0 {
            let Some(job) = self.background.take() else { return left };
            let (released, rest) = self.step(job, left);
            progress.released += released;
            left = left.saturating_sub(released.max(1));
            match rest {
                Some(job) if self.waits(&job) => {
                    // For other jobs; when there are none, for other threads that are at them.
                    let mut jobs = self.background.jobs.lock();
                    let alone = jobs.is_empty();
                    jobs.push_back(job);
                    if alone {
                        progress.more = true;
                        return left;
                    }
                }
                Some(job) => self.background.jobs.lock().push_front(job),
                None => {}
            }
        }
        left
    }

    fn step(&self, job: Job, left: u32) -> (u32, Option<Job>) {
        match job {
            Job::Drain { pool, client, shared, shard } => self.drain(pool, client, shared, shard, left),
            Job::Leaver { pool, client, shard, chunk } => self.forget(pool, client, shard, chunk),
            Job::Retire { client } => (0, (!self.retire(client)).then_some(job)),
        }
    }

    /// Whether a job can only go on when other jobs are done.
    fn waits(&self, job: &Job) -> bool {
        match job {
            Job::Drain { shard, .. } => *shard == self.shards.len(),
            Job::Leaver { .. } => false,
            Job::Retire { .. } => true,
        }
    }

    fn drain(&self, pool: u32, client: u16, shared: bool, mut at: usize, left: u32) -> (u32, Option<Job>) {
        let kind = if shared { Kind::Shared } else { Kind::Ephemeral };
        let mut released = 0;
        while at < self.shards.len() && released < left {
            let mut removed: [Removed; RELEASE] = Default::default();
            let mut shard = self.shard(at).lock();
            for removed in &mut removed {
                let head = shard.pools.get(pool as usize).map_or(NIL, |line| line.chunks);
                if head == NIL {
                    at += 1;
                    break;
                }
                let kind = if shard.index.header(head).is_linked() { kind } else { Kind::Persistent };
                *removed = self.unlink_all(&mut shard, head, kind, u64::MAX);
                shard.destroy_chunk(&*self.books, head);
            }
            drop(shard);
            released += removed.map(|removed| self.free_all(removed)).iter().sum::<u32>();
        }
        let rest = Some(Job::Drain { pool, client, shared, shard: at });
        if at < self.shards.len() {
            return (released, rest);
        }
        let mut control = self.control.lock();
        if control.pools.get(pool as usize).and_then(Option::as_ref).is_some_and(|pool| pool.leavers > 0) {
            return (released, rest);
        }
        control.free_pool(pool);
        control.has_left(client);
        (released, None)
    }

    /// Removes the pages of a client from the next chunks of a shared pool. Chunk numbers are scanned, so that nothing
    /// has to stand still meanwhile: the client cannot add pages any more, unless it has joined again; then some of those
    /// go too, as ephemeral pages may at any time.
    fn forget(&self, pool: u32, client: u16, mut at: usize, mut chunk: u32) -> (u32, Option<Job>) {
        let mut shard = self.shard(at).lock();
        let end = shard.index.chunk_numbers();
        let mut removed = Vec::new();
        let mut emptied = Vec::new();
        for number in chunk..end.min(chunk.saturating_add(SPAN)) {
            let header = shard.index.chunk_if_any(number).filter(|header| header.key.pool == pool);
            let Some(header) = header else { continue };
            let owns = |slot: &u32| shard.index.entry(&header, *slot).is_some_and(|e| e.owner() == client);
            let mine = (0..SPAN).filter(owns).fold(0, |map, slot| map | 1 << slot);
            let gone = self.unlink_all(&mut shard, number, Kind::Shared, mine);
            if gone.empty {
                emptied.push(header.key);
            }
            removed.push(gone);
            if header.owner == client {
                shard.hand_over(&*self.books, number, client);
            }
        }
        chunk = chunk.saturating_add(SPAN);
        if chunk >= end {
            (at, chunk) = (at + 1, 0);
        }
        drop(shard);
        let released = removed.into_iter().map(|removed| self.free_all(removed)).sum();
        for key in emptied {
            self.reap(&self.site_of(key, self.names.object(key.pool, &key.object)));
        }
        if at < self.shards.len() {
            return (released, Some(Job::Leaver { pool, client, shard: at, chunk }));
        }
        let mut control = self.control.lock();
        if let Some(Some(pool)) = control.pools.get_mut(pool as usize) {
            pool.leavers -= 1;
        }
        control.has_left(client);
        (released, None)
    }

    /// Frees a closed client's slot, if nothing is charged to it any more.
    fn retire(&self, client: u16) -> bool {
        let mut control = self.control.lock();
        for shard in &self.shards {
            if let Some(Some(local)) = shard.lock().clients.get_mut(usize::from(client)) {
                local.forgo();
            }
        }
        self.call_in(client);
        let Some(slot) = control.clients.get_mut(usize::from(client)) else { return true };
        let busy = |state: &Arc<ClientState>| {
            state.account.granted() != 0 || state.leaving.load(Ordering::Relaxed) != 0
        };
        if slot.as_ref().is_some_and(busy) {
            return false;
        }
        *slot = None;
        for shard in &self.shards {
            if let Some(local) = shard.lock().clients.get_mut(usize::from(client)) {
                *local = None;
            }
        }
        true
    }
}
