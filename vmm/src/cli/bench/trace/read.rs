//! Reads traces, and says where one is wrong.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Format;

/// Most requests in a trace: the length of a vector of their numbers, 4 bytes each, that still fits a small machine.
const MOST: usize = 1 << 30;

/// Why a trace was not replayed.
#[derive(Debug, Error)]
pub(super) enum TraceError {
    #[error("cannot open the trace {path}: {source}; give the path of a readable file with --input")]
    Open { path: PathBuf, source: std::io::Error },
    #[error("cannot read the trace {path} at byte {at}: {source}")]
    Read { path: PathBuf, at: u64, source: std::io::Error },
    #[error("the trace {path} is empty at byte 0: give a file with at least one request")]
    Empty { path: PathBuf },
    #[error(
        "the trace {path} ends inside a number at byte {at}: a u32le trace is a multiple of 4 bytes long; \
         was it cut off, or is it text (--format text)?"
    )]
    Truncated { path: PathBuf, at: u64 },
    #[error("the trace {path} is malformed at {line}:{column} (line:column): {word:?} {why}")]
    Malformed { path: PathBuf, line: u64, column: usize, word: String, why: &'static str },
    #[error("the trace {path} has more than {MOST} requests at byte {at}: replay a part of it")]
    TooLong { path: PathBuf, at: u64 },
    #[error(
        "a capacity of {fraction} of {distinct} distinct blocks is less than one page: raise --capacity to at least \
         1/{distinct}"
    )]
    NoPages { fraction: f64, distinct: usize },
    #[error("cannot set up the store: {0}")]
    Setup(#[from] tmem_core::StoreError),
    #[error("request {request} (block {block}): {source}")]
    Operation { request: usize, block: u64, source: tmem_core::OpError },
    #[error("request {request} (block {block}): the store returned another page; this is a bug of the store")]
    Wrong { request: usize, block: u64 },
    #[error("the store holds {held} pages and {counted} were counted; this is a bug of the store")]
    Count { held: u64, counted: usize },
}

/// A trace: requests are indexes into the blocks, which are in the order of their first request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) requests: Vec<u32>,
    pub(super) blocks: Vec<u64>,
}

/// A trace while it is read.
#[derive(Default)]
struct Reading {
    trace: Trace,
    numbers: HashMap<u64, u32>,
}

impl Reading {
    /// Adds a request; false when there are too many.
    fn add(&mut self, block: u64) -> bool {
        if self.trace.requests.len() == MOST {
            return false;
        }
        let number = match self.numbers.entry(block) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                // At most MOST blocks, so their numbers have 32 bits.
                let number = self.trace.blocks.len() as u32;
                self.trace.blocks.push(block);
                *entry.insert(number)
            }
        };
        self.trace.requests.push(number);
        true
    }
}

/// Reads a whole trace.
///
/// # Errors
/// All of [`TraceError`] that have a path.
pub(super) fn read(path: &Path, format: Format) -> Result<Trace, TraceError> {
    let file = File::open(path).map_err(|source| TraceError::Open { path: path.to_owned(), source })?;
    let mut reading = Reading::default();
    let input = BufReader::with_capacity(1 << 20, file);
    match format {
        Format::U32le => read_u32le(path, input, &mut reading)?,
        Format::Text => read_text(path, input, &mut reading)?,
    }
    if reading.trace.requests.is_empty() {
        return Err(TraceError::Empty { path: path.to_owned() });
    }
    Ok(reading.trace)
}

fn read_u32le(path: &Path, mut input: impl Read, reading: &mut Reading) -> Result<(), TraceError> {
    let mut at = 0;
    let mut number = [0; 4];
    let mut filled = 0;
    loop {
        match input.read(number.get_mut(filled..).unwrap_or_default()) {
            Ok(0) if filled == 0 => return Ok(()),
            Ok(0) => return Err(TraceError::Truncated { path: path.to_owned(), at }),
            Ok(bytes) => filled += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(source) => return Err(TraceError::Read { path: path.to_owned(), at, source }),
        }
        if filled == number.len() {
            if !reading.add(u64::from(u32::from_le_bytes(number))) {
                return Err(TraceError::TooLong { path: path.to_owned(), at });
            }
            at += 4;
            filled = 0;
        }
    }
}

