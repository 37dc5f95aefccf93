//! Work that may wait: releasing destroyed pools, compressing what stays, moving pages together, keeping memory ahead.
//!
//! The store starts no thread. Whoever embeds it calls [`Store::maintain`]; several threads may.

use std::collections::VecDeque;

use super::Store;
use super::flush::Removed;
use super::shard::Kind;
use crate::index::{NIL, SPAN};
use crate::page::{PAGE_SIZE, Page};
use crate::pages::{Form, Home, NoRoom, PageStore, Stored};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::usage::{Budget, Progress};

/// Chunks whose headers the compressor looks at under one lock.
const SCAN: u32 = 16;
/// Chunks released under one lock.
const RELEASE: usize = 4;
/// A segment is emptied in the background when one byte in so many of it is dead.
const SPARSE: u32 = 8;
/// In a full store, already then.
const SPARSE_FULL: u32 = 32;
/// Pages that a put compresses in a full store, in line.
const IN_LINE: u32 = 4;
/// Frames kept backed with memory ahead of puts: 16 MiB.
const AHEAD: u32 = 4096;
/// Rounds of trimming before a free extent goes back to the host.
const IDLE_ROUNDS: u8 = 32;

/// A thing to do in bounded steps.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Release all pages of a pool that nobody can reach.
    Drain { pool: u32, shared: bool, shard: usize },
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
    hand: AtomicUsize,
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

/// A raw page that the compressor chose.
struct Candidate {
    home: Home,
    frame: u32,
    checksum: u32,
    version: u32,
}

/// What looking for raw pages to compress gave.
enum Pick {
    Page(Candidate),
    /// There is one, but it is young or further on.
    Aged,
    /// The shard has no raw page that might compress.
    Nothing,
}

impl Store {
    /// Does background work: releases pages of destroyed pools, compresses pages that stay, moves pages together, and
    /// keeps memory ready for the next puts.
    ///
    /// Bounded by `budget`; call it again at once while [`Progress::more`] is set, and from time to time otherwise. Any
    /// number of threads may call it; no lock is held for longer than it takes to copy a few pages.
    pub fn maintain(&self, budget: Budget) -> Progress {
        let mut progress = Progress::default();
        let mut left = budget.pages;
        left = self.work_off(left, &mut progress);
        if self.compresses() {
            let mut page = [0; PAGE_SIZE];
            let mut barren = 0;
            while left > 0 && barren < self.shards.len() {
                let shard = self.background.hand.load(Ordering::Relaxed) & (self.shards.len() - 1);
                match self.pick(shard, false, &mut page) {
                    Pick::Page(candidate) => {
                        left -= 1;
                        match self.compress(&candidate, &page) {
                            Ok(done) => progress.compressed += u32::from(done),
                            // No memory even for that: nothing to be had by trying again now.
                            Err(NoRoom) => return progress,
                        }
                        barren = 0;
                        continue;
                    }
                    Pick::Aged => {
                        progress.more = true;
                        left -= 1;
                    }
                    Pick::Nothing => {}
                }
                barren += 1;
                self.background.hand.fetch_add(1, Ordering::Relaxed);
            }
            if left > 0 {
                let moved = self.move_together(SPARSE);
                progress.moved += moved;
                left = left.saturating_sub(moved);
            }
        }
        if self.arena.bare() > 0 && self.arena.populate_ahead(AHEAD) {
            progress.more = true;
        }
        if !progress.more && left == budget.pages {
            self.arena.trim(IDLE_ROUNDS, AHEAD);
        }
        progress.more |= left == 0;
        progress
    }

