//! What the kernel counts: swapped pages, sectors of each disk, the tmem driver's own counters.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::json::Object;

/// The lines of /proc/vmstat that are reported.
const VMSTAT: [&str; 6] =
    ["pswpin", "pswpout", "pgmajfault", "thp_swpout", "thp_swpout_fallback", "oom_kill"];

/// Where the driver shows its counters, a `NAME VALUE` line each.
const DRIVER: &str = "/sys/kernel/debug/tmem";

/// Where a tmem-aware kernel shows its counters, a file each.
const KERNEL: &str = "/sys/kernel/tmem";

/// Counters since boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    vmstat: BTreeMap<String, u64>,
    disks: BTreeMap<String, Disk>,
}

/// What one disk has done (Documentation/admin-guide/iostats.rst). Sectors have 512 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Disk {
    reads: u64,
    sectors_read: u64,
    writes: u64,
    sectors_written: u64,
}

impl Counters {
    /// As they are now. What the kernel does not offer is missing.
    pub(crate) fn now() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self { vmstat: vmstat(&text("/proc/vmstat")), disks: disks(&text("/proc/diskstats")) }
    }

    /// What was added since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let vmstat = self.vmstat.iter().map(|(name, now)| {
            (name.clone(), now.saturating_sub(before.vmstat.get(name).copied().unwrap_or(0)))
        });
        let disks = self.disks.iter().map(|(name, now)| {
            (name.clone(), now.since(before.disks.get(name).copied().unwrap_or_default()))
        });
        Self { vmstat: vmstat.collect(), disks: disks.collect() }
    }

    /// Adds them to a report: each line of vmstat, and `disks` with an object each.
    pub(crate) fn add_to(&self, report: Object) -> Object {
        let report = self.vmstat.iter().fold(report, |report, (name, value)| report.number(name, *value));
        let disks =
            self.disks.iter().fold(Object::default(), |all, (name, disk)| all.object(name, &disk.to_json()));
        report.object("disks", &disks)
    }
}

impl Disk {
    const fn since(self, before: Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(before.reads),
            sectors_read: self.sectors_read.saturating_sub(before.sectors_read),
            writes: self.writes.saturating_sub(before.writes),
            sectors_written: self.sectors_written.saturating_sub(before.sectors_written),
        }
    }

    fn to_json(self) -> Object {
        Object::default()
            .number("reads", self.reads)
            .number("sectors_read", self.sectors_read)
            .number("writes", self.writes)
            .number("sectors_written", self.sectors_written)
    }
}

/// The driver's counters: an object for each of its files; empty without the driver.
pub(crate) fn driver() -> Object {
    files(DRIVER).into_iter().fold(Object::default(), |all, (name, text)| all.object(&name, &pairs(&text)))
}

/// The counters of a tmem-aware kernel, if this is one. A report of their own, so that a line stays well below the 4096 bytes that the
/// console of one among many guests passes on in one piece.
pub(crate) fn hooks() -> Option<Object> {
    let counters: Vec<(String, u64)> = files(KERNEL)
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.trim().parse().ok()?)))
        .collect();
    let add = |all: Object, (name, value): &(String, u64)| all.number(name, *value);
    (!counters.is_empty()).then(|| counters.iter().fold(Object::event("hooks"), add))
}

/// A counter by its name: a line of /proc/vmstat or of a file of the driver's, or a file of a tmem-aware kernel's.
pub(crate) fn named(name: &str) -> Option<u64> {
    let vmstat = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let texts = std::iter::once(vmstat).chain(files(DRIVER).into_iter().map(|(_, text)| text));
    let of_kernel = || fs::read_to_string(Path::new(KERNEL).join(name)).ok()?.trim().parse().ok();
    texts.into_iter().find_map(|text| line(&text, name)).or_else(of_kernel)
}

/// The number of the line `NAME VALUE`.
fn line(text: &str, name: &str) -> Option<u64> {
    text.lines().filter_map(|line| line.split_once(' ')).find(|(found, _)| *found == name)?.1.parse().ok()
}

/// Name and text of the files of a folder, by name; none if there is no such folder.
fn files(dir: &str) -> Vec<(String, String)> {
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let text = fs::read_to_string(Path::new(dir).join(&name)).unwrap_or_default();
        (name.to_string_lossy().into_owned(), text)
    };
    let mut files: Vec<_> =
        fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(read).collect();
    files.sort();
    files
}

/// `NAME VALUE` lines; a value that is no number, decimal or `0x`, stays text.
fn pairs(text: &str) -> Object {
    text.lines().filter_map(|line| line.split_once(' ')).fold(Object::default(), |all, (name, value)| {
        let number = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => value.parse(),
        };
        match number {
            Ok(number) => all.number(name, number),
            Err(_) => all.text(name, value),
        }
    })
}

fn vmstat(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines
        .filter(|(name, _)| VMSTAT.contains(name))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

/// Every disk that has done anything; those of loop and ram that nobody uses would only be noise.
fn disks(text: &str) -> BTreeMap<String, Disk> {
    let disk = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let disk = Disk {
            reads: number(3)?,
            sectors_read: number(5)?,
            writes: number(7)?,
            sectors_written: number(9)?,
        };
        let name = (*fields.get(2)?).to_owned();
        (disk != Disk::default()).then_some((name, disk))
    };
    text.lines().filter_map(disk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISKSTATS: &str = "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n \
                             254       0 vda 10 2 160 7 20 3 480 9 0 12 16 0 0 0 0 0 0\n";

    #[test]
    fn sectors_are_found_among_the_other_numbers() {
        let disks = disks(DISKSTATS);

        assert_eq!(disks.len(), 1);
        assert_eq!(disks["vda"], Disk { reads: 10, sectors_read: 160, writes: 20, sectors_written: 480 });
    }

    #[test]
    fn only_what_was_added_is_reported() {
        let before = Counters { vmstat: vmstat("pswpin 5\npswpout 7\nother 1\n"), disks: disks(DISKSTATS) };
        let later = DISKSTATS.replace("vda 10 2 160", "vda 11 2 168");
        let after = Counters { vmstat: vmstat("pswpin 9\npswpout 7\n"), disks: disks(&later) };

        let line = after.since(&before).add_to(Object::default()).to_line();

        assert_eq!(
            line,
            r#"{"pswpin":4,"pswpout":0,"disks":{"vda":{"reads":1,"sectors_read":8,"writes":0,"sectors_written":0}}}"#
        );
    }

    #[test]
    fn counter_is_found_by_its_whole_name() {
        let text = "nr_free_pages 12\nputs_refused 3\ntransport hypercall\n";
        let found = ["nr_free_pages", "puts_refused", "puts", "transport"].map(|name| line(text, name));
        assert_eq!(found, [Some(12), Some(3), None, None]);
    }

    #[test]
    fn driver_lines_become_numbers_or_text() {
        let line = pairs("puts 12\nport 0x5a\ntransport hypercall\nnothing\n").to_line();

        assert_eq!(line, r#"{"puts":12,"port":90,"transport":"hypercall"}"#);
    }
}
