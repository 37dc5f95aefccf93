//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::content::{Mix, PAGE_BYTES};
use crate::memory::HugePages;
use crate::pattern::Pattern;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
tmem-workload: memory of known contents, touched and verified page by page

USAGE
  tmem-workload run       fill anonymous memory, or --file, touch it in passes, verify it
  tmem-workload fill      give the pages of --file their first contents
  tmem-workload touch     do pass number --pass over --file: check every page, rewrite some
  tmem-workload verify    check that --passes passes have left --file as they should
  tmem-workload counters  print what the kernel and the tmem driver have counted

OPTIONS                                                                   default
  --memory SIZE       how much, in bytes or with K, M, G                  64M
  --passes N          passes of touching; for verify: passes done         3
  --pass N            for touch: number of the pass, from 1               1
  --pattern NAME      sequential, looping, uniform, zipf                  sequential
  --write-share N     of a hundred pages, how many a pass rewrites        20
  --mix LIST          shares of content, which add up to 100              zero=10:same=5:text=40:binary=25:random=20
  --seed N            contents and patterns follow from it                1
  --threads N         each has its own part of the memory                 1
  --thp WHEN          huge pages: system, never, always                   system
  --file PATH         work on a file instead of anonymous memory
  --rest SECONDS      do nothing for so long after each pass              0
  --when NAME=N       begin when a counter is N or more: a line of /proc/vmstat, or one of tmem's   now
  --json              one JSON object per line instead of text
  --report            the same, each line prefixed with `TMEM-REPORT `

Every page is checked in every pass. The exit status is 0 if all was well, 1 if a page was corrupt, 2 if the work
could not be done. A file must not be used by anything else meanwhile.
";

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Run,
    Fill,
    Touch,
    Verify,
    Counters,
    Help,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    /// JSON for a machine that reads a console.
    Report,
}

/// A whole command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) task: Task,
    pub(crate) pages: usize,
    pub(crate) passes: u64,
    pub(crate) pass: u64,
    pub(crate) pattern: Pattern,
    pub(crate) write_share: u64,
    pub(crate) mix: Mix,
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) huge: HugePages,
    pub(crate) file: Option<PathBuf>,
    pub(crate) rest: Duration,
    pub(crate) when: Option<(String, u64)>,
    pub(crate) form: Form,
}

impl Args {
    /// Reads the words after the program's name.
    pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        let mut args = Self {
            task: Task::Help,
            pages: 64 << 20 >> 12,
            passes: 3,
            pass: 1,
            pattern: Pattern::Sequential,
            write_share: 20,
            mix: Mix::USUAL,
            seed: 1,
            threads: 1,
            huge: HugePages::System,
            file: None,
            rest: Duration::ZERO,
            when: None,
            form: Form::Text,
        };
        let mut parser = lexopt::Parser::from_args(words);
        let mut task = None;
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(Self { task: Task::Help, ..args }),
                Long("memory") => args.pages = parser.value()?.parse_with(pages)?,
                Long("passes") => args.passes = parser.value()?.parse()?,
                Long("pass") => args.pass = parser.value()?.parse_with(at_least_one)?,
                Long("pattern") => args.pattern = parser.value()?.parse()?,
                Long("write-share") => args.write_share = parser.value()?.parse_with(share)?,
                Long("mix") => args.mix = parser.value()?.parse()?,
                Long("seed") => args.seed = parser.value()?.parse()?,
                Long("threads") => args.threads = parser.value()?.parse_with(threads)?,
                Long("thp") => args.huge = parser.value()?.parse_with(huge)?,
                Long("file") => args.file = Some(parser.value()?.into()),
                Long("rest") => args.rest = Duration::from_secs(parser.value()?.parse::<u32>()?.into()),
                Long("when") => args.when = Some(parser.value()?.parse_with(counter)?),
                Long("json") => args.form = Form::Json,
                Long("report") => args.form = Form::Report,
                Value(word) if task.is_none() => task = Some(word.parse_with(named_task)?),
                other => return Err(other.unexpected()),
            }
        }
        args.task = task.ok_or("say what to do: run, fill, touch, verify, counters; --help explains")?;
        let on_file = matches!(args.task, Task::Fill | Task::Touch | Task::Verify);
        if on_file && args.file.is_none() {
            return Err("fill, touch and verify need --file".into());
        }
        Ok(args)
    }
}

