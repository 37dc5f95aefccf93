//! `tmem bench trace`: how often a block trace finds its pages in a store of limited size.

mod front;
mod read;
mod replay;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use tmem_core::Eviction;

use read::TraceError;
use replay::{Replay, Report};

/// Replays a trace of block numbers through an ephemeral pool that holds a part of them
///
/// Every request is a get. Without --front-lru the pool is a plain cache: what the get found or missed is put again.
/// With it the pool is a victim cache, as in life: a simulated guest keeps so many blocks in LRU order, only what it
/// misses is a get, and what it evicts is put.
///
/// The pool is a real one. Each page holds its block's number, which is compared when it comes back. Pages are limited
/// by count: before a put of one page too many the store evicts one of its own choice (Client::shrink), and at the end
/// the store's count is compared with the bench's. The store has one index shard unless --shards says otherwise, since
/// each shard has a policy of its own.
///
/// Prints requests = front_hits + hits + misses, and miss_ratio = misses / (hits + misses). Exit status: 0 replayed, 1
/// the store gave a wrong answer, 2 not replayed (what is wrong with the command line or the trace is said on standard
/// error).
#[derive(Args, Debug)]
pub(in super::super) struct TraceArgs {
    /// The trace.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    /// How the trace is written.
    #[arg(long, value_enum)]
    format: Format,

    /// Pages in the pool, as a fraction of the trace's distinct blocks, more than 0 and at most 1.
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    capacity: f64,

    /// Blocks that the simulated guest keeps itself; 0 for none.
    #[arg(long, value_name = "PAGES", default_value_t = 0)]
    front_lru: u32,

    /// Eviction policy: lru, lirs, s3-fifo, w-tinylfu or adaptive.
    #[arg(long, value_name = "POLICY", default_value_t = Eviction::default())]
    policy: Eviction,

    /// Index shards of the store: a power of two to 4096, or 0 to choose by the store's size.
    #[arg(long, default_value_t = 1)]
    shards: usize,

    /// Print one JSON line instead of a table.
    #[arg(long)]
    json: bool,
}

/// How a trace is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Block numbers of 32 bits, little-endian.
    U32le,
    /// A line for each request: a block number, or the first number and a count of blocks (more numbers are ignored).
    /// Lines that are empty or a star are skipped.
    Text,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(value),
        _ => Err(format!(
            "{text} is not a part of the distinct blocks: give more than 0 and at most 1, such as 0.1"
        )),
    }
}

pub(super) fn run(args: &TraceArgs) -> ExitCode {
    match measure(args) {
        Ok(report) if args.json => {
            println!("{}", serde_json::to_string(&report).expect("a report of numbers and names is JSON"));
            ExitCode::SUCCESS
        }
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tmem bench trace: {error}");
            match error {
                TraceError::Wrong { .. } | TraceError::Count { .. } => ExitCode::FAILURE,
                _ => ExitCode::from(2),
            }
        }
    }
}

fn measure(args: &TraceArgs) -> Result<Report, TraceError> {
    let trace = read::read(&args.input, args.format)?;
    let distinct = trace.blocks.len();
    let pages = (distinct as f64 * args.capacity) as usize;
    if pages == 0 {
        return Err(TraceError::NoPages { fraction: args.capacity, distinct });
    }
    Replay { pages, front: args.front_lru as usize, policy: args.policy, shards: args.shards }.run(&trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_that_are_no_fraction_are_refused() {
        assert_eq!(fraction("0.05"), Ok(0.05));
        assert_eq!(fraction("1"), Ok(1.0));
        assert!(["0", "-0.1", "1.01", "NaN", "5%", ""].iter().all(|text| fraction(text).is_err()));
    }
}
