//! The output of `tmem run`, taken apart: `name| line`, and what is said between.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::measure::Mode;
use super::scenario::Guest;
use crate::files::{self, FileError};

/// A line of progress at most this often.
const BEAT: Duration = Duration::from_secs(5);

/// Collects each guest's console in one mode, and says how far the guests are.
#[derive(Debug)]
pub(crate) struct Consoles {
    line: Vec<u8>,
    mode: Mode,
    /// The guest whose lines have no name before them, because it is alone.
    lone: Option<String>,
    texts: BTreeMap<String, String>,
    others: String,
    /// How far each guest is, with the rounds that it has behind it.
    states: BTreeMap<String, (usize, String)>,
    said: Instant,
}

impl Consoles {
    /// Nothing yet, of `guests` in `mode`.
    pub(crate) fn new(mode: Mode, guests: &[Guest]) -> Self {
        let lone = match guests {
            [guest] => Some(guest.name.clone()),
            _ => None,
        };
        Self {
            line: Vec::new(),
            mode,
            lone,
            texts: BTreeMap::new(),
            others: String::new(),
            states: BTreeMap::new(),
            said: Instant::now(),
        }
    }

    /// What `guest` printed.
    pub(crate) fn console(&self, guest: &str) -> &str {
        self.texts.get(guest).map_or("", String::as_str)
    }

    /// The mode in which the guests ran.
    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// Lines that belong to no guest: the VMM's own. Those of a lone guest and the VMM's cannot be told apart.
    pub(crate) fn others(&self) -> &str {
        self.lone.as_deref().map_or(&self.others, |guest| self.console(guest))
    }

    /// Writes every console to `MODE-GUEST.log` in `dir`, and the rest to `MODE-tmem.log`, for whoever wants to look.
    pub(crate) fn keep(&self, dir: &Path) -> Result<(), FileError> {
        let consoles = self.texts.iter().map(|(guest, text)| (guest.as_str(), text));
        for (name, text) in consoles.chain([("tmem", &self.others)]) {
            let path = dir.join(format!("{}-{name}.log", self.mode.name()));
            files::write(&path, text)?;
        }
        Ok(())
    }

    fn take(&mut self, line: &str) {
        let (guest, text) = match (&self.lone, line.split_once("| ")) {
            (Some(guest), _) => (guest.clone(), line),
            (None, Some((guest, text))) if is_name(guest) => (guest.to_owned(), text),
            (None, _) => {
                self.others.push_str(line);
                self.others.push('\n');
                return;
            }
        };
        let console = self.texts.entry(guest.clone()).or_default();
        console.push_str(text);
        console.push('\n');
        if let Some(report) = report_in(text) {
            let rounds = self.states.get(&guest).map_or(0, |(rounds, _)| *rounds);
            if let Some(state) = state_of(&report, rounds) {
                let rounds = rounds + usize::from(event_of(&report) == Some("run"));
                self.states.insert(guest, (rounds, state));
                self.say();
            }
        }
    }

    fn say(&mut self) {
        if self.said.elapsed() >= BEAT {
            self.said = Instant::now();
            let states: Vec<String> =
                self.states.iter().map(|(guest, (_, state))| format!("{guest} {state}")).collect();
            eprintln!("demo: swap to {}: {}", self.mode.name(), states.join(", "));
        }
    }
}

/// Guests here are called by a letter and a number.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 16
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The report in a line.
fn report_in(text: &str) -> Option<Value> {
    let (_, json) = text.split_once("TMEM-REPORT ")?;
    serde_json::from_str(json).ok()
}

fn event_of(report: &Value) -> Option<&str> {
    report.get("event")?.as_str()
}

/// What a report says about how far a guest is that has `rounds` behind it: the first is memory, the second a file.
fn state_of(report: &Value, rounds: usize) -> Option<String> {
    match event_of(report)? {
        "progress" => {
            let number = |name: &str| report.get(name)?.as_u64();
            let percent = number("done")? * 100 / number("pages")?.max(1);
            let round = if rounds == 0 { "memory" } else { "file" };
            Some(format!("{round} {} {percent} %", report.get("phase")?.as_str()?))
        }
        "end" => Some("done".into()),
        event => Some(event.into()),
    }
}

impl Write for Consoles {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                    self.take(line.trim_end_matches('\r'));
                }
                _ => self.line.push(byte),
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::demo;
    use super::*;
    use tmem_images::KernelId;

    fn after(text: &str) -> Consoles {
        let mut consoles = Consoles::new(Mode::Disk, &demo(KernelId::Small));
        consoles.write_all(text.as_bytes()).unwrap();
        consoles
    }

    #[test]
    fn lines_go_to_the_guest_that_they_belong_to() {
        let consoles = after("g1| a\ng2| b\r\ng1| c\n");
        assert_eq!(consoles.console("g1"), "a\nc\n");
        assert_eq!(consoles.console("g2"), "b\n");
        assert_eq!(consoles.console("g3"), "");
    }

    #[test]
    fn a_lone_guest_prints_without_its_name() {
        let mut consoles = Consoles::new(Mode::Tmem, &demo(KernelId::Small)[..1]);
        consoles.write_all(b"a\nx| b\n").unwrap();
        assert_eq!(consoles.console("g1"), "a\nx| b\n");
        assert_eq!(consoles.others(), "a\nx| b\n");
    }

    #[test]
    fn what_belongs_to_no_guest_is_kept_apart() {
        assert_eq!(after("error: a | b\n").others(), "error: a | b\n");
    }

    #[test]
    fn progress_is_told_by_round_and_in_per_cent() {
        let state = |text: &str| Some(after(text).states.get("g1")?.1.clone());
        let progress =
            "g1| TMEM-REPORT {\"event\":\"progress\",\"phase\":\"fill\",\"done\":16,\"pages\":64}\n";
        let run = "g1| TMEM-REPORT {\"event\":\"run\",\"pages\":64}\n";
        let end = "g1| TMEM-REPORT {\"event\":\"end\",\"status\":0}\n";
        assert_eq!(state(progress).as_deref(), Some("memory fill 25 %"));
        assert_eq!(state(&[progress, run, progress].concat()).as_deref(), Some("file fill 25 %"));
        assert_eq!(state(end).as_deref(), Some("done"));
        assert_eq!(state("g1| noise\n"), None);
    }
}
