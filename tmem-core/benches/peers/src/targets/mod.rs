//! What the store is meant to reach, measured as ratios in one run: ours and what it is compared with in turn, each sample in
//! a process of its own, and the median of the rounds' ratios.

mod plan;
mod report;
mod sample;
mod spec;
#[cfg(test)]
mod tests;

use std::process::{Command, Stdio};

use lexopt::Parser;
use serde_json::{Value, json};

use plan::{GROUPS, Sample};
use report::{HEAD, Line, Samples};
use spec::Spec;

struct Options {
    rounds: u32,
    seconds: f64,
    only: Vec<String>,
    huge: bool,
    json: bool,
}

fn options(mut parser: Parser) -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let only = GROUPS.map(str::to_owned).to_vec();
    let mut options = Options { rounds: 5, seconds: 2.0, only, huge: false, json: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("seconds") => options.seconds = parser.value()?.parse_with(crate::churn::seconds)?,
            Long("only") => {
                options.only = parser.value()?.string()?.split(',').map(str::to_owned).collect();
                if let Some(unknown) = options.only.iter().find(|group| !GROUPS.contains(&group.as_str())) {
                    return Err(format!("--only {unknown}: give some of {}", GROUPS.join(",")).into());
                }
            }
            Long("huge") => options.huge = true,
            Long("json") => options.json = true,
            _ => return Err(arg.unexpected()),
        }
    }
    if options.rounds == 0 {
        return Err("--rounds must be more than 0".into());
    }
    Ok(options)
}

/// `tmem-peers sample`: one measurement, as a line of JSON.
pub(crate) fn sample(parser: Parser) -> Result<(), lexopt::Error> {
    let spec = Spec::parse(parser)?;
    crate::memory::suffices(spec.pages)?;
    println!("{}", sample::measure(&spec));
    Ok(())
}

/// `tmem-peers targets`.
pub(crate) fn run(parser: Parser) -> Result<(), lexopt::Error> {
    let options = options(parser)?;
    let wanted = |group: &str| options.only.iter().any(|only| only == group);
    let mut samples = Samples::new();
    for round in 1..=options.rounds {
        for sample in plan::samples(options.seconds).iter().filter(|sample| wanted(sample.group)) {
            let measured = in_process(sample, options.huge)?;
            eprintln!("round {round} of {}: {}: {measured}", options.rounds, sample.name);
            samples.entry(sample.name).or_default().push(measured);
        }
    }
    let rows = plan::rows();
    let lines = rows.iter().filter(|row| wanted(row.group)).map(|row| Line::new(row, &samples));
    if options.json {
        let report = json!({
            "rounds": options.rounds, "seconds": options.seconds, "malloc_huge_pages": options.huge,
            "first_core_lock": if cfg!(feature = "mutex") { "mutex" } else { "spin" },
            "rows": lines.map(|line| line.json()).collect::<Vec<_>>(), "samples": samples,
        });
        println!("{report}");
        return Ok(());
    }
    println!("{HEAD}");
    lines.for_each(|line| println!("{}", line.text()));
    Ok(())
}

/// Measures in a new process of this program: nothing has touched its heap.
fn in_process(sample: &Sample, huge: bool) -> Result<Value, lexopt::Error> {
    let program = std::env::current_exe().map_err(|why| format!("cannot find this program: {why}"))?;
    let mut command = Command::new(program);
    command.args(sample.spec.arguments()).stderr(Stdio::inherit());
    if huge {
        command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");
    }
    let output =
        command.output().map_err(|why| format!("cannot start a process for {}: {why}", sample.name))?;
    let measured = serde_json::from_slice(&output.stdout).ok().filter(|_| output.status.success());
    let asked = sample.spec.arguments().join(" ");
    Ok(measured.ok_or_else(|| {
        format!(
            "{}: `tmem-peers {asked}` did not measure ({}): what it says is above",
            sample.name, output.status
        )
    })?)
}
