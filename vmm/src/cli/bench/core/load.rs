//! What `tmem bench core` does with pages, and how long it takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tmem_core::{Budget, Client, Key, PAGE_SIZE, Page, PoolId, Store};

use super::super::corpus::Corpus;
use super::super::histogram::Histogram;
use super::super::progress::Progress;
use super::{BenchError, Churn, CoreArgs, Seq};
use crate::config::CodecChoice;

/// How long background work rests when it has nothing to wait for.
const REST: Duration = Duration::from_millis(50);

/// What all modes work on.
pub(super) struct Load<'a> {
    pub(super) args: &'a CoreArgs,
    pub(super) progress: Progress,
    pub(super) objects: u32,
    pub(super) corpus: Corpus,
    pub(super) store: Arc<Store>,
    /// Clients, each with its pool.
    pub(super) guests: Vec<(Client, PoolId)>,
}

/// Nanoseconds a page that `each` takes for all pages in order.
fn time(pages: u32, mut each: impl FnMut(u32) -> Result<(), BenchError>) -> Result<f64, BenchError> {
    let start = Instant::now();
    for page in 0..pages {
        each(page)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(pages))
}

/// A bare copy of the same pages into memory of the same size that is already there.
pub(super) fn bare_copy(corpus: &Corpus, pages: u32) -> Result<f64, BenchError> {
    let mut target = vec![[1u8; PAGE_SIZE]; pages as usize];
    let mut places = target.iter_mut();
    time(pages, |n| {
        if let Some(target) = places.next() {
            *target = *corpus.page(u64::from(n));
            std::hint::black_box(target);
        }
        Ok(())
    })
}

