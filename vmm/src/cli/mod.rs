//! The command line of `tmem`.

mod bare_options;
mod bench;
mod control;
mod doctor;
mod outputs;
mod run;
mod selftest;
mod serve;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::session::StandardError;

/// Runs Linux guests on KVM that put pages they have no room for into one shared store (transcendent memory).
#[derive(Debug, Parser)]
#[command(name = "tmem", version, propagate_version = true)]
struct Cli {
    /// Say on standard error what happens in the VMM: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn")]
    log: LevelFilter,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    Serve(serve::ServeArgs),
    Control(control::ControlArgs),
    Selftest(selftest::SelftestArgs),
    Bench(bench::BenchArgs),
    Doctor(doctor::DoctorArgs),
}

/// Reads the command line, does what it says, and returns the exit status.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(cli.log)
        .with_writer(|| StandardError)
        // It would complain on standard error, which is what could not be written.
        .log_internal_errors(false)
        .init();
    if !matches!(cli.command, Command::Run(_) | Command::Serve(_) | Command::Control(_)) {
        end_with_the_reader();
    }
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Control(args) => control::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Doctor(args) => doctor::run(&args),
    }
}

/// A mistake on the command line of the command that `path` leads to, told as clap tells those that it finds itself.
fn wrong(path: &[&str], kind: ErrorKind, text: impl FnOnce(&clap::Command) -> String) -> clap::Error {
    let mut cli = Cli::command();
    cli.build();
    let found = path.iter().try_fold(&mut cli, |command, name| command.find_subcommand_mut(name));
    let command = found.expect("a command names itself");
    let text = text(command);
    command.error(kind, text)
}

/// Lets a closed pipe (`tmem doctor | head`) end the process, as other programs do; Rust would have it panic. Not for
/// `tmem run`, whose guests go on without anybody who reads what they say, and not for `tmem control`, which has to say so
/// when the session closes the socket.
fn end_with_the_reader() {
    // SAFETY: the default action is no handler that could run our code, and no other thread exists yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
