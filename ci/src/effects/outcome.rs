//! What runs showed, and the report about them.

use serde::Serialize;

use super::experiment::{Experiment, change_percent};
use crate::demo::measure::Mode;
use crate::vmm_report::{Exits, Report};

/// Sums over the guests of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Outcome {
    /// Sectors of 512 bytes read from disk, by the VMM's count.
    pub(super) sectors_read: u64,
    /// Sectors of 512 bytes written to disk, by the VMM's count.
    pub(super) sectors_written: u64,
    /// Exits to the VMM: device registers and hypercalls.
    pub(super) exits: u64,
    /// Hypercalls among them.
    pub(super) hypercalls: u64,
    /// Pages that the store took.
    pub(super) puts: u64,
    /// Puts that it refused.
    pub(super) puts_refused: u64,
    /// Gets, misses included.
    pub(super) gets: u64,
    /// Clean pages that it evicted.
    pub(super) evicted: u64,
    /// Checksum of the object files, the same in all guests.
    pub(super) objects: String,
}

/// Reads a run of so many guests: the VMM's report, and on the consoles that each compiled the same and ended well.
pub(super) fn read(report: &Report, consoles: &str, guests: usize) -> Result<Outcome, String> {
    let ends = consoles.matches("{\"event\":\"end\",\"status\":0}").count();
    let mut objects: Vec<&str> = consoles
        .split("\"event\":\"compiled\"")
        .skip(1)
        .filter_map(|rest| rest.split_once("\"md5\":\"")?.1.split('"').next())
        .collect();
    if ends != guests || objects.len() != guests || report.guests.len() != guests {
        return Err(format!("{ends} of {guests} guests ended well, {} compiled everything", objects.len()));
    }
    objects.dedup();
    let &[objects] = objects.as_slice() else { return Err(format!("different object files: {objects:?}")) };
    let mut outcome = Outcome { objects: objects.to_owned(), ..Outcome::default() };
    for guest in &report.guests {
        let Exits { mmio_read, mmio_write, hypercall } = guest.exits;
        outcome.exits += mmio_read + mmio_write + hypercall;
        outcome.hypercalls += hypercall;
        let (sectors_read, sectors_written) = guest.sectors();
        outcome.sectors_read += sectors_read;
        outcome.sectors_written += sectors_written;
        if let Some(tmem) = &guest.tmem {
            outcome.puts += tmem.puts;
            outcome.puts_refused += tmem.puts_refused;
            outcome.gets += tmem.gets;
            outcome.evicted += tmem.evicted;
        }
    }
    Ok(outcome)
}

/// What an experiment found.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    what: &'static str,
    demand: String,
    met: bool,
    store_mib: u32,
    /// Memory of all guests together.
    disk_memory_mib: u32,
    /// The same with the store.
    tmem_memory_mib: u32,
    disk: Outcome,
    tmem: Outcome,
    sectors_read_change_percent: f64,
    sectors_change_percent: f64,
    exits_change_percent: f64,
}

/// What all experiments found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    experiments: Vec<Finding>,
}

impl Findings {
    /// Adds an experiment's two runs.
    pub(super) fn add(&mut self, experiment: &Experiment, [disk, tmem]: [Outcome; 2]) {
        let io = |outcome: &Outcome| outcome.sectors_read + outcome.sectors_written;
        self.experiments.push(Finding {
            name: experiment.name,
            what: experiment.what,
            demand: experiment.demand.to_string(),
            met: experiment.demand.is_met(&disk, &tmem) && disk.objects == tmem.objects,
            store_mib: experiment.store_mib,
            disk_memory_mib: experiment.total_mib(Mode::Disk),
            tmem_memory_mib: experiment.total_mib(Mode::Tmem),
            sectors_read_change_percent: change_percent(disk.sectors_read, tmem.sectors_read),
            sectors_change_percent: change_percent(io(&disk), io(&tmem)),
            exits_change_percent: change_percent(disk.exits, tmem.exits),
            disk,
            tmem,
        });
    }

    /// Effects that are not there.
    pub(super) fn missing(&self) -> Vec<String> {
        let unmet = self.experiments.iter().filter(|finding| !finding.met);
        unmet
            .map(|finding| {
                let objects = if finding.disk.objects == finding.tmem.objects { "the same" } else { "different" };
                format!(
                    "{}: {}, but sectors read changed by {} %, read and written by {} %, exits by {} %; object files are {objects}",
                    finding.name,
                    finding.demand,
                    finding.sectors_read_change_percent,
                    finding.sectors_change_percent,
                    finding.exits_change_percent
                )
            })
            .collect()
    }

    /// A table for people.
    pub(super) fn text(&self) -> String {
        let headings = [
            "experiment",
            "pages to",
            "memory MiB",
            "sectors read",
            "sectors written",
            "exits",
            "hypercalls",
            "puts",
            "gets",
            "refused",
            "evicted",
        ];
        let mut rows = Vec::new();
        for finding in &self.experiments {
            let modes = [
                (Mode::Disk, finding.disk_memory_mib, &finding.disk),
                (Mode::Tmem, finding.tmem_memory_mib, &finding.tmem),
            ];
            for (mode, memory_mib, outcome) in modes {
                let counts = [
                    u64::from(memory_mib),
                    outcome.sectors_read,
                    outcome.sectors_written,
                    outcome.exits,
                    outcome.hypercalls,
                    outcome.puts,
                    outcome.gets,
                    outcome.puts_refused,
                    outcome.evicted,
                ];
                let mut cells = vec![finding.name.to_owned(), mode.name().to_owned()];
                cells.extend(counts.map(|count| count.to_string()));
                rows.push(cells);
            }
        }
        let mut text = crate::table::render(&headings, &rows) + "\n";
        for finding in &self.experiments {
            text.push_str(&format!(
                "{}: sectors read {:+} %, read and written {:+} %, exits {:+} % ({}: {})\n",
                finding.name,
                finding.sectors_read_change_percent,
                finding.sectors_change_percent,
                finding.exits_change_percent,
                finding.demand,
                if finding.met { "met" } else { "NOT MET" }
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm_report::Tmem;
    use crate::vmm_report::tests::guest;

    const CONSOLE: &str = "TMEM-REPORT {\"event\":\"compiled\",\"rounds\":2,\"md5\":\"abc\"}\r\n\
                           TMEM-REPORT {\"event\":\"end\",\"status\":0}\r\n";

    fn report() -> Report {
        let tmem = Tmem { puts: 7, puts_refused: 8, gets: 9, evicted: 6 };
        Report { guests: vec![guest("g1", Some(tmem))] }
    }

    #[test]
    fn a_run_is_added_up() {
        let outcome = read(&report(), CONSOLE, 1).unwrap();
        assert_eq!((outcome.sectors_read, outcome.sectors_written, outcome.exits), (11, 22, 12));
        assert_eq!((outcome.hypercalls, outcome.puts, outcome.puts_refused), (5, 7, 8));
        assert_eq!((outcome.gets, outcome.evicted), (9, 6));
        assert_eq!(outcome.objects, "abc");
    }

    #[test]
    fn a_guest_that_did_not_end_well_or_not_at_all_spoils_the_run() {
        assert!(read(&report(), &CONSOLE.replace("status\":0", "status\":3"), 1).is_err());
        assert!(read(&report(), CONSOLE, 2).is_err());
        assert!(read(&report(), "", 1).is_err());
    }
}
