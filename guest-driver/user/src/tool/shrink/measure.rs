//! What the kernel says about memory, and the one thing that it is asked to do.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::ShrinkError;
use super::balloon::Balloon;
use crate::tool::files::{number, number_in};

const PRESSURE: &str = "/proc/pressure/memory";
const MEMINFO: &str = "/proc/meminfo";
const VMSTAT: &str = "/proc/vmstat";
/// Where the driver is, if it is loaded, and what it did and what the host says, if debugfs is mounted.
const DRIVER: &str = "/sys/module/tmem";
const STATS: &str = "/sys/kernel/debug/tmem/stats";
const HOST: &str = "/sys/kernel/debug/tmem/host";
const PAGE_KIB: u64 = 4;

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Microseconds since boot in which some task waited for memory. Reclaim that was asked for with memory.reclaim is no such
    /// waiting (since Linux 5.9 try_to_free_mem_cgroup_pages() leaves it to its callers to say so, and memory_reclaim() does not).
    pub(super) waited_us: u64,
    /// Puts of this guest that the host refused.
    pub(super) refused: u64,
    /// Pages of this guest that the host evicted.
    pub(super) evicted: u64,
    /// Pages that are neither free nor in the balloon.
    pub(super) used: u64,
    pub(super) swap: u64,
    pub(super) swap_free: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reclaimed {
    pub(super) pages: u64,
    /// The kernel gave up before it had found all.
    pub(super) cut_short: bool,
}

/// This guest's memory.
#[derive(Debug)]
pub(super) struct Memory {
    reclaim: PathBuf,
    total: u64,
    balloon: Balloon,
}

impl Memory {
    /// Finds the kernel's files.
    pub(super) fn open(balloon: Balloon) -> Result<Self, ShrinkError> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let reclaim = PathBuf::from(cgroup(&mounts).ok_or(ShrinkError::NoCgroup)?).join("memory.reclaim");
        let open = OpenOptions::new().write(true).open(&reclaim);
        open.map_err(|source| ShrinkError::Reclaim { path: reclaim.clone(), source })?;
        Ok(Self { reclaim, total: number_in(MEMINFO, "MemTotal") / PAGE_KIB, balloon })
    }

    pub(super) fn total_pages(&self) -> u64 {
        self.total
    }

    /// Whether free pages are reported to the host.
    pub(super) fn reports(&self) -> bool {
        self.balloon.reports
    }

    pub(super) fn sample(&self) -> Result<Sample, ShrinkError> {
        let failed = |source| ShrinkError::Pressure { path: PRESSURE, source };
        let pressure = fs::read_to_string(PRESSURE).map_err(failed)?;
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let (meminfo, vmstat, host) = (text(MEMINFO), text(VMSTAT), text(HOST));
        let pages = |name| number(&meminfo, name).unwrap_or(0) / PAGE_KIB;
        Ok(Sample {
            at: Instant::now(),
            waited_us: some_total(&pressure).unwrap_or(0),
            // A host that cannot be asked evicts unseen; what it refused is known on this side.
            refused: number(&host, "puts_refused").unwrap_or_else(refused_here),
            evicted: number(&host, "pages_evicted").unwrap_or(0),
            used: used(&meminfo, &vmstat, self.balloon.deflates_on_oom),
            swap: pages("SwapTotal"),
            swap_free: pages("SwapFree"),
        })
    }

    /// Has the kernel reclaim `pages` pages.
    pub(super) fn reclaim(&self, pages: u64) -> Result<Reclaimed, ShrinkError> {
        let failed = |source| ShrinkError::Reclaim { path: self.reclaim.clone(), source };
        let mut file = File::options().write(true).open(&self.reclaim).map_err(failed)?;
        let before = self.stolen();
        match file.write_all(format!("{}K", pages * PAGE_KIB).as_bytes()) {
            Ok(()) => Ok(Reclaimed { pages, cut_short: false }),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {
                // It does not say how many it found. What kswapd found meanwhile is among these.
                let found = self.stolen().saturating_sub(before);
                Ok(Reclaimed { pages: found.min(pages), cut_short: true })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Pages reclaimed since boot, by whomever. Those of memory.reclaim are in no other line of /proc/vmstat.
    fn stolen(&self) -> u64 {
        self.vmstat("pgsteal_anon") + self.vmstat("pgsteal_file")
    }

    /// A line of /proc/vmstat.
    pub(super) fn vmstat(&self, name: &str) -> u64 {
        number_in(VMSTAT, name)
    }
}

/// What is missing for all this to make sense, as sentences.
pub(super) fn missing(balloon: Balloon) -> Vec<&'static str> {
    let driver = Path::new(DRIVER).exists();
    let facts = [
        (
            !balloon.reports,
            "no virtio-balloon device reports free pages: nothing will reach the host by itself (tmem run --balloon, and the guest's \
             module virtio_balloon)",
        ),
        (!driver, "tmem.ko is not loaded: what is reclaimed goes to this guest's own disks, not to tmem"),
        (
            driver && fs::metadata(HOST).is_err(),
            "no /sys/kernel/debug/tmem: what the host refuses and evicts will not be noticed (mount -t debugfs none /sys/kernel/debug)",
        ),
    ];
    facts.into_iter().filter_map(|(missing, says)| missing.then_some(says)).collect()
}

/// Puts refused as this guest has counted them: those of the kernel's hooks, and those of the driver's disk and programs.
fn refused_here() -> u64 {
    let kernel = |name: &str| {
        let text = fs::read_to_string(format!("/sys/kernel/tmem/{name}")).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or(0)
    };
    kernel("swap_refused") + kernel("clean_refused") + number_in(STATS, "puts_refused")
}

/// Pages in use, by the texts of /proc/meminfo and /proc/vmstat. The pages of a balloon that deflates on OOM are part of MemTotal, but
/// the host's.
fn used(meminfo: &str, vmstat: &str, deflates_on_oom: bool) -> u64 {
    let pages = |name| number(meminfo, name).unwrap_or(0) / PAGE_KIB;
    let count = |name| number(vmstat, name).unwrap_or(0);
    let ballooned = count("balloon_inflate").saturating_sub(count("balloon_deflate"));
    let given = if deflates_on_oom { ballooned } else { 0 };
    pages("MemTotal").saturating_sub(pages("MemFree") + given)
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

    #[test]
    fn pages_in_the_balloon_are_not_in_use_and_are_subtracted_once() {
        let vmstat = "nr_free_pages 100\nballoon_inflate 300\nballoon_deflate 50\n";
        assert_eq!(used("MemTotal: 4000 kB\nMemFree: 400 kB\n", vmstat, true), 1000 - 100 - 250);
        // Here MemTotal is smaller by what is in the balloon.
        assert_eq!(used("MemTotal: 3000 kB\nMemFree: 400 kB\n", vmstat, false), 750 - 100);
        assert_eq!(used("MemTotal: 4000 kB\nMemFree: 400 kB\n", "nr_free_pages 100\n", true), 900);
    }
}
