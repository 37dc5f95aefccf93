//! `tmem bench`: measurements.

mod core;
mod corpus;
mod histogram;
mod hypercall;
mod made_up;
mod progress;
mod trace;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// Measures what tmem costs on this machine
#[derive(Args, Debug)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Core(core::CoreArgs),
    Hypercall(hypercall::HypercallArgs),
    Trace(trace::TraceArgs),
}

pub(super) fn run(args: &BenchArgs) -> ExitCode {
    match &args.what {
        What::Core(args) => core::run(args),
        What::Hypercall(args) => hypercall::run(args),
        What::Trace(args) => trace::run(args),
    }
}
