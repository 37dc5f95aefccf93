//! `tmem bench core`: what the store costs without a guest.

mod load;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tmem_core::{ClientConfig, Codec, OpError, PAGE_SIZE, PoolKind, Store, StoreConfig};

use crate::config::CodecChoice;

use super::corpus::{Corpus, CorpusError};
use super::progress::Progress;
use load::{Load, bare_copy};

/// Measures the store itself, in this process, with no guest
///
/// Exit status: 0 measured, 1 the store gave a wrong answer, 2 not measured (what is wrong with the command line, the
/// corpus or the machine is said on standard error).
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

    /// Clients that the objects are spread over, each with a pool of its own: object o is client o mod N's.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    clients: u32,

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
    #[error(
        "--clients {clients} needs as many objects, and there are {objects}: each object is one client's"
    )]
    Clients { clients: u32, objects: u32 },
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
    clients: u32,
    threads: u32,
    /// Part of all pages that the store has room for; nothing for all, in a persistent pool.
    room: Option<f64>,
    /// Pages that puts pushed out.
    evicted: u64,
    put_copy: String,
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
            if let BenchError::Wrong(_) = why { ExitCode::FAILURE } else { ExitCode::from(2) }
        }
    }
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
    let objects = if args.mode == Mode::Hot { 1 } else { args.objects };
    if args.clients > objects {
        return Err(BenchError::Clients { clients: args.clients, objects });
    }
    let capacity_bytes = (capacity(args.pages) as f64 * args.room.unwrap_or(1.0)) as u64;
    memory_suffices(args.pages, capacity_bytes)?;
    let progress = Progress::start();
    let copy_ns = if args.mode == Mode::Seq {
        progress.step(format!("copying {} pages, to compare with", args.pages));
        bare_copy(&corpus, args.pages)?
    } else {
        0.0
    };
    progress.step(format!("making a store of {} MiB", capacity_bytes >> 20));
    let store = Store::new(StoreConfig {
        capacity_bytes,
        committed_bytes: capacity_bytes,
        codec,
        ..Default::default()
    })?;
    let put_copy = store.put_copy().to_string();
    let kind = if args.room.is_some() { PoolKind::Ephemeral } else { PoolKind::Persistent };
    let guests = (0..args.clients).map(|n| {
        let guest = store.add_client(ClientConfig { name: format!("bench{n}"), ..Default::default() })?;
        let pool = guest.new_pool(kind)?;
        Ok((guest, pool))
    });
    let guests = guests.collect::<Result<_, BenchError>>()?;
    let load = Load { args, progress, objects, corpus, store, guests };
    let mut report = Report {
        mode: format!("{:?}", args.mode).to_lowercase(),
        codec: format!("{:?}", args.codec).to_lowercase(),
        pages: args.pages,
        objects,
        clients: args.clients,
        threads: if args.mode == Mode::Seq { 1 } else { args.threads },
        room: args.room,
        put_copy,
        ..Default::default()
    };
    match args.mode {
        Mode::Seq => report.seq = Some(load.seq(copy_ns)?),
        Mode::Churn | Mode::Hot => report.churn = Some(load.churn()?),
    }
    report.evicted = load.guests.iter().map(|(guest, _)| guest.counters().evicted).sum();
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

fn print(args: &CoreArgs, report: &Report) {
    let value = serde_json::to_value(report).unwrap_or_default();
    if args.json {
        println!("{value}");
        return;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match value.as_f64() {
            Some(number) if value.is_f64() => println!("{name:<20} {number:>16.1}"),
            _ if value.is_null() => println!("{name:<20} {:>16}", "-"),
            _ => println!("{name:<20} {:>16}", value.to_string().trim_matches('"')),
        }
    }
}
