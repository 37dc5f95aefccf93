//! The table and the plot: the churn of `tmem bench core` against maps and caches that hold the same pages of 4 KiB in memory.
//!
//! The others hold each page in a box; they know no clients, limits or compression, and no guest's page is charged to it.

use lexopt::Parser;

use crate::churn::{Churn, noise, rate, seconds};
use crate::median::median;
use crate::peers::Peer;
use crate::plot;

/// What to measure.
struct Options {
    pages: u32,
    threads: Vec<u32>,
    seconds: f64,
    rounds: usize,
    json: bool,
    plot: Option<String>,
}

/// Millions of operations a second of one peer, for each number of threads.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) rates: Vec<f64>,
}

fn options(mut parser: Parser) -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options =
        Options { pages: 100_000, threads: vec![1, 2], seconds: 1.0, rounds: 3, json: false, plot: None };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("pages") => options.pages = parser.value()?.parse()?,
            Long("threads") => {
                let text = parser.value()?.string()?;
                options.threads = text
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .map_err(|_| format!("--threads {text}: give numbers of threads such as 1,2"))?;
            }
            Long("seconds") => options.seconds = parser.value()?.parse_with(seconds)?,
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("json") => options.json = true,
            Long("plot") => options.plot = Some(parser.value()?.string()?),
            _ => return Err(arg.unexpected()),
        }
    }
    if options.pages == 0 || options.rounds == 0 || options.threads.contains(&0) {
        return Err("--pages, --rounds and --threads must be more than 0".into());
    }
    Ok(options)
}

/// Measures all peers in turn, `rounds` times, and takes each one's median.
fn measure(options: &Options) -> Vec<Row> {
    let makers = <dyn Peer>::ALL;
    let mut samples = vec![vec![Vec::new(); options.threads.len()]; makers.len()];
    for round in 1..=options.rounds {
        for ((name, make), of_peer) in makers.iter().zip(&mut samples) {
            eprintln!("round {round} of {}: {name}", options.rounds);
            let peer = make(options.pages);
            let churn = Churn::new(&*peer, options.pages, noise());
            for (threads, samples) in options.threads.iter().zip(of_peer) {
                samples.push(rate(&churn, *threads, options.seconds).million_ops_per_s);
            }
        }
    }
    makers
        .iter()
        .zip(samples)
        .map(|((name, _), samples)| Row {
            name,
            rates: samples.iter().map(|samples| median(samples)).collect(),
        })
        .collect()
}

pub(crate) fn run(parser: Parser) -> Result<(), lexopt::Error> {
    let options = options(parser)?;
    crate::memory::suffices(options.pages)?;
    let rows = measure(&options);
    if let Some(file) = &options.plot
        && let Err(error) = std::fs::write(file, plot::svg(&options.threads, &rows))
    {
        return Err(format!(
            "cannot write the plot {file}: {error}; give a file in a directory that is there"
        )
        .into());
    }
    if options.json {
        let rows =
            rows.iter().map(|row| (row.name, &row.rates)).collect::<std::collections::BTreeMap<_, _>>();
        let report = serde_json::json!({
            "pages": options.pages, "threads": options.threads, "seconds": options.seconds,
            "rounds": options.rounds, "million_ops_per_s": rows,
        });
        println!("{report}");
        return Ok(());
    }
    println!("| million operations a second | {} |", heads(&options.threads));
    println!("|---|{}", "---|".repeat(options.threads.len()));
    for row in &rows {
        let cells: Vec<_> = row.rates.iter().map(|rate| format!("{rate:.2}")).collect();
        println!("| {} | {} |", row.name, cells.join(" | "));
    }
    Ok(())
}

/// Column titles.
pub(crate) fn heads(threads: &[u32]) -> String {
    let head = |n: &u32| if *n == 1 { "1 thread".to_owned() } else { format!("{n} threads") };
    threads.iter().map(head).collect::<Vec<_>>().join(" | ")
}
