//! What a cell of the matrix showed: the work that its program reports, what the guest's kernel and the VMM counted.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::matrix::{Mode, Program};
use crate::vmm_report::Report;

/// How a report line of a guest begins (images/README.md).
const MARK: &str = "TMEM-REPORT ";

/// What a program has to write to /dev/tmem0 at least, in pages; loading the driver puts one.
const LEAST_OF_THE_DEVICE: u64 = 100;

/// What one program did in one mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Outcome {
    /// Work that was done and checked.
    pub(super) work: u64,
    /// Its unit.
    pub(super) unit: String,
    /// A checksum of the result, which must be the same in all modes; empty if the program's result differs by nature.
    pub(super) sum: String,
    /// Pages on their way to swap that the host took, by the guest kernel's count.
    pub(super) swap_puts: u64,
    /// Pages that came back from it.
    pub(super) swap_gets: u64,
    /// Pages on their way to swap that went to the disk instead.
    pub(super) swap_refused: u64,
    /// Clean pages that the host took, by the guest kernel's count.
    pub(super) clean_puts: u64,
    /// Clean pages that were found again.
    pub(super) clean_hits: u64,
    /// Clean pages that the host did not take.
    pub(super) clean_refused: u64,
    /// All puts that the host took, by the VMM's count: /dev/tmem0's too.
    pub(super) puts: u64,
    /// Gets, by the VMM's count.
    pub(super) gets: u64,
    /// Puts that the host refused, by the VMM's count.
    pub(super) refused: u64,
    /// Clean pages that the host evicted, by the VMM's count.
    pub(super) evicted: u64,
    /// Sectors of 512 bytes read from all disks, by the VMM's count.
    pub(super) sectors_read: u64,
    /// Sectors of 512 bytes written to all disks, by the VMM's count.
    pub(super) sectors_written: u64,
}

/// Reads a cell: the VMM's report, and a console on which the program ended well. Otherwise, why it is not good.
pub(super) fn read(report: &Report, console: &str) -> Result<Outcome, String> {
    if let Some(line) = console.lines().find(|line| line.starts_with("FAIL ")) {
        return Err(line.trim_end().to_owned());
    }
    let events = events(console);
    let status = events.get("end").and_then(|end| end.get("status")?.as_i64());
    let (Some(0), Some(program)) = (status, events.get("program")) else {
        return Err(format!("the guest did not come to a good end: its status is {status:?}"));
    };
    let [guest] = report.guests.as_slice() else {
        return Err(format!("{} guests in the VMM's report", report.guests.len()));
    };
    let text = |name: &str| program.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let hook = |name: &str| events.get("hooks").and_then(|hooks| hooks.get(name)?.as_u64()).unwrap_or(0);
    let tmem = guest.tmem.unwrap_or_default();
    let (sectors_read, sectors_written) = guest.sectors();
    Ok(Outcome {
        work: program.get("work").and_then(Value::as_u64).unwrap_or(0),
        unit: text("unit"),
        sum: text("sum"),
        swap_puts: hook("swap_puts"),
        swap_gets: hook("swap_gets"),
        swap_refused: hook("swap_refused"),
        clean_puts: hook("clean_puts"),
        clean_hits: hook("clean_hits"),
        clean_refused: hook("clean_refused"),
        puts: tmem.puts,
        gets: tmem.gets,
        refused: tmem.puts_refused,
        evicted: tmem.evicted,
        sectors_read,
        sectors_written,
    })
}

/// The last report of each kind, by its `event`.
fn events(console: &str) -> BTreeMap<String, Value> {
    let event = |line: &str| {
        let value: Value = serde_json::from_str(line.split_once(MARK)?.1.trim_end()).ok()?;
        Some((value.get("event")?.as_str()?.to_owned(), value))
    };
    console.lines().filter_map(event).collect()
}

