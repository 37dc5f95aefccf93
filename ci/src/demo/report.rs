//! The demo's result: a table for people, target/demo/report.json for programs, and what is wrong with it, if anything.

use serde::Serialize;

use super::measure::{Mode, Row, Use};

/// Everything that the demo found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// `native`, or `lab` where times mean nothing.
    pub(crate) place: &'static str,
    /// Why there.
    pub(crate) why: String,
    /// One row for each guest and mode.
    pub(crate) rows: Vec<Row>,
    /// Sums and what they say.
    pub(crate) total: Total,
    /// Where the guests' counters and the VMM's differ.
    pub(crate) disagreements: Vec<String>,
    /// The archive's packages that the images were made of.
    pub(crate) packages: Vec<String>,
}

/// Sums over guests.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Total {
    /// Sectors read from disk without tmem.
    pub(crate) sectors_read_disk: u64,
    /// Sectors read from disk with tmem.
    pub(crate) sectors_read_tmem: u64,
    /// By how many per cent they fell.
    pub(crate) sectors_read_saved_percent: f64,
    /// Sectors written to disk without tmem.
    pub(crate) sectors_written_disk: u64,
    /// Sectors written to disk with tmem.
    pub(crate) sectors_written_tmem: u64,
    /// Corrupt pages, all guests and modes.
    pub(crate) corrupt_pages: u64,
    /// What tmem did for swap.
    pub(crate) swap: Use,
    /// What tmem did for clean pages of files.
    pub(crate) files: Use,
}

impl Total {
    /// Adds `rows` up.
    pub(crate) fn of(rows: &[Row]) -> Self {
        let sum =
            |mode: Mode, of: fn(&Row) -> u64| rows.iter().filter(|row| row.mode == mode).map(of).sum::<u64>();
        let (disk, tmem) = (sum(Mode::Disk, |row| row.sectors_read), sum(Mode::Tmem, |row| row.sectors_read));
        Self {
            sectors_read_disk: disk,
            sectors_read_tmem: tmem,
            sectors_read_saved_percent: saved_percent(disk, tmem),
            sectors_written_disk: sum(Mode::Disk, |row| row.sectors_written),
            sectors_written_tmem: sum(Mode::Tmem, |row| row.sectors_written),
            corrupt_pages: rows.iter().map(|row| row.corrupt_pages).sum(),
            swap: rows.iter().filter_map(|row| row.swap).fold(Use::default(), Use::and),
            files: rows.iter().filter_map(|row| row.files).fold(Use::default(), Use::and),
        }
    }
}

impl Total {
    /// A table of what tmem did, by use.
    fn uses(&self) -> String {
        let headings = ["tmem's use", "puts", "gets", "hits", "refused", "pages per exit"];
        let rows: Vec<Vec<String>> = [("swap", self.swap), ("clean file pages", self.files)]
            .into_iter()
            .filter(|(_, used)| *used != Use::default())
            .map(|(name, used)| {
                let counts = [used.puts, used.gets, used.hits, used.refusals].map(|count| count.to_string());
                let mut cells = vec![name.to_owned()];
                cells.extend(counts);
                cells.push(format!("{:.1}", used.pages_per_exit()));
                cells
            })
            .collect();
        crate::table::render(&headings, &rows)
    }
}

/// By how many per cent `after` is less than `before`, to a tenth; 0 if there was nothing to save.
fn saved_percent(before: u64, after: u64) -> f64 {
    if before == 0 {
        return 0.0;
    }
    // Counts of sectors are far below 2^53.
    let share = 1.0 - after as f64 / before as f64;
    (share * 1000.0).round() / 10.0
}

