//! Giving back what clients left: destroyed pools, pages in shared ones, the clients themselves, what is above a lowered cap.
//! Jobs that [`maintain`](Store::maintain) works off in small steps.

use std::collections::VecDeque;

use super::Store;
use super::clients::ClientState;
use super::shard::{Removed, SCAN};
use crate::sync::Mutex;
use crate::usage::Progress;

/// Empty chunks removed under one lock.
const EMPTIES: u32 = 32;
/// Pages evicted in one step of lowering a client to its cap.
const LOWERED: u32 = 16;
/// Jobs that a client may have beside those of its pools: to be lowered, to be retired.
const JOBS_A_CLIENT: usize = 2;

/// A thing to do in bounded steps.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Release all pages of a pool that nobody can reach since this client left.
    Drain { pool: u32, client: u16, shard: usize },
    /// Release the pages that a client put into a shared pool that it left.
    Leaver { pool: u32, client: u16, shard: usize, chunk: u32 },
    /// Evict pages of a client that has more than its cap.
    Lower { client: u16 },
    /// Free the number of a closed client once nothing is charged to it.
    Retire { client: u16 },
}

/// Jobs that are to be done. Room for one is made when a client or a pool is, so that ending one takes no memory.
#[derive(Default)]
pub(super) struct Jobs(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Jobs that may still be added.
    promised: usize,
}

impl Jobs {
    /// Makes room for so many jobs to come.
    pub(super) fn promise(&self, jobs: usize) -> Option<()> {
        let mut queue = self.0.lock();
        let promised = queue.promised + jobs;
        queue.jobs.try_reserve(promised).ok()?;
        queue.promised = promised;
        Some(())
    }

    /// Makes room for a client's own jobs.
    pub(super) fn promise_client(&self) -> Option<()> {
        self.promise(JOBS_A_CLIENT)
    }

    /// Takes promises back.
    pub(super) fn break_promise(&self, jobs: usize) {
        self.0.lock().promised -= jobs;
    }

    /// A client's jobs are done for good.
    fn end_client(&self) {
        self.break_promise(JOBS_A_CLIENT);
    }

    /// Adds a job that was promised.
    pub(super) fn add(&self, job: Job) {
        let mut queue = self.0.lock();
        queue.promised -= 1;
        queue.jobs.push_back(job);
    }

    /// Takes the next job; it is this thread's to do, or to add again. Its promise is renewed.
    pub(super) fn take(&self) -> Option<Job> {
        let mut queue = self.0.lock();
        let job = queue.jobs.pop_front()?;
        queue.promised += 1;
        Some(job)
    }

    /// Adds a job again to be gone on with at once.
    fn put_first(&self, job: Job) {
        let mut queue = self.0.lock();
        queue.promised -= 1;
        queue.jobs.push_front(job);
    }

    /// Adds a job again behind all others, and tells whether there were none.
    fn put_last(&self, job: Job) -> bool {
        let mut queue = self.0.lock();
        let alone = queue.jobs.is_empty();
        queue.promised -= 1;
        queue.jobs.push_back(job);
        alone
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().jobs.is_empty()
    }
}

impl Store {
    pub(super) fn add_job(&self, job: Job) {
        self.background.jobs.add(job);
        self.arena.changed();
    }

    /// Starts lowering a client to its cap.
    pub(super) fn lower(&self, client: &ClientState) {
        if client.starts_lowering() {
            self.add_job(Job::Lower { client: client.number() });
        }
    }

    /// Works off jobs; returns what is left of the budget.
    pub(super) fn work_off(&self, mut left: u32, progress: &mut Progress) -> u32 {
        while left > 0 {
            let Some(job) = self.background.jobs.take() else { return left };
            let (released, rest) = self.step(job, left);
            progress.released += released;
            left = left.saturating_sub(released.max(1));
            match rest {
                Some(job) if self.waits(&job) => {
                    // For other jobs; when there are none, for other threads that are at them.
                    if self.background.jobs.put_last(job) {
                        progress.more = true;
                        return left;
                    }
                }
                Some(job) => self.background.jobs.put_first(job),
                None => match job {
                    Job::Drain { .. } | Job::Leaver { .. } => self.background.jobs.break_promise(1),
                    // Both are promised as long as the client is there.
                    Job::Lower { .. } => {}
                    Job::Retire { .. } => self.background.jobs.end_client(),
                },
            }
        }
        left
    }

    fn step(&self, job: Job, left: u32) -> (u32, Option<Job>) {
        match job {
            Job::Drain { pool, client, shard } => self.drain(pool, client, shard, left),
            Job::Leaver { pool, client, shard, chunk } => self.forget(pool, client, shard, chunk),
            Job::Lower { client } => self.lower_some(client),
            Job::Retire { client } => (0, (!self.retire(client)).then_some(job)),
        }
    }

