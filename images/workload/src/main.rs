//! `tmem-workload`: memory of known contents, touched and verified page by page, in a guest or anywhere else.
//!
//! | layer | modules |
//! |---|---|
//! | what is asked | `args` |
//! | what is done | `engine`, on `memory` |
//! | what a page holds and which is next | `content`, `pattern`, over `random` |
//! | what is told | `report`, `counters`, `json` |

mod args;
mod content;
mod counters;
mod engine;
mod json;
mod memory;
mod pattern;
mod random;
mod report;

use std::io;
use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crate::args::{Args, HELP, Task};
use crate::content::Contents;
use crate::counters::Counters;
use crate::engine::{Engine, Phase, Tally};
use crate::json::Object;
use crate::memory::Memory;
use crate::report::Reporter;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(error) => {
            eprintln!("tmem-workload: {error}");
            return ExitCode::from(2);
        }
    };
    match args.task {
        Task::Help => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Task::Counters => {
            let report =
                Counters::now().add_to(Object::event("counters")).object("tmem", &counters::driver());
            Reporter::new(args.form).tell(&report);
            if let Some(hooks) = counters::hooks() {
                Reporter::new(args.form).tell(&hooks);
            }
            ExitCode::SUCCESS
        }
        _ => match work(&args) {
            Ok(tally) => ExitCode::from(u8::from(tally.corrupt > 0)),
            Err(error) => {
                eprintln!("tmem-workload: cannot map {} pages{}: {error}", args.pages, of_what(&args));
                ExitCode::from(2)
            }
        },
    }
}

fn of_what(args: &Args) -> String {
    args.file.as_ref().map(|path| format!(" of {}", path.display())).unwrap_or_default()
}

/// Does the phases that the task consists of and tells the result.
fn work(args: &Args) -> io::Result<Tally> {
    let mut memory = match &args.file {
        Some(path) => Memory::file(path, args.pages)?,
        None => Memory::anonymous(args.pages, args.huge)?,
    };
    let engine = Engine {
        contents: Contents { seed: args.seed, mix: args.mix, write_share: args.write_share },
        pattern: args.pattern,
        threads: args.threads,
        done: AtomicU64::new(0),
    };
    let reporter = Reporter::new(args.form);
    let before = Counters::now();
    let start = Instant::now();
    let tally = phases(args).into_iter().fold(Tally::default(), |tally, phase| {
        tally.and(reporter.watch(&engine, phase, args.pages, || engine.run(phase, memory.pages())))
    });
    let elapsed = start.elapsed();
    reporter.result(args, &tally, elapsed, &Counters::now().since(&before));
    Ok(tally)
}

fn phases(args: &Args) -> Vec<Phase> {
    match args.task {
        Task::Fill => vec![Phase::Fill],
        Task::Touch => vec![Phase::Touch(args.pass)],
        Task::Verify => vec![Phase::Verify(args.passes)],
        _ => {
            let touches = (1..=args.passes).map(Phase::Touch);
            std::iter::once(Phase::Fill).chain(touches).chain([Phase::Verify(args.passes)]).collect()
        }
    }
}
