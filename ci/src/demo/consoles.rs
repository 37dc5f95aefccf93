//! The output of `tmem run` with many guests, taken apart: `name| line`, and what is said between.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::DemoError;
use super::measure::Mode;

/// What the demo's own script prints before each mode. A guest cannot print it: its lines begin with its name.
pub(crate) const MODE_LINE: &str = "demo: mode ";

/// A line of progress at most this often.
const BEAT: Duration = Duration::from_secs(5);

/// Collects each guest's console in each mode, and says how far the guests are.
#[derive(Debug)]
pub(crate) struct Consoles {
    line: Vec<u8>,
    mode: Mode,
    texts: BTreeMap<(&'static str, String), String>,
    others: String,
    states: BTreeMap<String, String>,
    said: Instant,
}

impl Consoles {
    /// Nothing yet, in the first mode.
    pub(crate) fn new() -> Self {
        Self {
            line: Vec::new(),
            mode: Mode::Disk,
            texts: BTreeMap::new(),
            others: String::new(),
            states: BTreeMap::new(),
            said: Instant::now(),
        }
    }

    /// What `guest` printed in `mode`.
    pub(crate) fn console(&self, mode: Mode, guest: &str) -> &str {
        self.texts.get(&(mode.name(), guest.to_owned())).map_or("", String::as_str)
    }

    /// Lines that belong to no guest: the VMM's own.
    pub(crate) fn others(&self) -> &str {
        &self.others
    }

    /// Writes every console to `MODE-GUEST.log` in `dir`, and the rest to `tmem.log`, for whoever wants to look.
    pub(crate) fn keep(&self, dir: &Path) -> Result<(), DemoError> {
        let consoles = self.texts.iter().map(|((mode, guest), text)| (format!("{mode}-{guest}.log"), text));
        for (name, text) in consoles.chain([("tmem.log".to_owned(), &self.others)]) {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(DemoError::file(&path))?;
        }
        Ok(())
    }

    /// The mode that runs now.
    pub(crate) fn start(&mut self, mode: Mode) {
        self.mode = mode;
        self.states.clear();
    }

    fn take(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix(MODE_LINE) {
            if let Some(mode) = Mode::BOTH.into_iter().find(|mode| mode.name() == name) {
                self.start(mode);
            }
            return;
        }
        let Some((guest, text)) = line.split_once("| ").filter(|(guest, _)| is_name(guest)) else {
            self.others.push_str(line);
            self.others.push('\n');
            return;
        };
        let console = self.texts.entry((self.mode.name(), guest.to_owned())).or_default();
        console.push_str(text);
        console.push('\n');
        if let Some(state) = state_of(text) {
            self.states.insert(guest.to_owned(), state);
            self.say();
        }
    }

    fn say(&mut self) {
        if self.said.elapsed() >= BEAT {
            self.said = Instant::now();
            let states: Vec<String> =
                self.states.iter().map(|(guest, state)| format!("{guest} {state}")).collect();
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

/// What a report line says about how far a guest is.
fn state_of(text: &str) -> Option<String> {
    let (_, json) = text.split_once("TMEM-REPORT ")?;
    let report: serde_json::Value = serde_json::from_str(json).ok()?;
    let word = |name: &str| report.get(name)?.as_str();
    match word("event")? {
        "progress" => {
            let number = |name: &str| report.get(name)?.as_u64();
            let percent = number("done")? * 100 / number("pages")?.max(1);
            Some(format!("{} {percent} %", word("phase")?))
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
    use super::*;

    fn after(text: &str) -> Consoles {
        let mut consoles = Consoles::new();
        consoles.write_all(text.as_bytes()).unwrap();
        consoles
    }

    #[test]
    fn lines_go_to_the_guest_and_mode_that_they_belong_to() {
        let consoles = after("demo: mode disk\ng1| a\ng2| b\r\ng1| c\ndemo: mode tmem\ng1| d\n");
        assert_eq!(consoles.console(Mode::Disk, "g1"), "a\nc\n");
        assert_eq!(consoles.console(Mode::Disk, "g2"), "b\n");
        assert_eq!(consoles.console(Mode::Tmem, "g1"), "d\n");
        assert_eq!(consoles.console(Mode::Tmem, "g2"), "");
    }

    #[test]
    fn a_guest_cannot_switch_the_mode() {
        let consoles = after("demo: mode disk\ng1| demo: mode tmem\ng1| x\n");
        assert_eq!(consoles.console(Mode::Disk, "g1"), "demo: mode tmem\nx\n");
    }

    #[test]
    fn what_belongs_to_no_guest_is_kept_apart() {
        assert_eq!(after("error: a | b\n").others(), "error: a | b\n");
    }

    #[test]
    fn progress_is_told_in_per_cent() {
        let text = "TMEM-REPORT {\"event\":\"progress\",\"phase\":\"fill\",\"done\":16,\"pages\":64}";
        assert_eq!(state_of(text).as_deref(), Some("fill 25 %"));
        assert_eq!(state_of("TMEM-REPORT {\"event\":\"end\",\"status\":0}").as_deref(), Some("done"));
        assert_eq!(state_of("noise"), None);
    }
}