    /// Works off jobs; returns what is left of the budget.
    fn work_off(&self, mut left: u32, progress: &mut Progress) -> u32 {
        while left > 0 {
            let Some(job) = self.background.take() else { return left };
            let (released, rest) = self.step(job, left);
            progress.released += released;
            left = left.saturating_sub(released.max(1));
            match rest {
                Some(job @ Job::Retire { .. }) => {
                    // It waits for other jobs; when there are none, for other threads that are at them.
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
            Job::Drain { pool, shared, shard } => self.drain(pool, shared, shard, left),
            Job::Leaver { pool, client, shard, chunk } => self.forget(pool, client, shard, chunk),
            Job::Retire { client } => (0, (!self.retire(client)).then_some(job)),
        }
    }

    fn drain(&self, pool: u32, shared: bool, mut at: usize, left: u32) -> (u32, Option<Job>) {
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
        if at < self.shards.len() {
            return (released, Some(Job::Drain { pool, shared, shard: at }));
        }
        if let Some(slot) = self.control.lock().pools.get_mut(pool as usize) {
            *slot = None;
        }
        (released, None)
    }

    /// Removes the pages of a client from the next chunks of a shared pool. Chunk numbers are scanned, so that nothing
    /// has to stand still meanwhile: the client cannot add pages any more.
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
        (released, (at < self.shards.len()).then_some(Job::Leaver { pool, client, shard: at, chunk }))
    }

    /// Frees a closed client's slot, if nothing is charged to it any more.
    fn retire(&self, client: u16) -> bool {
        let mut control = self.control.lock();
        self.call_in(client);
        let Some(slot) = control.clients.get_mut(usize::from(client)) else { return true };
        if slot.as_ref().is_some_and(|state| state.account.granted() != 0) {
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

    /// Looks for a raw page to compress in a shard, and copies it out.
    fn pick(&self, number: usize, in_haste: bool, page: &mut Page) -> Pick {
        let mut guard = self.shard(number).lock();
        let shard = &mut *guard;
        let end = shard.index.chunk_numbers();
        if shard.raw == 0 || shard.raw == shard.hard || end == 0 {
            return Pick::Nothing;
        }
        for _ in 0..SCAN.min(end) {
            let chunk = if shard.hand < end { shard.hand } else { 0 };
            if let Some(header) = shard.index.chunk_if_any(chunk) {
                let mut left = header.map;
                while left != 0 {
                    let slot = left.trailing_zeros();
                    left &= left - 1;
                    let Some(mut entry) = shard.index.entry(&header, slot) else { continue };
                    if entry.form() != Form::Raw || entry.is_hard() {
                        continue;
                    }
                    if entry.age() > 0 && !in_haste {
                        entry.set_age(entry.age() - 1);
                        shard.index.touch(&header, slot, entry);
                        continue;
                    }
                    let stored = entry.stored();
                    let (frame, checksum) = (stored.a, stored.b);
                    let _ = self.local.fetch(&stored, page);
                    shard.hand = chunk;
                    let home = Home { shard: number as u16, token: chunk * SPAN + slot };
                    return Pick::Page(Candidate { home, frame, checksum, version: header.version });
                }
            }
            shard.hand = chunk + 1;
        }
        // There is one, further on or next time round.
        Pick::Aged
    }

    /// Compresses a page that was copied out, and puts the result in its place if it has not changed.
    fn compress(&self, candidate: &Candidate, page: &Page) -> Result<bool, NoRoom> {
        let squeezed = self.pages.squeeze(page, candidate.checksum, candidate.home)?;
        let (chunk, slot) = (candidate.home.token / SPAN, candidate.home.token % SPAN);
        let mut guard = self.shard(usize::from(candidate.home.shard)).lock();
        let shard = &mut *guard;
        let mut freed = None;
        if let Some(mut header) = shard.index.chunk_if_any(chunk)
            && header.version == candidate.version
            && let Some(mut entry) = shard.index.entry(&header, slot)
            && entry.form() == Form::Raw
            && entry.stored().a == candidate.frame
        {
            match squeezed {
                Some(small) => {
                    let old = entry.stored();
                    let saved = old.bytes() - small.bytes();
                    let new = entry.with(&small);
                    shard.index.replace(chunk, &mut header, slot, new);
                    shard.count(&entry, -1);
                    shard.count(&new, 1);
                    shard.client(entry.owner()).refund(&*self.books, saved);
                    drop(guard);
                    self.pages.free(old);
                    return Ok(true);
                }
                None => {
                    entry.set_hard();
                    shard.index.touch(&header, slot, entry);
                    shard.hard += 1;
                }
            }
        } else {
            freed = squeezed;
        }
        drop(guard);
        freed.into_iter().for_each(|page| self.pages.free(page));
        Ok(false)
    }

    /// In a full store: compresses a few raw pages whatever their age, or empties a sparse segment. True when a frame
    /// is free now.
    pub(super) fn compress_in_line(&self) -> bool {
        if !self.compresses() {
            return false;
        }
        let mut page = [0; PAGE_SIZE];
        let mut done = 0;
        for _ in 0..self.shards.len() {
            let shard = self.background.hand.fetch_add(1, Ordering::Relaxed) & (self.shards.len() - 1);
            if let Pick::Page(candidate) = self.pick(shard, true, &mut page) {
                done += 1;
                if self.compress(&candidate, &page).is_err() || done == IN_LINE {
                    break;
                }
            }
        }
        if self.arena.any_free() {
            return true;
        }
        self.move_together(SPARSE_FULL) > 0 && self.arena.any_free()
    }

    /// Empties the sparsest segment, if one byte in `one_in` of it is dead. Returns the records moved.
    fn move_together(&self, one_in: u32) -> u32 {
        let log = self.local.log();
        let Some(pinned) = log.pin_sparsest(one_in) else { return 0 };
        let mut page = [0; PAGE_SIZE];
        let mut moved = 0;
        let mut last = None;
        while let Some(record) = pinned.next(last.as_ref()) {
            let (chunk, slot) = (record.home.token / SPAN, record.home.token % SPAN);
            let mut guard = self.shard(usize::from(record.home.shard)).lock();
            let shard = &mut *guard;
            if let Some(mut header) = shard.index.chunk_if_any(chunk)
                && let Some(entry) = shard.index.entry(&header, slot)
                && entry.form() == Form::Lz4
                && entry.stored().a == record.place
            {
                let Some(place) = log.relocate(record.home, record.place, &mut page) else { return moved };
                let old = entry.stored();
                let new = Stored { a: place, b: old.b, form: old.form, units: old.units };
                shard.index.replace(chunk, &mut header, slot, entry.with(&new));
                drop(guard);
                self.pages.free(old);
                moved += 1;
            }
            last = Some(record);
        }
        moved
    }
}