fn named_task(name: &str) -> Result<Task, String> {
    match name {
        "run" => Ok(Task::Run),
        "fill" => Ok(Task::Fill),
        "touch" => Ok(Task::Touch),
        "verify" => Ok(Task::Verify),
        "counters" => Ok(Task::Counters),
        _ => Err(format!("no task `{name}`; there are run, fill, touch, verify, counters")),
    }
}

/// A size in bytes as a number of whole pages.
fn pages(text: &str) -> Result<usize, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (text.get(..text.len() - 1), 10),
        Some(b'M' | b'm') => (text.get(..text.len() - 1), 20),
        Some(b'G' | b'g') => (text.get(..text.len() - 1), 30),
        _ => (Some(text), 0),
    };
    let bytes =
        digits.and_then(|digits| digits.parse::<usize>().ok()).and_then(|n| n.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes > 0 && bytes % PAGE_BYTES == 0 => Ok(bytes / PAGE_BYTES),
        Some(_) => Err(format!("`{text}` is not a positive multiple of {PAGE_BYTES} bytes")),
        None => Err(format!("`{text}` is not a size: digits, then nothing or K, M, G")),
    }
}

fn share(text: &str) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|share| *share <= 100)
        .ok_or_else(|| format!("`{text}` is not a share from 0 to 100"))
}

/// A counter's name and a number.
fn counter(text: &str) -> Result<(String, u64), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    parts
        .and_then(|(name, number)| Some((name.to_owned(), number.parse().ok()?)))
        .ok_or_else(|| format!("`{text}` is not a counter and a number, such as nr_free_pages=4096"))
}

fn at_least_one(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("`{text}` is not a number from 1"))
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|n| (1..=256).contains(n))
        .ok_or_else(|| format!("`{text}` is not a number from 1 to 256"))
}

fn huge(text: &str) -> Result<HugePages, String> {
    match text {
        "system" => Ok(HugePages::System),
        "never" => Ok(HugePages::Never),
        "always" => Ok(HugePages::Always),
        _ => Err(format!("`{text}` is none of system, never, always")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_line_is_understood() {
        let args = parse(
            "run --memory 128M --passes 5 --pattern zipf --write-share 0 --seed 9 --thp never --report",
        )
        .unwrap();

        assert_eq!((args.task, args.pages, args.passes), (Task::Run, 32768, 5));
        assert_eq!((args.pattern, args.write_share, args.seed), (Pattern::Zipf, 0, 9));
        assert_eq!((args.huge, args.form, args.when), (HugePages::Never, Form::Report, None));
        let args = parse("run --when swap_refused=3 --rest 2").unwrap();
        assert_eq!((args.when, args.rest.as_secs()), (Some(("swap_refused".into(), 3)), 2));
    }

    #[test]
    fn the_help_tells_the_real_defaults() {
        let args = parse("run").unwrap();

        assert_eq!(args.pages * PAGE_BYTES, 64 << 20);
        assert!(HELP.contains(&args.mix.to_string()));
        assert!(HELP.contains("rewrites        20") && args.write_share == 20);
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        for (line, says) in [
            ("", "say what to do"),
            ("jog", "no task `jog`"),
            ("run --memory 5000", "multiple of 4096"),
            ("run --memory 0", "positive multiple"),
            ("run --memory 1T", "not a size"),
            ("run --memory 99999999999999G", "not a size"),
            ("run --write-share 101", "0 to 100"),
            ("run --threads 0", "1 to 256"),
            ("run --mix zero=1", "not 100"),
            ("run --pattern up", "no pattern"),
            ("touch --file x --pass 0", "from 1"),
            ("run --rest soon", "soon"),
            ("run --when x", "a counter and a number"),
            ("run --when =3", "a counter and a number"),
            ("run --when x=y", "a counter and a number"),
            ("fill", "need --file"),
            ("run --fast", "--fast"),
            ("run run", "run"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
