//! `tmem bench`: measurements.

mod hypercall;

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
    Hypercall(hypercall::HypercallArgs),
}

pub(super) fn run(args: &BenchArgs) -> ExitCode {
    match &args.what {
        What::Hypercall(args) => hypercall::run(args),
    }
}