impl Report {
    /// What makes this run no demonstration at all.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.disagreements.clone();
        for row in &self.rows {
            let who = format!("{} ({})", row.guest, row.mode.name());
            if row.corrupt_pages > 0 {
                faults.push(format!("{who}: {} corrupt pages", row.corrupt_pages));
            }
            if row.pages_checked < row.pages {
                faults.push(format!("{who}: only {} of {} pages were checked", row.pages_checked, row.pages));
            }
            if row.swapped_out == 0 {
                faults.push(format!("{who}: nothing was swapped out, so nothing was shown"));
            }
            if row.mode == Mode::Tmem && row.swap.is_none_or(|swap| swap.puts == 0) {
                faults.push(format!("{who}: not one page on its way to swap reached the store"));
            }
            if row.file && row.files.is_some_and(|files| files.hits == 0) {
                faults.push(format!("{who}: not one page of its file came from the store"));
            }
        }
        faults
    }

    /// The table and what it says.
    pub(crate) fn text(&self) -> String {
        let headings = [
            "guest",
            "pages to",
            "seconds",
            "pages out",
            "pages in",
            "sectors written",
            "sectors read",
            "puts",
            "gets",
            "refused",
            "corrupt",
        ];
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                let mut cells =
                    vec![row.guest.clone(), row.mode.name().to_owned(), format!("{:.1}", row.elapsed_s)];
                let counts = [
                    row.swapped_out,
                    row.swapped_in,
                    row.sectors_written,
                    row.sectors_read,
                    row.puts,
                    row.gets,
                    row.refusals,
                    row.corrupt_pages,
                ];
                cells.extend(counts.map(|count| count.to_string()));
                cells
            })
            .collect();
        let total = &self.total;
        let seconds = if self.place == "lab" { " Seconds mean nothing there; counts do." } else { "" };
        format!(
            "{}\n{}\nRun {} ({}).{seconds}\nSectors read from disk: {} without tmem, {} with it: {} % less. Written: {} and {}. \
             Corrupt pages: {}.\n",
            crate::table::render(&headings, &rows),
            total.uses(),
            if self.place == "lab" { "in the lab" } else { "on this machine" },
            self.why,
            total.sectors_read_disk,
            total.sectors_read_tmem,
            total.sectors_read_saved_percent,
            total.sectors_written_disk,
            total.sectors_written_tmem,
            total.corrupt_pages,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{guest, measure};

    fn row(mode: Mode) -> Row {
        let side = guest::read("a", &guest::tests::console(0, 0)).unwrap();
        measure::row(mode, &side, &measure::tests::vmm())
    }

    fn report(rows: Vec<Row>) -> Report {
        let total = Total::of(&rows);
        let why = "KVM is here".into();
        Report { place: "native", why, rows, total, disagreements: Vec::new(), packages: Vec::new() }
    }

    #[test]
    fn savings_compare_the_modes() {
        let rows = [
            Row { sectors_read: 1000, ..row(Mode::Disk) },
            Row { sectors_read: 1000, ..row(Mode::Disk) },
            Row { sectors_read: 30, ..row(Mode::Tmem) },
        ];
        let total = Total::of(&rows);
        assert_eq!((total.sectors_read_disk, total.sectors_read_tmem), (2000, 30));
        assert_eq!(total.sectors_read_saved_percent, 98.5);
    }

    #[test]
    fn nothing_read_at_all_saves_nothing() {
        assert_eq!(saved_percent(0, 0), 0.0);
        assert_eq!(saved_percent(10, 20), -100.0);
    }

    #[test]
    fn a_good_report_has_no_faults() {
        assert_eq!(report(vec![row(Mode::Disk), row(Mode::Tmem)]).faults(), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_found() {
        let corrupt = Row { corrupt_pages: 1, ..row(Mode::Disk) };
        let unchecked = Row { pages_checked: 5, ..row(Mode::Disk) };
        let idle = Row { swapped_out: 0, ..row(Mode::Disk) };
        let unused = Row { swap: None, ..row(Mode::Tmem) };
        let unread = Row { file: true, files: Some(Use::default()), ..row(Mode::Tmem) };
        let expected = [
            "a (disk): 1 corrupt pages",
            "a (disk): only 5 of 32768 pages were checked",
            "a (disk): nothing was swapped out, so nothing was shown",
            "a (tmem): not one page on its way to swap reached the store",
            "a (tmem): not one page of its file came from the store",
        ];
        assert_eq!(report(vec![corrupt, unchecked, idle, unused, unread]).faults(), expected);
    }

    #[test]
    fn disagreements_are_faults() {
        let mut report = report(vec![row(Mode::Disk)]);
        report.disagreements.push("x".into());
        assert_eq!(report.faults(), ["x"]);
    }

    #[test]
    fn the_table_says_that_lab_times_mean_nothing() {
        let mut report = report(vec![row(Mode::Disk)]);
        assert!(!report.text().contains("mean nothing"));
        report.place = "lab";
        assert!(report.text().contains("mean nothing"), "{}", report.text());
    }
}
