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
use std::thread;
use std::time::{Duration, Instant};

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
        _ => match begin(&args).and_then(|()| work(&args)) {
            Ok(tally) => ExitCode::from(u8::from(tally.corrupt > 0)),
            Err(error) => {
                eprintln!("tmem-workload: {error}");
                ExitCode::from(2)
            }
        },
    }
}

fn of_what(args: &Args) -> String {
    args.file.as_ref().map(|path| format!(" of {}", path.display())).unwrap_or_default()
}

/// Returns when it is time to begin.
fn begin(args: &Args) -> io::Result<()> {
    let Some((name, least)) = &args.when else { return Ok(()) };
    let unknown = || io::Error::other(format!("no counter {name} is here to wait for"));
    while counters::named(name).ok_or_else(unknown)? < *least {
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Does the phases that the task consists of and tells the result.
fn work(args: &Args) -> io::Result<Tally> {
    let memory = match &args.file {
        Some(path) => Memory::file(path, args.pages),
        None => Memory::anonymous(args.pages, args.huge),
    };
    let mut memory = memory.map_err(|error| {
        io::Error::other(format!("cannot map {} pages{}: {error}", args.pages, of_what(args)))
    })?;
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
        let tally =
            tally.and(reporter.watch(&engine, phase, args.pages, || engine.run(phase, memory.pages())));
        if matches!(phase, Phase::Touch(_)) {
            thread::sleep(args.rest);
        }
        tally
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