impl Outcome {
    /// Why this is no test of `mode`, if it is none: tmem had nothing to do, or did what it was not to do.
    pub(super) fn idle(&self, program: &Program, mode: Mode) -> Vec<String> {
        let mut idle = Vec::new();
        let mut demand = |good: bool, what: &str| {
            if !good {
                idle.push(what.to_owned());
            }
        };
        demand(self.work > 0, "no work was done");
        demand(mode.swaps() || self.swap_puts == 0, "tmem had pages of swap");
        demand(mode.caches() || self.clean_puts == 0, "tmem had pages of files");
        demand(mode != Mode::Off || self.puts == 0, "a host without tmem had pages");
        let tiny = mode == Mode::Tiny;
        if mode.swaps() && program.swaps {
            demand(self.swap_puts > 0, "not one page was swapped to tmem");
            demand(tiny || self.swap_gets > 0, "not one page that was swapped to tmem came back");
            demand(!tiny || self.swap_refused > 0, "the host refused no page of swap");
        }
        if mode.caches() && program.caches {
            demand(self.clean_puts > 0, "not one page of a file went to tmem");
            demand(tiny || self.clean_hits > 0, "not one page of a file came from tmem");
            demand(!tiny || self.evicted > 0, "the host evicted no page of a file");
        }
        if mode != Mode::Off && program.device {
            let puts = self.puts.saturating_sub(self.swap_puts + self.clean_puts);
            demand(puts >= LEAST_OF_THE_DEVICE, "hardly a page was written to /dev/tmem0");
            demand(self.gets > 0, "not one page came from /dev/tmem0");
            demand(!tiny || self.refused > 0, "the host refused no page");
        }
        idle
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::programs::matrix::PROGRAMS;
    use crate::vmm_report::Tmem;
    use crate::vmm_report::tests::guest;

    const CONSOLE: &str = "start x\r\n\
        TMEM-REPORT {\"event\":\"program\",\"name\":\"x\",\"work\":3,\"unit\":\"MiB\",\"sum\":\"ab\"}\r\nok x\r\n\
        TMEM-REPORT {\"event\":\"hooks\",\"swap_puts\":1,\"swap_gets\":2,\"clean_hits\":3}\r\n\
        TMEM-REPORT {\"event\":\"end\",\"status\":0}\r\n";

    fn report() -> Report {
        Report {
            guests: vec![guest("programs", Some(Tmem { puts: 7, puts_refused: 8, gets: 9, evicted: 5 }))],
        }
    }

    /// What a cell with this work and checksum showed.
    pub(in crate::programs) fn outcome(work: u64, sum: &str) -> Outcome {
        Outcome { work, sum: sum.into(), ..Outcome::default() }
    }

    #[test]
    fn a_good_cell_is_read_from_both_sides() {
        let outcome = read(&report(), CONSOLE).unwrap();
        assert_eq!((outcome.work, outcome.unit.as_str(), outcome.sum.as_str()), (3, "MiB", "ab"));
        assert_eq!((outcome.swap_puts, outcome.swap_gets, outcome.clean_hits), (1, 2, 3));
        assert_eq!((outcome.puts, outcome.gets, outcome.refused, outcome.evicted), (7, 9, 8, 5));
        assert_eq!((outcome.sectors_read, outcome.sectors_written), (11, 22));
    }

    #[test]
    fn a_failure_and_a_missing_end_or_report_spoil_a_cell() {
        assert_eq!(read(&report(), &format!("FAIL x: why\r\n{CONSOLE}")), Err("FAIL x: why".into()));
        assert!(read(&report(), &CONSOLE.replace("status\":0", "status\":1")).is_err());
        assert!(read(&report(), &CONSOLE.replace("\"program\"", "\"other\"")).is_err());
        assert!(read(&report(), "").is_err());
        assert!(read(&Report { guests: Vec::new() }, CONSOLE).is_err());
    }

    fn program(name: &str) -> &'static Program {
        PROGRAMS.iter().find(|program| program.name == name).unwrap()
    }

    #[test]
    fn a_cell_in_which_tmem_did_nothing_is_no_test() {
        let compile = program("compile");
        let worked = outcome(1, "");
        let used = Outcome { swap_puts: 1, swap_gets: 1, clean_puts: 1, clean_hits: 1, ..worked.clone() };
        assert_eq!(worked.idle(compile, Mode::Off), Vec::<String>::new());
        assert_eq!(outcome(0, "").idle(compile, Mode::Off), ["no work was done"]);
        assert_eq!(used.idle(compile, Mode::Both), Vec::<String>::new());
        assert_eq!(used.idle(compile, Mode::Swap), ["tmem had pages of files"]);
        assert_eq!(worked.idle(compile, Mode::Both).len(), 4);
        assert_eq!(Outcome { puts: 1, ..worked }.idle(compile, Mode::Off), ["a host without tmem had pages"]);
    }

    #[test]
    fn a_tiny_host_must_refuse_what_swaps_and_evict_what_caches() {
        let (swaps, caches) = ("the host refused no page of swap", "the host evicted no page of a file");
        let both = Outcome { swap_puts: 1, clean_puts: 1, ..outcome(1, "") };
        for (name, whys) in [
            ("compile", [swaps, caches].as_slice()),
            ("stress-memory", [swaps].as_slice()),
            ("fio-files", [caches].as_slice()),
        ] {
            assert_eq!(both.idle(program(name), Mode::Tiny), whys, "{name}");
            let full = Outcome { swap_refused: 1, evicted: 1, ..both.clone() };
            assert_eq!(full.idle(program(name), Mode::Tiny), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn the_disk_in_the_place_of_the_device_is_no_test() {
        let device = program("fio-device");
        let files = Outcome { clean_puts: 3000, puts: 3001, gets: 9, ..outcome(1, "") };
        assert_eq!(files.idle(device, Mode::Cache), ["hardly a page was written to /dev/tmem0"]);
        let written = Outcome { puts: 3000 + LEAST_OF_THE_DEVICE, ..files };
        assert_eq!(written.idle(device, Mode::Cache), Vec::<String>::new());
        assert_eq!(written.idle(device, Mode::Tiny), ["the host refused no page"]);
    }
}
