//! `tmem bench hypercall`: what a call costs a guest.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::super::bare_options::BareOptions;
use crate::bare::{self, BareError, BenchConfig, BenchReport};
use crate::kvm::System;

/// Measures hypercalls with bare guests on /dev/kvm
///
/// Every page that comes back is compared with what was put. Times are medians, taken in the guest. Exit status: 0
/// measured without an error, 1 with errors (their number and the first one are reported), 2 the guests could not be
/// run.
#[derive(Args, Debug)]
pub(in super::super) struct HypercallArgs {
    #[command(flatten)]
    bare: BareOptions,

    /// Guests at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    guests: u32,

    /// vCPUs of each guest.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    vcpus: u32,

    /// How long to measure.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,

    /// Pages in one batch; 0 measures no batches.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=512))]
    batch: u32,

    /// Print one JSON line instead of a table.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(value),
        _ => Err(format!("{text} is not a time: give seconds, more than 0 and at most 86400")),
    }
}

pub(super) fn run(args: &HypercallArgs) -> ExitCode {
    let report = match measure(args) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("tmem bench hypercall: {error}");
            return ExitCode::from(2);
        }
    };
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("a report of numbers and names is JSON"));
    } else {
        print!("{}", table(&report));
    }
    if report.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(args: &HypercallArgs) -> Result<BenchReport, BareError> {
    let system = System::open()?;
    let setting = args.bare.choose(&system)?;
    eprintln!(
        "measuring for {} s: {} guest(s) of {} vCPU(s), transport {}",
        args.seconds,
        args.guests,
        args.vcpus,
        setting.transport_name()
    );
    let config = BenchConfig {
        guests: args.guests,
        vcpus: args.vcpus,
        time: Duration::from_secs_f64(args.seconds),
        batch: args.batch,
        seed: 1,
    };
    bare::bench(&system, setting, config)
}

fn table(report: &BenchReport) -> String {
    let mut rows = vec![
        ("null call", report.null_ns, Some(report.null_p99_ns)),
        ("put", report.put_ns, Some(report.put_p99_ns)),
        ("put without a guest", report.core_put_ns, None),
        ("get", report.get_ns, Some(report.get_p99_ns)),
        ("flush", report.flush_ns, None),
    ];
    if let Some(batch) = &report.batch {
        rows.push(("put in a batch, per page", batch.put_ns_per_page, None));
        rows.push(("get in a batch, per page", batch.get_ns_per_page, None));
    }
    let mut text = format!("{:<26} {:>12} {:>12}\n", "", "median ns", "p99 ns");
    for (name, median, p99) in rows {
        let p99 = p99.map_or(String::new(), |value| format!("{value:.0}"));
        text += &format!("{name:<26} {median:>12.0} {p99:>12}\n");
    }
    text += &format!(
        "{:.0} operations/s, {} pages compared, {} errors ({} guest(s) of {} vCPU(s), {:.1} s, transport {}, {} level)\n",
        report.ops_per_s,
        report.verified_pages,
        report.errors,
        report.guests,
        report.vcpus,
        report.seconds,
        report.transport,
        report.privilege,
    );
    text += &format!("a put is {} of a null call and the store's put\n", report.put_ratio);
    if let Some(batch) = &report.batch {
        text += &format!(
            "a put in a batch of {} is {} of the store's put and its part of a null call\n",
            batch.n, batch.put_ratio
        );
    }
    if let Some(error) = &report.first_error {
        text += &format!("first error: {error}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_are_no_time_are_refused() {
        assert_eq!(seconds("0.5"), Ok(0.5));
        assert!(["0", "-1", "NaN", "inf", "x", "1e9"].iter().all(|text| seconds(text).is_err()));
    }
}