impl Load<'_> {
    /// The key of a page, and whose it is.
    fn key(&self, page: u32) -> (&Client, PoolId, Key) {
        let object = page % self.objects;
        let (guest, pool) = self
            .guests
            .get((object % self.args.clients) as usize)
            .expect("there are as many guests as --clients says");
        (guest, *pool, Key::new(u64::from(object).into(), page / self.objects))
    }

    fn put(&self, page: u32) -> Result<(), BenchError> {
        let (guest, pool, key) = self.key(page);
        Ok(guest.put(pool, &key, self.corpus.page(u64::from(page)))?)
    }

    fn get(&self, page: u32, into: &mut Page) -> Result<bool, BenchError> {
        let (guest, pool, key) = self.key(page);
        let found = guest.get(pool, &key, into)?;
        if found && self.args.verify && *into != *self.corpus.page(u64::from(page)) {
            return Err(BenchError::Wrong(page));
        }
        Ok(found)
    }

    fn flush(&self, page: u32) -> Result<u64, BenchError> {
        let (guest, pool, key) = self.key(page);
        Ok(guest.flush_page(pool, &key)?)
    }

    fn time(&self, each: impl FnMut(u32) -> Result<(), BenchError>) -> Result<f64, BenchError> {
        time(self.args.pages, each)
    }

    fn step(&self, doing: &str) {
        self.progress.step(format!("{doing} {} pages", self.args.pages));
    }

    pub(super) fn seq(&self, copy_ns: f64) -> Result<Seq, BenchError> {
        // As in life, where maintenance keeps memory ready before anybody needs it.
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let keeper = scope.spawn(|| self.keep(&over));
            let result = self.seq_timed(copy_ns);
            over.store(true, Ordering::Relaxed);
            keeper.thread().unpark();
            result
        })
    }

    fn seq_timed(&self, copy_ns: f64) -> Result<Seq, BenchError> {
        let before = self.store.stats().metadata_bytes;
        self.step("putting");
        let put_ns = self.time(|n| self.put(n))?;
        self.step("compressing");
        while self.args.codec != CodecChoice::Raw && self.store.maintain(Budget::at_once()).more {}
        let stats = self.store.stats();
        let mut page = [0; PAGE_SIZE];
        self.step("getting");
        let get_ns =
            self.time(|n| if self.get(n, &mut page)? { Ok(()) } else { Err(BenchError::Wrong(n)) })?;
        self.step("flushing");
        let flush_ns = self.time(|n| match self.flush(n)? {
            1 => Ok(()),
            _ => Err(BenchError::Wrong(n)),
        })?;
        Ok(Seq {
            put_ns,
            get_ns,
            flush_ns,
            copy_ns,
            meta_bytes_per_page: (stats.metadata_bytes - before) as f64 / f64::from(self.args.pages),
            stored_bytes: stats.stored_bytes,
            ideal_bytes: stats.ideal_bytes,
        })
    }

    /// Background work, until it is over.
    fn keep(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            let progress = self.store.maintain(Budget::default());
            if !progress.more {
                thread::park_timeout(progress.rest.unwrap_or(REST));
            }
        }
    }

    pub(super) fn churn(&self) -> Result<Churn, BenchError> {
        self.progress.step(format!("putting {} pages", self.args.pages.div_ceil(2)));
        for n in (0..self.args.pages).step_by(2) {
            self.put(n)?;
        }
        let time = Duration::from_secs_f64(self.args.seconds);
        let measuring = format!("measuring for {} s with {} thread(s)", self.args.seconds, self.args.threads);
        self.progress.step_for(time, measuring);
        let over = AtomicBool::new(false);
        let start = Instant::now();
        let results: Vec<Result<Worker, BenchError>> = thread::scope(|scope| {
            let keeper = scope.spawn(|| self.keep(&over));
            let (over, load) = (&over, &self);
            let threads = 1..=u64::from(self.args.threads);
            let threads: Vec<_> = threads.map(|seed| scope.spawn(move || load.worker(seed, over))).collect();
            // Not a wait for anything: this is how long the user asked to measure.
            thread::sleep(time);
            over.store(true, Ordering::Relaxed);
            keeper.thread().unpark();
            threads.into_iter().map(|t| t.join().unwrap_or(Err(BenchError::Wrong(u32::MAX)))).collect()
        });
        let seconds = start.elapsed().as_secs_f64();
        let mut sum = Worker::default();
        for result in results {
            let worker = result?;
            sum.operations += worker.operations;
            sum.all.add(&worker.all);
            sum.puts.add(&worker.puts);
        }
        Ok(Churn {
            ops_per_s: sum.operations as f64 / seconds,
            p50_ns: sum.all.quantile(0.5),
            p999_ns: sum.all.quantile(0.999),
            put_p50_ns: sum.puts.quantile(0.5),
            put_p999_ns: sum.puts.quantile(0.999),
            seconds,
        })
    }

    fn worker(&self, seed: u64, over: &AtomicBool) -> Result<Worker, BenchError> {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut page: Page = [0; PAGE_SIZE];
        let mut done = Worker::default();
        while !over.load(Ordering::Relaxed) {
            for turn in 0..16 {
                // splitmix64 (Steele et al., OOPSLA 2014).
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                mixed ^= mixed >> 31;
                let n = (((mixed & 0xffff_ffff) * u64::from(self.args.pages)) >> 32) as u32;
                let what = (mixed >> 32) % 10;
                // One operation in sixteen is timed, so that the clock does not become what is measured.
                let start = (turn == 0).then(Instant::now);
                match what {
                    0..4 => self.put(n)?,
                    4 => drop(self.flush(n)?),
                    _ => drop(self.get(n, &mut page)?),
                }
                if let Some(start) = start {
                    let took = start.elapsed().as_nanos() as u64;
                    done.all.note(took);
                    if what < 4 {
                        done.puts.note(took);
                    }
                }
                done.operations += 1;
            }
        }
        Ok(done)
    }
}

#[derive(Default)]
struct Worker {
    operations: u64,
    all: Histogram,
    puts: Histogram,
}
