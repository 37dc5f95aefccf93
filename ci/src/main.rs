//! `cargo xtask`: everything around the code - setting a machine up, making what guests boot, the lab, the demo, the tests.

mod batching;
mod build;
mod choice;
mod command;
mod demo;
mod doctor;
mod effects;
mod files;
mod images;
mod lab;
mod parts;
mod paths;
mod programs;
mod setup;
mod smp;
mod table;
mod test;
mod torture;
mod units;
mod vmm_report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything around the code: setting a machine up, making what guests boot, the lab, the demo, the tests.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install the Debian packages that building and testing need.
    Setup {
        /// Only say what is missing; exit with 1 if anything is.
        #[arg(long)]
        check: bool,
        /// Also what `torture` needs.
        #[arg(long)]
        torture: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make everything that guests boot, or find it in the cache, and list it.
    Images {
        /// For guests with these kernels only; `debug` is made when it is named.
        #[arg(value_name = "KERNEL", default_values_t = tmem_images::KernelId::USUAL)]
        kernels: Vec<tmem_images::KernelId>,
        /// Print JSON, with the packages used.
        #[arg(long)]
        json: bool,
        /// Record the versions used in images/manifest.lock as the tested ones.
        #[arg(long)]
        lock: bool,
    },
    Lab(lab::cli::Args),
    Demo(demo::Args),
    Test(test::Args),
    Torture(torture::Args),
    Effects(effects::Args),
    Batching(batching::Args),
    Programs(programs::Args),
}

fn main() -> ExitCode {
    let status = match &Cli::parse().task {
        Task::Setup { check, torture, json } => status(setup::show(!check, *torture, *json)),
        Task::Images { kernels, json, lock } => status(images::main(kernels, *json, *lock)),
        Task::Lab(args) => lab::cli::main(args),
        Task::Demo(args) => status(demo::main(args)),
        Task::Test(args) => status(test::main(args)),
        Task::Torture(args) if args.smp => status(smp::main(args)),
        Task::Torture(args) => status(torture::main(args)),
        Task::Effects(args) => status(effects::main(args)),
        Task::Batching(args) => status(batching::main(args)),
        Task::Programs(args) => status(programs::main(args)),
    };
    // A status that does not fit is a failure all the same.
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

fn status<E: std::fmt::Display>(result: Result<(), E>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    }
}
