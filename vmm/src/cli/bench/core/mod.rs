//! `tmem bench core`: what the store costs without a guest.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, OpError, PAGE_SIZE, Page, PoolId, PoolKind, Store, StoreConfig,
};

use crate::config::CodecChoice;

use super::corpus::{Corpus, CorpusError};
use super::histogram::Histogram;

/// Measures the store itself, in this process, with no guest
#[derive(Args, Debug)]
pub(in super::super) struct CoreArgs {
    /// What to do with the pages.
    #[arg(long, value_enum, default_value_t = Mode::Seq)]
    mode: Mode,

    /// Pages of 4 KiB.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pages: u32,

    /// Objects that the pages are spread over: page k is in object k mod M at index k div M.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    objects: u32,

    /// Threads (churn and hot).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,

    /// How long to measure (churn and hot).
    #[arg(long, default_value_t = 2.0, value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,

    /// How pages are kept.
    #[arg(long, value_enum, default_value_t = CodecChoice::Raw)]
    codec: CodecChoice,

    /// Pages to put, read in 4 KiB pieces and used in turn; without it a mixture is made up.
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,

    /// Compare every page that comes back with what was put.
    #[arg(long)]
    verify: bool,

    /// Use an ephemeral pool in a store with room for this part of all pages, so that puts evict (churn and hot).
    #[arg(long, value_name = "FRACTION", value_parser = fraction, allow_negative_numbers = true)]
    room: Option<f64>,

    /// Print one JSON line instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Put all, get all, flush all, in order, on one thread.
    Seq,
    /// Each thread picks pages uniformly: 40 % put, 10 % flush, 50 % get; half of the pages are there at the start.
    Churn,
    /// Churn with all pages in one object.
    Hot,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(value),
        _ => Err(format!("{text} is not a time to measure for: give more than 0 seconds and at most 86400")),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err(format!("{text} is not a part of the pages: give more than 0 and at most 1, such as 0.5")),
    }
}

/// How long background work rests when it has nothing to wait for.
const REST: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error("the store could not be set up: {0}")]
    Store(#[from] tmem_core::StoreError),
    #[error("an operation failed: {0}")]
    Op(#[from] OpError),
    #[error(
        "--pages {pages} needs {need} MiB of memory and {have} MiB are available: give at most --pages {most}"
    )]
    Memory { pages: u32, need: u64, have: u64, most: u64 },
    #[error("--room is for --mode churn and hot: seq gets every page that it put")]
    Room,
    #[error("page {0} came back with other content, or not at all: this is a bug of the store")]
    Wrong(u32),
}

#[derive(Debug, Default, Serialize)]
struct Report {
    mode: String,
    codec: String,
    pages: u32,
    objects: u32,
    threads: u32,
    #[serde(flatten)]
    seq: Option<Seq>,
    #[serde(flatten)]
    churn: Option<Churn>,
}

#[derive(Debug, Default, Serialize)]
struct Seq {
    put_ns: f64,
    get_ns: f64,
    flush_ns: f64,
    copy_ns: f64,
    meta_bytes_per_page: f64,
    stored_bytes: u64,
    ideal_bytes: u64,
}

#[derive(Debug, Default, Serialize)]
struct Churn {
    ops_per_s: f64,
    p50_ns: u64,
    p999_ns: u64,
    put_p50_ns: u64,
    put_p999_ns: u64,
    seconds: f64,
}

