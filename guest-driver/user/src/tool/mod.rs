//! The subcommands.

mod files;
mod json;
mod selftest;
mod shrink;
mod stat;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use lexopt::prelude::*;

/// The ABI's unit.
const PAGE_BYTES: u64 = 4096;

const HELP: &str = "\
tmem-guest: what a guest's owner wants of tmem

USAGE
  tmem-guest stat [--json]                 what the driver, the kernel and the host have counted
  tmem-guest shrink [OPTIONS] [-- COMMAND ARGUMENT...]
                                           give memory back to the host while nobody misses it, until COMMAND ends
  tmem-guest selftest [DEVICE]             check the rules of /dev/tmem, case by case; as root, with nobody else using it

OPTIONS of shrink                                                          default
  --for SECONDS       end after this time, if no COMMAND is given           run for ever
  --until SIZE        end as soon as so much was reclaimed, such as 64M     run for ever
  --every SECONDS     how often to look                                     2
  --floor PERCENT     of the memory, below which nothing more is asked for  20
  --pressure PERCENT  of the time in which somebody waited for memory (PSI), from which on to stop    1
  --order N           report free blocks of 2^N pages and more, meanwhile   4
  --report            tell what was done as a line that begins with TMEM-REPORT
SIGINT and SIGTERM end it as well, with a COMMAND as soon as that has ended; SIGTERM is passed on to it.
";

/// What to do.
#[derive(Debug)]
pub(crate) enum Task {
    Help,
    Stat { json: bool },
    Shrink(shrink::Options),
    Selftest { device: PathBuf },
}

impl Task {
    /// Reads the words after the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        let mut parser = lexopt::Parser::from_args(words);
        let mut task = match parser.next()? {
            None => return Err("say what to do: stat, shrink, selftest; --help explains".into()),
            Some(Short('h') | Long("help")) => return Ok(Self::Help),
            Some(Value(word)) if word == "stat" => Self::Stat { json: false },
            Some(Value(word)) if word == "shrink" => Self::Shrink(shrink::Options::default()),
            Some(Value(word)) if word == "selftest" => Self::Selftest { device: "/dev/tmem".into() },
            Some(other) => return Err(other.unexpected()),
        };
        while let Some(arg) = parser.next()? {
            match (&mut task, arg) {
                (_, Short('h') | Long("help")) => return Ok(Self::Help),
                (Self::Stat { json }, Long("json")) => *json = true,
                (Self::Selftest { device }, Value(path)) => *device = path.into(),
                (Self::Shrink(options), Long("for")) => {
                    options.duration = Some(parser.value()?.parse_with(seconds)?);
                }
                (Self::Shrink(options), Long("until")) => {
                    options.until = Some(parser.value()?.parse_with(size)?);
                }
                (Self::Shrink(options), Long("every")) => {
                    options.every = parser.value()?.parse_with(seconds)?
                }
                (Self::Shrink(options), Long("floor")) => {
                    options.floor = parser.value()?.parse_with(percent)?
                }
                (Self::Shrink(options), Long("pressure")) => {
                    options.pressure = parser.value()?.parse_with(percent)?;
                }
                (Self::Shrink(options), Long("order")) => {
                    options.order = parser.value()?.parse_with(order)?
                }
                (Self::Shrink(options), Long("report")) => options.report = true,
                (Self::Shrink(options), Value(program)) => {
                    options.command = std::iter::once(program).chain(parser.raw_args()?).collect();
                }
                (_, other) => return Err(other.unexpected()),
            }
        }
        Ok(task)
    }

    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        match self {
            Self::Help => {
                print!("{HELP}");
                ExitCode::SUCCESS
            }
            Self::Stat { json } => stat::run(json),
            Self::Shrink(options) => match shrink::run(&options) {
                Ok(code) => code,
                Err(error) => {
                    eprintln!("tmem-guest: {error}");
                    ExitCode::from(2)
                }
            },
            Self::Selftest { device } => selftest::run(&device),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds: u64 = text.parse().map_err(|_| "not a whole number of seconds")?;
    if (1..=86_400 * 365).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("at least a second")
    }
}

/// Pages of a size in bytes, with K, M or G.
fn size(text: &str) -> Result<u64, &'static str> {
    let why = "not a size of a page or more, such as 64M";
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return Err(why),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or(why)?;
    Some(bytes / PAGE_BYTES).filter(|pages| *pages > 0).ok_or(why)
}

fn percent(text: &str) -> Result<u64, &'static str> {
    let why = "not a percentage from 1 to 100";
    text.parse().ok().filter(|percent| (1..=100).contains(percent)).ok_or(why)
}

/// The kernel's own limit is MAX_PAGE_ORDER (include/linux/mmzone.h), 10 on x86.
fn order(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|order| *order <= 10).ok_or("not an order from 0 to 10")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Task, String> {
        Task::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn shrink_when_a_command_follows_leaves_its_words_alone() {
        let Ok(Task::Shrink(options)) = parse("shrink --floor 30 --until 2M --order 3 -- sh --every -c x")
        else {
            panic!("not understood")
        };
        assert_eq!(options.until, Some(512));
        assert_eq!((options.floor, options.order, options.every.as_secs()), (30, 3, 2));
        assert_eq!(options.command, ["sh", "--every", "-c", "x"]);
    }

    #[test]
    fn words_that_make_no_sense_are_refused() {
        for (line, says) in [
            ("", "say what to do"),
            ("dance", "dance"),
            ("stat --floor 3", "--floor"),
            ("shrink --floor 0", "1 to 100"),
            ("shrink --order 11", "0 to 10"),
            ("shrink --every 0", "at least a second"),
            ("shrink --until 4095", "such as 64M"),
            ("shrink --until 4MM", "such as 64M"),
            ("shrink --until 99999999999G", "such as 64M"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
