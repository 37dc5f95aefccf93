//! The command line of `tmem`.

mod bare_options;
mod bench;
mod doctor;
mod run;
mod selftest;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs Linux guests on KVM that put pages they have no room for into one shared store (transcendent memory).
#[derive(Debug, Parser)]
#[command(name = "tmem", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Selftest(selftest::SelftestArgs),
    Bench(bench::BenchArgs),
    Doctor(doctor::DoctorArgs),
}

/// Reads the command line, does what it says, and returns the exit status.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    }
}
