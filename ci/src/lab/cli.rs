//! The command line of `cargo xtask lab`.

use std::path::PathBuf;
use std::time::Duration;

use super::watch::Limits;
use super::{Added, Job, Lab, LabError, Outcome, repeat::Tally};

/// Exit status of `cargo xtask lab` when the lab itself failed, so that it is not mistaken for the command's.
const LAB_FAILED: i32 = 125;

/// Run a command on an emulated AMD machine with KVM, where `tmem` and the images are at hand.
///
/// The command's output and exit status are passed through; 125 means that the lab itself failed, and the error says how.
/// In there: `tmem` in PATH, each guest's kernel and initramfs in /images/KERNEL (bzImage, vmlinux, initramfs), busybox's
/// tools, and what --add added. Files that the command leaves in /out arrive in the --out folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Add a file or program; without PATH it lands in /lab under its own name.
    #[arg(long = "add", value_name = "FILE[:PATH]", value_parser = there)]
    added: Vec<Added>,
    /// A guest kernel whose images are to be in /images.
    #[arg(long = "guest", value_name = "KERNEL", default_values_t = super::contents::USUAL_GUESTS)]
    guests: Vec<tmem_images::KernelId>,
    /// Memory of the emulated host, disks in its /tmp and all guests included.
    #[arg(long, value_name = "SIZE", default_value = "3G", value_parser = crate::units::parse_mib)]
    memory: u32,
    /// Longest time from power-on to power-off.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = crate::units::parse)]
    timeout: Duration,
    /// Longest time without a byte from anyone; then registers and console tails are asked for and the run fails.
    #[arg(long, value_name = "TIME", default_value = "120s", value_parser = crate::units::parse)]
    silence: Duration,
    /// Where the command's /out goes.
    #[arg(long, value_name = "DIR", default_value = "target/lab/out")]
    out: PathBuf,
    /// Run N times and count how often it goes wrong.
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Where the count of --repeat is written.
    #[arg(long, value_name = "FILE", default_value = "target/lab/repeat.json", requires = "repeat")]
    record: PathBuf,
    /// The command, given to /bin/sh -c; several words are joined with spaces, as ssh does.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A file to add, if there is one.
fn there(text: &str) -> Result<Added, String> {
    let added: Added = text.parse()?;
    let kind = std::fs::metadata(&added.from).map_err(|error| error.to_string())?;
    if kind.is_file() { Ok(added) } else { Err("not a file".into()) }
}

/// Runs it; the answer is the exit status.
pub(crate) fn main(args: &Args) -> i32 {
    let job = Job {
        added: args.added.clone(),
        guests: args.guests.clone(),
        memory_mib: args.memory,
        limits: Limits { silence: args.silence, total: args.timeout, ..Limits::default() },
        out: args.out.clone(),
        progress: Some("lab".into()),
        ..Job::new(&args.command.join(" "))
    };
    let result = Lab::prepare().and_then(|lab| match args.repeat {
        None => lab.run(&job, &mut std::io::stdout()).map(|outcome| outcome.status),
        Some(times) => repeat(&lab, &job, times, args),
    });
    result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        LAB_FAILED
    })
}

fn repeat(lab: &Lab, job: &Job, times: u32, args: &Args) -> Result<i32, LabError> {
    let mut results: Vec<Result<Outcome, LabError>> = Vec::new();
    for run in 1..=times {
        let result = lab.run(job, &mut std::io::stdout());
        match &result {
            Ok(outcome) => {
                let seconds = outcome.took.as_secs();
                eprintln!("lab: run {run} of {times}: exit status {} after {seconds} s", outcome.status);
            }
            Err(error) => eprintln!("lab: run {run} of {times}: {error}"),
        }
        results.push(result);
    }
    let tally = Tally::new(job, super::qemu::version(), lab.host_kernel()?, &results);
    eprintln!("{}", tally.line());
    crate::files::write_json(&args.record, &tally)?;
    Ok(i32::from(!tally.all_good()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_that_are_there_can_be_added() {
        assert!(there("Cargo.toml:/lab/x").is_ok(), "tests run in their package's folder");
        assert_eq!(there("src").unwrap_err(), "not a file");
        assert!(there("nosuch").unwrap_err().contains("No such file"));
    }
}
