//! `tmem selftest`: what the ABI promises, tried on this machine by bare guests.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tmem_bare::control::Verdict;
use tmem_bare::layout::MAX_VCPUS;

use super::bare_options::BareOptions;
use crate::bare::{self, Attack, BareError, CaseResult, Setting, Step};
use crate::kvm::{System, Transport};

/// Tries what tmem promises to guests on this machine's KVM, case by case, and attacks it
///
/// Bare guests (no operating system) make real hypercalls. Exit status: 0 all cases passed or were skipped, 1 a case
/// failed, 2 the guests could not be run.
#[derive(Args, Debug)]
pub(super) struct SelftestArgs {
    #[command(flatten)]
    bare: BareOptions,

    /// Where random numbers start; a failed run names its seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Steps of each of the attacker's vCPUs.
    #[arg(long, default_value_t = 2000)]
    steps: u64,

    /// vCPUs of the attacker, 1 to 64.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_VCPUS)))]
    vcpus: u32,

    /// Print one JSON object instead of a line for each case.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &SelftestArgs) -> ExitCode {
    match try_run(args) {
        Ok((setting, results)) => report(args, setting, &results),
        Err(error) => {
            if io::stderr().is_terminal() {
                eprint!("{ERASE}");
            }
            eprintln!("tmem selftest: {error}");
            ExitCode::from(2)
        }
    }
}

fn try_run(args: &SelftestArgs) -> Result<(Setting, Vec<CaseResult>), BareError> {
    let system = System::open()?;
    let setting = args.bare.choose(&system)?;
    let terminal = io::stderr().is_terminal();
    let show = |step: &Step| {
        if terminal {
            eprint!("{}", aside(step));
        }
        if let (Step::Ended(case), false) = (step, args.json) {
            println!("{}", line(case));
        }
    };
    let mut results = bare::selftest(&system, setting, args.seed, show)?;
    if setting.transport == Transport::Xen {
        results.extend(bare::user_mode(&system, show)?);
    }
    let attack = Attack { seed: args.seed, steps: args.steps, vcpus: args.vcpus };
    results.extend(bare::attack(&system, setting, attack, show)?);
    Ok((setting, results))
}

/// Empties a terminal's line.
const ERASE: &str = "\r\x1b[K";

/// What a terminal shows while a case runs: a line that is gone when it has ended.
fn aside(step: &Step) -> String {
    match step {
        Step::Begins(name) => format!("{ERASE}run   {name}"),
        Step::Ended(_) => ERASE.into(),
    }
}

fn line(case: &CaseResult) -> String {
    match case.verdict {
        Verdict::Passed => format!("pass  {}", case.name),
        Verdict::Skipped => format!("skip  {} ({})", case.name, case.why),
        Verdict::Failed => format!("FAIL  {}: {}", case.name, case.why),
    }
}

fn report(args: &SelftestArgs, setting: Setting, results: &[CaseResult]) -> ExitCode {
    let count = |verdict| results.iter().filter(|case| case.verdict == verdict).count();
    let (passed, failed, skipped) = (count(Verdict::Passed), count(Verdict::Failed), count(Verdict::Skipped));
    let (transport, privilege) = (setting.transport_name(), setting.privilege_name());
    if args.json {
        let cases: Vec<_> = results
            .iter()
            .map(|case| {
                let verdict = match case.verdict {
                    Verdict::Passed => "passed",
                    Verdict::Failed => "failed",
                    Verdict::Skipped => "skipped",
                };
                json!({ "name": case.name, "verdict": verdict, "why": case.why })
            })
            .collect();
        let report = json!({
            "transport": transport, "privilege": privilege, "seed": args.seed,
            "passed": passed, "failed": failed, "skipped": skipped, "cases": cases,
        });
        println!("{report}");
    } else {
        println!(
            "{passed} passed, {failed} failed, {skipped} skipped (transport {transport}, guest code at {privilege} \
             level, seed {})",
            args.seed
        );
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_when_it_begins_is_named_and_when_it_ends_leaves_its_line_empty() {
        assert!(aside(&Step::Begins("put".into())).ends_with("run   put"));
        let case = CaseResult { name: "put".into(), verdict: Verdict::Passed, why: String::new() };
        assert_eq!(aside(&Step::Ended(case)), ERASE);
    }
}