pub(super) fn run(args: &CoreArgs) -> ExitCode {
    match measure(args) {
        Ok(report) => {
            print(args, &report);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("tmem bench core: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What all modes work on.
struct Bench<'a> {
    args: &'a CoreArgs,
    objects: u32,
    corpus: Corpus,
    store: Arc<Store>,
    guest: Client,
    pool: PoolId,
}

fn measure(args: &CoreArgs) -> Result<Report, BenchError> {
    let corpus = match &args.corpus {
        Some(file) => Corpus::read(file)?,
        None => Corpus::made_up(),
    };
    let codec = Codec::from(args.codec);
    if args.room.is_some() && args.mode == Mode::Seq {
        return Err(BenchError::Room);
    }
    let capacity_bytes = (capacity(args.pages) as f64 * args.room.unwrap_or(1.0)) as u64;
    memory_suffices(args.pages, capacity_bytes)?;
    let copy_ns = if args.mode == Mode::Seq { bare_copy(&corpus, args.pages)? } else { 0.0 };
    let store = Store::new(StoreConfig {
        capacity_bytes,
        committed_bytes: capacity_bytes,
        codec,
        ..Default::default()
    })?;
    let guest = store.add_client(ClientConfig { name: "bench".into(), ..Default::default() })?;
    let kind = if args.room.is_some() { PoolKind::Ephemeral } else { PoolKind::Persistent };
    let pool = guest.new_pool(kind)?;
    let objects = if args.mode == Mode::Hot { 1 } else { args.objects };
    let bench = Bench { args, objects, corpus, store, guest, pool };
    let mut report = Report {
        mode: format!("{:?}", args.mode).to_lowercase(),
        codec: format!("{:?}", args.codec).to_lowercase(),
        pages: args.pages,
        objects,
        threads: if args.mode == Mode::Seq { 1 } else { args.threads },
        ..Default::default()
    };
    match args.mode {
        Mode::Seq => report.seq = Some(bench.seq(copy_ns)?),
        Mode::Churn | Mode::Hot => report.churn = Some(bench.churn()?),
    }
    Ok(report)
}

/// Bytes of a store with room for every page raw, a quarter for metadata of lone pages, and what magazines hold.
fn capacity(pages: u32) -> u64 {
    u64::from(pages) * PAGE_SIZE as u64 / 4 * 5 + (64 << 20)
}

/// Refuses what would push the machine out of memory: the store is committed when it is made.
fn memory_suffices(pages: u32, need: u64) -> Result<(), BenchError> {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    // Without that line nobody can tell.
    let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    match kib {
        Some(kib) if need > kib << 10 => {
            let most = (kib << 10).saturating_sub(64 << 20) / (PAGE_SIZE as u64 / 4 * 5);
            Err(BenchError::Memory { pages, need: need >> 20, have: kib >> 10, most })
        }
        _ => Ok(()),
    }
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
fn bare_copy(corpus: &Corpus, pages: u32) -> Result<f64, BenchError> {
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

impl Bench<'_> {
    fn key(&self, page: u32) -> Key {
        Key::new(u64::from(page % self.objects).into(), page / self.objects)
    }

    fn time(&self, each: impl FnMut(u32) -> Result<(), BenchError>) -> Result<f64, BenchError> {
        time(self.args.pages, each)
    }

    fn seq(&self, copy_ns: f64) -> Result<Seq, BenchError> {
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
        let put_ns =
            self.time(|n| Ok(self.guest.put(self.pool, &self.key(n), self.corpus.page(u64::from(n)))?))?;
        while self.args.codec != CodecChoice::Raw && self.store.maintain(Budget::at_once()).more {}
        let stats = self.store.stats();
        let mut page = [0; PAGE_SIZE];
        let get_ns = self.time(|n| {
            let found = self.guest.get(self.pool, &self.key(n), &mut page)?;
            let right = !self.args.verify || page == *self.corpus.page(u64::from(n));
            if found && right { Ok(()) } else { Err(BenchError::Wrong(n)) }
        })?;
        let flush_ns = self.time(|n| match self.guest.flush_page(self.pool, &self.key(n))? {
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

    fn churn(&self) -> Result<Churn, BenchError> {
        for n in (0..self.args.pages).step_by(2) {
            self.guest.put(self.pool, &self.key(n), self.corpus.page(u64::from(n)))?;
        }
        let over = AtomicBool::new(false);
        let start = Instant::now();
        let results: Vec<Result<Worker, BenchError>> = thread::scope(|scope| {
            let keeper = scope.spawn(|| self.keep(&over));
            let (over, bench) = (&over, &self);
            let threads = 1..=u64::from(self.args.threads);
            let threads: Vec<_> = threads.map(|seed| scope.spawn(move || bench.worker(seed, over))).collect();
            // Not a wait for anything: this is how long the user asked to measure.
            thread::sleep(Duration::from_secs_f64(self.args.seconds));
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
                let key = self.key(n);
                let what = (mixed >> 32) % 10;
                // One operation in sixteen is timed, so that the clock does not become what is measured.
                let start = (turn == 0).then(Instant::now);
                match what {
                    0..4 => self.guest.put(self.pool, &key, self.corpus.page(u64::from(n)))?,
                    4 => drop(self.guest.flush_page(self.pool, &key)?),
                    _ => {
                        let found = self.guest.get(self.pool, &key, &mut page)?;
                        if found && self.args.verify && page != *self.corpus.page(u64::from(n)) {
                            return Err(BenchError::Wrong(n));
                        }
                    }
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

fn print(args: &CoreArgs, report: &Report) {
    let value = serde_json::to_value(report).unwrap_or_default();
    if args.json {
        println!("{value}");
        return;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match value.as_f64() {
            Some(number) if value.is_f64() => println!("{name:<20} {number:>16.1}"),
            _ => println!("{name:<20} {:>16}", value.to_string().trim_matches('"')),
        }
    }
}
