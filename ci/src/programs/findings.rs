//! What all cells showed: a line for each, a table, a report as JSON, and what is wrong with it.

use serde::Serialize;

use super::matrix::{Mode, PROGRAMS, Program};
use super::outcome::Outcome;

/// One cell of the matrix.
#[derive(Debug, Serialize)]
struct Cell {
    program: &'static str,
    mode: Mode,
    /// What it showed, if its guest came to a good end.
    outcome: Option<Outcome>,
    /// What is wrong with it.
    faults: Vec<String>,
}

/// All cells that ran.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    cells: Vec<Cell>,
}

impl Findings {
    /// Adds a cell and returns a line about it.
    pub(super) fn add(&mut self, program: &Program, mode: Mode, result: Result<Outcome, String>) -> String {
        let (outcome, mut faults) = match result {
            Ok(outcome) => (Some(outcome.clone()), outcome.idle(program, mode)),
            Err(why) => (None, vec![why]),
        };
        if let Some(sum) = outcome.as_ref().map(|outcome| &outcome.sum)
            && let Some(other) = self.sums(program.name).find(|other| *other != sum)
        {
            faults.push(format!("its result is {sum}, in another mode it was {other}"));
        }
        let cell = Cell { program: program.name, mode, outcome, faults };
        let line = cell.line();
        self.cells.push(cell);
        line
    }

    /// The results of a program in the modes so far.
    fn sums(&self, program: &'static str) -> impl Iterator<Item = &String> {
        let cells = self.cells.iter().filter(move |cell| cell.program == program);
        cells.filter_map(|cell| Some(&cell.outcome.as_ref()?.sum))
    }

    /// What is wrong, cell by cell.
    pub(super) fn faults(&self) -> Vec<String> {
        let faults = |cell: &Cell| -> Vec<String> {
            cell.faults
                .iter()
                .map(|fault| format!("{} with tmem for {}: {fault}", cell.program, cell.mode.name()))
                .collect()
        };
        self.cells.iter().flat_map(faults).collect()
    }

    /// A table for people: programs down, modes across, then what was counted.
    pub(super) fn text(&self) -> String {
        let mut headings = vec!["program", "work"];
        headings.extend(Mode::ALL.map(Mode::name));
        let mut rows = Vec::new();
        for program in PROGRAMS {
            let of = |mode: Mode| self.cells.iter().find(|it| it.program == program.name && it.mode == mode);
            let cells: Vec<Option<&Cell>> = Mode::ALL.map(of).into();
            let Some(first) = cells.iter().flatten().next() else { continue };
            let unit = first.outcome.as_ref().map_or("", |outcome| &outcome.unit);
            let mut row = vec![program.name.to_owned(), unit.to_owned()];
            row.extend(cells.iter().map(|cell| cell.map_or("-".into(), Cell::verdict)));
            rows.push(row);
        }
        let counted = [
            "program",
            "tmem for",
            "swap puts",
            "gets",
            "refused",
            "clean puts",
            "hits",
            "refused",
            "evicted",
            "sectors read",
            "written",
        ];
        crate::table::render(&headings, &rows) + "\n" + &crate::table::render(&counted, &self.counts())
    }

    fn counts(&self) -> Vec<Vec<String>> {
        let counts = |cell: &Cell| {
            let outcome = cell.outcome.as_ref()?;
            let mut row = vec![cell.program.to_owned(), cell.mode.name().to_owned()];
            let numbers = [
                outcome.swap_puts,
                outcome.swap_gets,
                outcome.swap_refused,
                outcome.clean_puts,
                outcome.clean_hits,
                outcome.clean_refused,
                outcome.evicted,
                outcome.sectors_read,
                outcome.sectors_written,
            ];
            row.extend(numbers.map(|number| number.to_string()));
            Some(row)
        };
        self.cells.iter().filter_map(counts).collect()
    }
}

impl Cell {
    /// The work that was done, or that it failed.
    fn verdict(&self) -> String {
        match &self.outcome {
            Some(outcome) if self.faults.is_empty() => outcome.work.to_string(),
            _ => "FAIL".into(),
        }
    }

    /// A line about it.
    fn line(&self) -> String {
        let head = format!("{} with tmem for {}", self.program, self.mode.name());
        match &self.outcome {
            Some(it) if self.faults.is_empty() => format!(
                "ok   {head}: {} {}; puts {} ({} swap, {} clean), gets {}, refused {}, evicted {}, sectors {} + {}",
                it.work,
                it.unit,
                it.puts,
                it.swap_puts,
                it.clean_puts,
                it.gets,
                it.refused,
                it.evicted,
                it.sectors_read,
                it.sectors_written
            ),
            _ => format!("FAIL {head}: {}", self.faults.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::outcome;
    use super::*;

    fn program(name: &str) -> &'static Program {
        PROGRAMS.iter().find(|program| program.name == name).unwrap()
    }

    #[test]
    fn results_that_differ_between_modes_are_a_fault() {
        let mut findings = Findings::default();
        let compile = program("compile");
        findings.add(compile, Mode::Off, Ok(outcome(1, "a")));
        let line = findings.add(compile, Mode::Off, Ok(outcome(1, "b")));
        assert!(line.starts_with("FAIL compile with tmem for off: its result is b"), "{line}");
        assert_eq!(findings.faults().len(), 1);
    }

    #[test]
    fn a_cell_that_did_not_end_is_a_fault_with_its_reason() {
        let mut findings = Findings::default();
        findings.add(program("pgbench"), Mode::Off, Err("why".into()));
        assert_eq!(findings.faults(), ["pgbench with tmem for off: why"]);
    }

    #[test]
    fn the_table_has_the_programs_that_ran_and_the_modes_that_did_not() {
        let mut findings = Findings::default();
        findings.add(program("fio-device"), Mode::Off, Ok(outcome(77, "")));
        let text = findings.text();
        assert!(text.contains("fio-device") && !text.contains("pgbench"), "{text}");
        assert!(text.lines().nth(1).unwrap().split_whitespace().eq(["fio-device", "77", "-", "-", "-", "-"]));
    }
}
