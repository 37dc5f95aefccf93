//! The store's speed against others', in one process or in turn.

mod bare;
mod churn;
mod first_core;
#[path = "../../../../vmm/src/cli/bench/made_up.rs"]
mod made_up;
mod median;
mod memory;
mod ours;
mod peers;
mod plot;
mod random;
mod table;
mod targets;

use std::process::ExitCode;

const USAGE: &str = "\
tmem-peers [--pages N] [--threads N,N..] [--seconds S] [--rounds R] [--json] [--plot FILE.svg]
    The churn of `tmem bench core` against maps, caches and the first core.
tmem-peers targets [--rounds R] [--seconds S] [--only GROUP,GROUP..] [--huge] [--json]
    What the store is meant to reach, as ratios. Groups: seq, churn, hot, million.
    --huge: malloc, too, asks for huge pages, as the store does.
tmem-peers sample seq|copy|churn [--core ours|first|first-frames|bare] [--codec raw|lz4] [--pages N] [--objects N]
                                 [--clients N] [--threads N] [--seconds S]
    One measurement of those, in this process.";

fn run() -> Result<(), lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let mode = parser.try_raw_args().and_then(|args| args.peek().map(ToOwned::to_owned));
    match mode.as_ref().and_then(|mode| mode.to_str()) {
        Some("targets") => {
            parser.next()?;
            targets::run(parser)
        }
        Some("sample") => {
            parser.next()?;
            targets::sample(parser)
        }
        Some("--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => table::run(parser),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tmem-peers: {error}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}
