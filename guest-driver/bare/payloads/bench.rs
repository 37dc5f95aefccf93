//! Measures calls, and compares every page that comes back.
//!
//! Each vCPU has its own pool and its own pages. A round is: null calls, puts, gets, flushes, then a batch of puts and a
//! batch of gets. Only the call itself lies between two readings of the time stamp counter; making and comparing
//! contents does not. Rounds go on until the host asks to stop, and at least one is made.
#![no_std]
#![no_main]

mod runtime;

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::Ordering::Relaxed;

use tmem_abi::{BatchEntry, Errno, Gpa, Key, ObjectId, PoolFlags, PoolId, Registers, Request, Uuid};
use tmem_bare::Host;
use tmem_bare::bench::{Counters, Parameters, Timed};
use tmem_bare::boot::BootInfo;
use tmem_bare::control::{Command, Mailbox};
use tmem_bare::histogram::Histogram;
use tmem_bare::memory::{WorkPage, stop_requested, words};
use tmem_bare::random::mix;

/// Pages of the work area: the array of a batch, then the pages of a batch (and the first of them for single calls).
const ARRAY: usize = 0;
const PAGES: usize = 16;

fn main(vcpu: u32) {
    let info = BootInfo::read();
    let host = match Host::discover(&info) {
        Ok(host) => host,
        Err(why) => panic!("{why}"),
    };
    let pool = host.ask(Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() });
    let Ok(pool) = u32::try_from(pool) else { panic!("a pool is refused: {pool}") };
    let mailbox = Mailbox::new(vcpu);
    let mut bench = Bench {
        host,
        vcpu,
        pool: PoolId(pool),
        seed: mix(info.seed ^ u64::from(vcpu) << 32),
        counters: Counters::default(),
    };
    let parameters = Parameters::from_words(info.parameters);
    mailbox.tell(Command::Barrier);
    mailbox.tell_words(Command::Start, &[now()]);
    loop {
        bench.round(&parameters);
        if stop_requested() {
            break;
        }
    }
    let [operations, verified, errors, first] = bench.counters.to_words();
    mailbox.tell_words(Command::Stop, &[now(), operations, verified, errors, first]);
}

fn now() -> u64 {
    // SAFETY: the instruction is allowed at every privilege level, as the host leaves CR4.TSD clear.
    unsafe { _rdtsc() }
}

struct Bench {
    host: Host,
    vcpu: u32,
    pool: PoolId,
    /// What the next page is made of; every put has another.
    seed: u64,
    counters: Counters,
}

impl Bench {
    fn round(&mut self, parameters: &Parameters) {
        let first_seed = self.seed;
        let nothing = Registers::default();
        for _ in 0..parameters.pages {
            let answer = self.timed(Timed::Null, |host| host.call(&nothing));
            self.check(answer, Errno::NoOperation.answer(), 0);
        }
        let page = self.page(0);
        for index in 0..parameters.pages {
            page.fill(first_seed.wrapping_add(index));
            let put = Request::Put { pool: self.pool, key: self.key(index), page: page.gpa() };
            let answer = self.timed(Timed::Put, |host| host.ask(put));
            self.check(answer, 0, 1);
        }
        for index in 0..parameters.pages {
            page.fill_byte(0);
            let get = Request::Get { pool: self.pool, key: self.key(index), page: page.gpa() };
            let answer = self.timed(Timed::Get, |host| host.ask(get));
            self.check(answer, 1, 1);
            self.verify(page, first_seed.wrapping_add(index));
        }
        for index in 0..parameters.pages {
            let flush = Request::FlushPage { pool: self.pool, key: self.key(index) };
            let answer = self.timed(Timed::Flush, |host| host.ask(flush));
            self.check(answer, 1, 1);
        }
        self.seed = first_seed.wrapping_add(parameters.pages);
        if parameters.batch > 0 {
            self.batches(parameters.batch);
        }
    }

    fn batches(&mut self, entries: u64) {
        let first_seed = self.seed;
        for index in 0..entries {
            self.page(index).fill(first_seed.wrapping_add(index));
            let page = self.page(index).gpa();
            self.entry(index, Request::Put { pool: self.pool, key: self.key(index), page });
        }
        self.batch(Timed::BatchPut, entries, 0);
        for index in 0..entries {
            self.page(index).fill_byte(0);
            let page = self.page(index).gpa();
            self.entry(index, Request::Get { pool: self.pool, key: self.key(index), page });
        }
        self.batch(Timed::BatchGet, entries, 1);
        for index in 0..entries {
            self.verify(self.page(index), first_seed.wrapping_add(index));
        }
        let object = self.key(0).object;
        let answer = self.host.ask(Request::FlushObject { pool: self.pool, object });
        self.check(answer, entries.cast_signed(), 1);
        self.seed = first_seed.wrapping_add(entries);
    }

    /// Runs the batch and checks each status.
    fn batch(&mut self, what: Timed, entries: u64, want: i64) {
        let batch = Request::Batch { array: self.array(), count: entries as u32 };
        let answer = self.timed(what, |host| host.ask(batch));
        self.check(answer, entries.cast_signed(), entries);
        for index in 0..entries {
            let status = words(self.array().0 + index * BatchEntry::SIZE as u64, 8)
                .get(BatchEntry::STATUS_OFFSET / 8)
                .map_or(0, |word| word.load(Relaxed));
            self.check(status.cast_signed(), want, 0);
        }
    }

    fn entry(&self, index: u64, request: Request) {
        let BatchEntry { rdi, rsi, rdx, r10, r8, r9, .. } = BatchEntry::new(request.encode());
        let values = [rdi, rsi, rdx, r10, r8, r9, u64::MAX, 0];
        let entry = words(self.array().0 + index * BatchEntry::SIZE as u64, 8);
        entry.iter().zip(values).for_each(|(word, value)| word.store(value, Relaxed));
    }

    fn timed(&self, what: Timed, call: impl FnOnce(&Host) -> i64) -> i64 {
        let before = now();
        let answer = call(&self.host);
        let after = now();
        Histogram::new(self.vcpu, what as usize).add(after.saturating_sub(before));
        answer
    }

    fn check(&mut self, answer: i64, want: i64, operations: u64) {
        self.counters.operations += operations;
        if answer != want {
            if self.counters.errors == 0 {
                self.counters.first_error = answer;
            }
            self.counters.errors += 1;
        }
    }

    fn verify(&mut self, page: WorkPage, seed: u64) {
        if page.holds(seed) {
            self.counters.verified += 1;
        } else {
            self.counters.errors += 1;
        }
    }

    fn key(&self, index: u64) -> Key {
        Key { object: ObjectId([u64::from(self.vcpu), 0, 0]), index: index as u32 }
    }

    fn page(&self, index: u64) -> WorkPage {
        WorkPage::new(self.vcpu, PAGES + index as usize)
    }

    fn array(&self) -> Gpa {
        WorkPage::new(self.vcpu, ARRAY).gpa()
    }
}