fn read_text(path: &Path, mut input: impl BufRead, reading: &mut Reading) -> Result<(), TraceError> {
    let (mut line, mut at) = (0, 0);
    let mut text = Vec::new();
    loop {
        text.clear();
        match input.read_until(b'\n', &mut text) {
            Ok(0) => return Ok(()),
            Ok(bytes) => at += bytes as u64,
            Err(source) => return Err(TraceError::Read { path: path.to_owned(), at, source }),
        }
        line += 1;
        let malformed = |word: Word<'_>, why| TraceError::Malformed {
            path: path.to_owned(),
            line,
            column: word.at + 1,
            word: String::from_utf8_lossy(word.text).into_owned(),
            why,
        };
        let mut words = words(&text);
        let Some(first) = words.next() else { continue };
        // The traces of the LIRS paper end their phases with a star.
        if first.text == b"*" {
            continue;
        }
        let start = first.number().ok_or_else(|| malformed(first, NO_NUMBER))?;
        let count = match words.next() {
            Some(word) => match word.number().ok_or_else(|| malformed(word, NO_NUMBER))? {
                0 => return Err(malformed(word, "is a count of no blocks: give at least 1")),
                count if start.checked_add(count - 1).is_none() => {
                    return Err(malformed(word, "is a count beyond the last block number, 2^64 - 1"));
                }
                count => count,
            },
            None => 1,
        };
        for block in start..=start + (count - 1) {
            if !reading.add(block) {
                return Err(TraceError::TooLong { path: path.to_owned(), at });
            }
        }
    }
}

const NO_NUMBER: &str =
    "is not a block number: give decimal digits, up to 2^64 - 1 (binary traces need --format u32le)";

/// A word of a line, and the byte of the line that it begins at.
#[derive(Clone, Copy)]
struct Word<'a> {
    at: usize,
    text: &'a [u8],
}

impl Word<'_> {
    fn number(self) -> Option<u64> {
        std::str::from_utf8(self.text).ok()?.parse().ok()
    }
}

fn words(line: &[u8]) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    line.split(|byte| byte.is_ascii_whitespace()).filter_map(move |text| {
        let word = Word { at, text };
        at += text.len() + 1;
        (!text.is_empty()).then_some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(format: Format, content: &[u8]) -> Result<Trace, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let name = file.path().display().to_string();
        read(file.path(), format).map_err(|error| {
            let text = error.to_string();
            assert!(text.contains(&name), "{text}");
            text
        })
    }

    fn blocks(trace: &Trace) -> Vec<u64> {
        trace.requests.iter().map(|request| trace.blocks[*request as usize]).collect()
    }

    #[test]
    fn numbers_and_runs_are_read_with_stars_and_empty_lines_between() {
        let trace = read_as(Format::Text, b"7\n9 3 0 1\r\n\n*\n 7\n").unwrap();
        assert_eq!(blocks(&trace), [7, 9, 10, 11, 7]);
        assert_eq!(trace.blocks, [7, 9, 10, 11]);
    }

    #[test]
    fn little_endian_words_are_read() {
        let trace = read_as(Format::U32le, &[1, 0, 0, 0, 255, 255, 255, 255, 1, 0, 0, 0]).unwrap();
        assert_eq!(blocks(&trace), [1, u64::from(u32::MAX), 1]);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/x.lis"), Format::Text).unwrap_err().to_string();
        assert!(error.contains("/nowhere/x.lis"), "{error}");
    }

    #[test]
    fn an_empty_trace_is_refused_with_its_position() {
        for content in ["", "\n\n", "*\n"] {
            assert!(read_as(Format::Text, content.as_bytes()).unwrap_err().contains("empty at byte 0"));
        }
        assert!(read_as(Format::U32le, b"").unwrap_err().contains("empty at byte 0"));
    }

    #[test]
    fn a_word_cut_off_is_refused_with_its_byte() {
        assert!(read_as(Format::U32le, &[0; 11]).unwrap_err().contains("at byte 8"));
    }

    #[test]
    fn malformed_text_is_refused_with_line_and_column() {
        let at = |content: &str, place: &str| {
            let error = read_as(Format::Text, content.as_bytes()).unwrap_err();
            assert!(error.contains(place), "{content:?}: {error}");
        };
        at("1\nx2\n", "2:1 ");
        at("1\n10  y\n", "2:5 ");
        at("-1\n", "1:1 ");
        at("5 0\n", "1:3 ");
        at("18446744073709551616\n", "1:1 ");
        at("18446744073709551615 2\n", "1:22 ");
        at("1.5\n", "1:1 ");
    }
}
