//! What the kernel says about memory, and the one thing that it is asked to do.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use super::ShrinkError;
use crate::tool::files::{number, number_in};

const PRESSURE: &str = "/proc/pressure/memory";
const MEMINFO: &str = "/proc/meminfo";
const VMSTAT: &str = "/proc/vmstat";
/// The order from which on free pages are reported (mm/page_reporting.c); by itself that of a huge page, which a guest that is
/// short of memory has none of.
const ORDER: &str = "/sys/module/page_reporting/parameters/page_reporting_order";
const PAGE_KIB: u64 = 4;

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Microseconds since boot in which some task waited for memory.
    pub(super) waited_us: u64,
    /// Puts that the host refused: those of the kernel's hooks and of the driver's disk.
    pub(super) refused: u64,
    /// Pages that are not free.
    pub(super) used: u64,
    pub(super) swap: u64,
    pub(super) swap_free: u64,
}

/// This guest's memory.
#[derive(Debug)]
pub(super) struct Memory {
    reclaim: PathBuf,
    total: u64,
    reports: bool,
}

impl Memory {
    /// Finds the kernel's files, and has free blocks of 2^`order` pages reported.
    pub(super) fn open(order: u32) -> Result<Self, ShrinkError> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let reclaim = PathBuf::from(cgroup(&mounts).ok_or(ShrinkError::NoCgroup)?).join("memory.reclaim");
        let open = OpenOptions::new().write(true).open(&reclaim);
        open.map_err(|source| ShrinkError::Reclaim { path: reclaim.clone(), source })?;
        // A kernel without it keeps what becomes free; the report says so.
        let reports = fs::write(ORDER, order.to_string()).is_ok();
        Ok(Self { reclaim, total: number_in(MEMINFO, "MemTotal") / PAGE_KIB, reports })
    }

    pub(super) fn total_pages(&self) -> u64 {
        self.total
    }

    /// Whether the kernel can report free pages.
    pub(super) fn reports(&self) -> bool {
        self.reports
    }

    pub(super) fn sample(&self) -> Result<Sample, ShrinkError> {
        let failed = |source| ShrinkError::Pressure { path: PRESSURE, source };
        let pressure = fs::read_to_string(PRESSURE).map_err(failed)?;
        let meminfo = fs::read_to_string(MEMINFO).unwrap_or_default();
        let pages = |name| number(&meminfo, name).unwrap_or(0) / PAGE_KIB;
        let kernel = |name: &str| {
            let text = fs::read_to_string(format!("/sys/kernel/tmem/{name}")).unwrap_or_default();
            text.trim().parse::<u64>().unwrap_or(0)
        };
        let refused = kernel("swap_refused") + kernel("clean_refused");
        Ok(Sample {
            at: Instant::now(),
            waited_us: some_total(&pressure).unwrap_or(0),
            refused: refused + number_in("/sys/kernel/debug/tmem/stats", "puts_refused"),
            used: self.total.saturating_sub(pages("MemFree")),
            swap: pages("SwapTotal"),
            swap_free: pages("SwapFree"),
        })
    }

    /// Has the kernel reclaim `pages` pages; false if it did not find as many.
    pub(super) fn reclaim(&self, pages: u64) -> Result<bool, ShrinkError> {
        let failed = |source| ShrinkError::Reclaim { path: self.reclaim.clone(), source };
        let mut file = File::options().write(true).open(&self.reclaim).map_err(failed)?;
        match file.write_all(format!("{}K", pages * PAGE_KIB).as_bytes()) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// A line of /proc/vmstat.
    pub(super) fn vmstat(&self, name: &str) -> u64 {
        number_in(VMSTAT, name)
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345` (Documentation/accounting/psi.rst).
fn some_total(text: &str) -> Option<u64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split_once("total=")?.1.trim().parse().ok()
}

/// Where the first cgroup v2 of /proc/self/mounts is.
fn cgroup(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waited_time_is_that_of_some_not_of_all() {
        let text = "some avg10=0.10 avg60=0.00 avg300=0.00 total=777\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        assert_eq!(some_total(text), Some(777));
    }

    #[test]
    fn cgroup_is_found_by_its_type() {
        let mounts = "proc /proc proc rw 0 0\nnone /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        assert_eq!(cgroup(mounts), Some("/sys/fs/cgroup"));
        assert_eq!(cgroup("none /x cgroup rw 0 0\n"), None);
    }
}