    /// Whether a job can only go on when other jobs are done.
    fn waits(&self, job: &Job) -> bool {
        match job {
            Job::Drain { shard, .. } => *shard == self.shards.len(),
            Job::Leaver { .. } | Job::Lower { .. } => false,
            Job::Retire { .. } => true,
        }
    }

    fn drain(&self, pool: u32, client: u16, mut at: usize, left: u32) -> (u32, Option<Job>) {
        let mut released = 0;
        while at < self.shards.len() && released < left {
            let mut removed = Removed::none();
            let mut shard = self.lock(at);
            for _ in 0..EMPTIES {
                let Some(chunk) = shard.first_of(pool) else {
                    at += 1;
                    break;
                };
                if !shard.destroy_unreachable(&*self.bank, chunk) {
                    removed = shard.unlink_range(&*self.bank, chunk, u64::MAX);
                    break;
                }
            }
            drop(shard);
            released += removed.count().max(1);
            removed.free(&*self.pages);
        }
        let rest = Some(Job::Drain { pool, client, shard: at });
        if at < self.shards.len() || !self.registry.lock().free_pool(pool, client) {
            return (released, rest);
        }
        (released, None)
    }

    /// Removes the pages of a client from the next chunks of a shared pool. Chunk numbers are scanned, so that nothing
    /// has to stand still meanwhile: the client cannot add pages any more, unless it has joined again; then some of those
    /// go too, as ephemeral pages may at any time.
    fn forget(&self, pool: u32, client: u16, mut at: usize, mut chunk: u32) -> (u32, Option<Job>) {
        let mut shard = self.lock(at);
        let end = shard.chunk_numbers();
        let mut removed = Removed::none();
        let mut emptied = None;
        for _ in 0..SCAN {
            let header = shard.chunk_if_any(chunk).filter(|header| header.key().pool == pool);
            if let Some(header) = header {
                let mine = shard.places_of(&header, client);
                removed = shard.unlink_range(&*self.bank, chunk, mine);
                if !removed.more && !shard.hand_over(&*self.bank, chunk, client) {
                    // Nobody may be charged for the chunk, so the others' pages go, too.
                    if removed.count() == 0 {
                        removed = shard.unlink_range(&*self.bank, chunk, u64::MAX);
                    } else {
                        removed.more = true;
                    }
                }
                emptied = removed.idle.then(|| *header.key());
            }
            if removed.more {
                break;
            }
            chunk += 1;
            if chunk >= end || removed.count() > 0 {
                break;
            }
        }
        drop(shard);
        if chunk >= end {
            (at, chunk) = (at + 1, 0);
        }
        let released = removed.count();
        removed.free(&*self.pages);
        if let Some(key) = emptied {
            self.reap(&self.site_from(&key));
        }
        if at < self.shards.len() {
            return (released, Some(Job::Leaver { pool, client, shard: at, chunk }));
        }
        self.registry.lock().has_left(pool, client);
        (released, None)
    }

    /// Evicts a few pages of a client above its cap.
    fn lower_some(&self, number: u16) -> (u32, Option<Job>) {
        let client = self.registry.lock().client(number).cloned();
        let Some(client) = client else { return (0, None) };
        if !client.account().is_over_cap() {
            client.is_lowered();
            // It may have been lowered again since.
            if client.account().is_over_cap() {
                self.lower(&client);
            }
            return (0, None);
        }
        let evicted = self.shrink(&client, LOWERED);
        if evicted == 0 {
            // What is left is persistent.
            client.is_lowered();
            return (0, None);
        }
        (evicted, Some(Job::Lower { client: number }))
    }

    /// Frees a closed client's number, if nothing is charged to it any more.
    fn retire(&self, client: u16) -> bool {
        let mut registry = self.registry.lock();
        for number in 0..self.shards.len() {
            if let Some(ledger) = self.lock(number).ledger_if_any(client) {
                ledger.forgo();
            }
        }
        self.call_in(client);
        let busy = |state: &ClientState| state.account().granted() != 0 || state.leaving() != 0;
        if registry.client(client).is_some_and(|state| busy(state)) {
            return false;
        }
        let state = registry.remove_client(client);
        for number in 0..self.shards.len() {
            // What its policy remembers is given back when the shard's lock is gone.
            let ledger = self.lock(number).take_ledger(client);
            drop(ledger);
        }
        drop(registry);
        drop(state);
        self.largest.lock().forget();
        true
    }
}
