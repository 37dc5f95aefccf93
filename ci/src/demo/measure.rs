//! One guest in one mode: what it says, what the VMM says, and whether the two agree.
//!
//! The numbers come from two places that share no code: the guest's kernel (/proc/vmstat, /proc/diskstats) and driver on one
//! side, the VMM's disk and store counters on the other. A table built from one of them alone would believe its own bugs.

use serde::Serialize;

use super::guest::{Driver, GuestSide, Run};
use crate::vmm_report;

/// What swap goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// A virtio disk.
    Disk,
    /// tmem, with the same disk behind it.
    Tmem,
}

impl Mode {
    /// Both, in the order in which they are run.
    pub(crate) const BOTH: [Self; 2] = [Self::Disk, Self::Tmem];

    /// Its name in file names and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Tmem => "tmem",
        }
    }
}

/// One line of the demo's table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The guest.
    pub(crate) guest: String,
    /// What its swap went to.
    pub(crate) mode: Mode,
    /// Its kernel.
    pub(crate) kernel: String,
    /// How its calls travelled, by the VMM's word; absent without tmem.
    pub(crate) transport: Option<String>,
    /// Seconds of its workload by its own clock; means nothing in the lab.
    pub(crate) elapsed_s: f64,
    /// Whether it worked on a file too.
    pub(crate) file: bool,
    /// Pages of its working set.
    pub(crate) pages: u64,
    /// Pages compared with what they should hold.
    pub(crate) pages_checked: u64,
    /// Pages that did not.
    pub(crate) corrupt_pages: u64,
    /// Pages swapped in, from wherever they were.
    pub(crate) swapped_in: u64,
    /// Pages swapped out: to a device (/proc/vmstat), or by a tmem-aware kernel's hook.
    pub(crate) swapped_out: u64,
    /// Sectors of 512 bytes read from disk, by the VMM's count.
    pub(crate) sectors_read: u64,
    /// Sectors of 512 bytes written to disk, by the VMM's count.
    pub(crate) sectors_written: u64,
    /// Pages that the store took.
    pub(crate) puts: u64,
    /// Gets.
    pub(crate) gets: u64,
    /// Puts that the store refused.
    pub(crate) refusals: u64,
    /// Swap, by the guest's count; absent without tmem.
    pub(crate) swap: Option<Use>,
    /// Clean pages of files, by the guest's count; absent without tmem and where the kernel does not offer them.
    pub(crate) files: Option<Use>,
}

/// What one use of tmem did, by the guest's count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Use {
    /// Pages that the store took.
    pub(crate) puts: u64,
    /// Calls that carried puts.
    pub(crate) put_calls: u64,
    /// Pages asked for.
    pub(crate) gets: u64,
    /// Pages that came.
    pub(crate) hits: u64,
    /// Calls that carried gets.
    pub(crate) get_calls: u64,
    /// Puts that the store refused.
    pub(crate) refusals: u64,
}

impl Use {
    /// What a tmem-aware kernel did about pages on their way to swap.
    fn hooks_for_swap(tmem: &Driver) -> Self {
        Self {
            puts: tmem.hook("swap_puts"),
            put_calls: tmem.hook("swap_put_calls"),
            gets: tmem.hook("swap_gets") + tmem.hook("swap_lost"),
            hits: tmem.hook("swap_gets"),
            get_calls: tmem.hook("swap_get_calls"),
            refusals: tmem.hook("swap_refused"),
        }
    }

    /// What a tmem-aware kernel did about clean pages of files.
    fn hooks_for_files(tmem: &Driver) -> Self {
        Self {
            puts: tmem.hook("clean_puts"),
            put_calls: tmem.hook("clean_put_calls"),
            gets: tmem.hook("clean_gets"),
            hits: tmem.hook("clean_hits"),
            get_calls: tmem.hook("clean_get_calls"),
            refusals: tmem.hook("clean_refused"),
        }
    }

    /// What the driver's own disk did. It does not tell calls of puts from calls of gets.
    fn device(tmem: &Driver) -> Self {
        let (refusals, failed) = (tmem.stat("puts_refused"), tmem.stat("puts_failed"));
        Self {
            puts: tmem.stat("puts").saturating_sub(refusals + failed),
            put_calls: 0,
            gets: tmem.stat("gets"),
            hits: tmem.stat("gets").saturating_sub(tmem.stat("gets_failed")),
            get_calls: tmem.stat("exits"),
            refusals,
        }
    }

    /// Adds another guest's.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            puts: self.puts + other.puts,
            put_calls: self.put_calls + other.put_calls,
            gets: self.gets + other.gets,
            hits: self.hits + other.hits,
            get_calls: self.get_calls + other.get_calls,
            refusals: self.refusals + other.refusals,
        }
    }

    /// Pages that travelled in one exit, on the average.
    pub(crate) fn pages_per_exit(&self) -> f64 {
        let exits = self.put_calls + self.get_calls;
        // Counts of pages are far below 2^53.
        if exits == 0 { 0.0 } else { (self.puts + self.refusals + self.gets) as f64 / exits as f64 }
    }
}

/// Makes the row of a guest.
pub(crate) fn row(mode: Mode, guest: &GuestSide, vmm: &vmm_report::Guest) -> Row {
    let (sectors_read, sectors_written) = vmm.sectors();
    let runs = |of: fn(&Run) -> u64| guest.runs.iter().map(of).sum();
    let driver = &guest.counters.tmem;
    let (with_tmem, aware) = (vmm.tmem.is_some(), !driver.hooks.is_empty());
    let swap = if aware { Use::hooks_for_swap(driver) } else { Use::device(driver) };
    let tmem = vmm.tmem.unwrap_or_default();
    Row {
        guest: vmm.name.clone(),
        mode,
        kernel: guest.kernel.clone(),
        transport: vmm.transport.clone(),
        elapsed_s: guest.runs.iter().map(|run| run.elapsed_s).sum(),
        file: guest.runs.iter().any(|run| run.file.is_some()),
        pages: runs(|run| run.pages),
        pages_checked: runs(|run| run.checked),
        corrupt_pages: runs(|run| run.corrupt),
        swapped_in: guest.counters.pswpin + driver.hook("swap_gets"),
        swapped_out: guest.counters.pswpout + driver.hook("swap_puts"),
        sectors_read,
        sectors_written,
        puts: tmem.puts,
        gets: tmem.gets,
        refusals: tmem.puts_refused,
        swap: with_tmem.then_some(swap),
        files: (with_tmem && aware).then(|| Use::hooks_for_files(driver)),
    }
}

/// By how many pages the VMM may count more than the guest: the guest takes its counters a moment before it powers off and
/// may swap a little until then. It can never count more than the VMM.
const AFTER_THE_SNAPSHOT: u64 = 512;
/// Sectors of a page.
const PAGE_SECTORS: u64 = 8;

/// Where the two sides tell different stories; empty if they agree.
pub(crate) fn disagreements(row: &Row, guest: &GuestSide) -> Vec<String> {
    let disks =
        || guest.counters.disks.iter().filter(|(name, _)| name.starts_with("vd")).map(|(_, disk)| disk);
    let driver = &guest.counters.tmem;
    // The driver's disk and the kernel's hooks have pools of their own; the VMM adds them up.
    let inside = Use::device(driver).and(Use::hooks_for_swap(driver)).and(Use::hooks_for_files(driver));
    let pairs = [
        ("sectors read", PAGE_SECTORS, disks().map(|disk| disk.sectors_read).sum(), row.sectors_read),
        (
            "sectors written",
            PAGE_SECTORS,
            disks().map(|disk| disk.sectors_written).sum(),
            row.sectors_written,
        ),
        ("pages kept", 1, inside.puts, row.puts),
        ("puts refused", 1, inside.refusals, row.refusals),
        ("gets", 1, inside.gets, row.gets),
    ];
    pairs
        .into_iter()
        .filter(|&(_, per_page, inside, outside): &(_, u64, u64, u64)| {
            outside < inside || outside - inside > AFTER_THE_SNAPSHOT * per_page
        })
        .map(|(what, _, inside, outside)| {
            format!(
                "{} ({}): {inside} {what} by the guest's count, {outside} by the VMM's",
                row.guest,
                row.mode.name()
            )
        })
        .chain(transport_disagreement(row, driver))
        .collect()
}

/// The driver calls `hypercall` what the VMM calls `xen`.
fn transport_disagreement(row: &Row, driver: &Driver) -> Option<String> {
    let inside = driver.transport().map(|name| if name == "hypercall" { "xen" } else { name });
    let outside = row.transport.as_deref();
    (inside != outside).then(|| {
        let (who, mode) = (&row.guest, row.mode.name());
        format!("{who} ({mode}): the guest's transport is {inside:?}, the VMM's {outside:?}")
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::demo::guest;
    use crate::vmm_report::{Disk, Tmem};

    /// A VMM's side that agrees with [`guest::tests::console`].
    pub(crate) fn vmm() -> vmm_report::Guest {
        let disks = vec![Disk { sectors_read: 80, sectors_written: 160, ..Disk::default() }];
        vmm_report::Guest {
            disks,
            ..vmm_report::tests::guest("a", Some(Tmem { puts: 20, ..Tmem::default() }))
        }
    }

    #[test]
    fn a_row_takes_sectors_and_puts_from_the_vmm_and_the_rest_from_the_guest() {
        let side = guest::read("a", &guest::tests::console(0, 0)).unwrap();
        let row = row(Mode::Tmem, &side, &vmm());
        assert_eq!((row.sectors_read, row.sectors_written, row.puts), (80, 160, 20));
        assert_eq!((row.swapped_in, row.swapped_out, row.pages_checked), (10, 20, 65536));
        assert_eq!(row.transport.as_deref(), Some("xen"));
    }

    #[test]
    fn two_sides_that_agree_have_no_disagreement() {
        let side = guest::read("a", &guest::tests::console(0, 0)).unwrap();
        let row = row(Mode::Tmem, &side, &vmm());
        assert_eq!(disagreements(&row, &side), Vec::<String>::new());
    }

    #[test]
    fn the_vmm_may_count_a_little_more_than_the_guest_but_not_much() {
        let side = guest::read("a", &guest::tests::console(0, 0)).unwrap();
        let after = |puts| {
            let mut vmm = vmm();
            vmm.tmem = Some(Tmem { puts, ..Tmem::default() });
            disagreements(&row(Mode::Tmem, &side, &vmm), &side).len()
        };
        assert_eq!((after(21), after(20 + AFTER_THE_SNAPSHOT), after(21 + AFTER_THE_SNAPSHOT)), (0, 0, 1));
    }

    #[test]
    fn a_page_that_was_refused_is_not_one_that_is_kept() {
        let text = guest::tests::console(0, 0).replace("\"puts\":20}", "\"puts\":20,\"puts_refused\":5}");
        let side = guest::read("a", &text).unwrap();
        let mut vmm = vmm();
        vmm.tmem = Some(Tmem { puts: 15, puts_refused: 5, ..Tmem::default() });
        assert_eq!(disagreements(&row(Mode::Tmem, &side, &vmm), &side), Vec::<String>::new());
    }

    #[test]
    fn the_hooks_of_a_tmem_aware_kernel_are_counted_by_use() {
        let hooks = "TMEM-REPORT {\"event\":\"hooks\",\"swap_puts\":7,\"swap_refused\":1,\"swap_put_calls\":2,\
                     \"clean_puts\":9,\"clean_gets\":6,\"clean_hits\":5,\"clean_put_calls\":1,\"clean_get_calls\":2}\n";
        let text = hooks.to_owned() + &guest::tests::console(0, 0).replace("\"puts\":20", "\"puts\":0");
        let side = guest::read("a", &text).unwrap();
        let mut vmm = vmm();
        vmm.tmem = Some(Tmem { puts: 16, puts_refused: 1, gets: 6, evicted: 0 });
        let row = row(Mode::Tmem, &side, &vmm);
        assert_eq!(disagreements(&row, &side), Vec::<String>::new());
        let (swap, files) = (row.swap.unwrap(), row.files.unwrap());
        assert_eq!((swap.puts, swap.pages_per_exit()), (7, 4.0));
        assert_eq!(row.swapped_out, 20 + 7);
        assert_eq!((files.puts, files.gets, files.hits, files.pages_per_exit()), (9, 6, 5, 5.0));
    }

    #[test]
    fn a_counter_that_differs_is_named_with_both_values() {
        let side = guest::read("a", &guest::tests::console(0, 0)).unwrap();
        let mut other = vmm();
        other.transport = Some("port".into());
        other.tmem = Some(Tmem { puts: 19, ..Tmem::default() });
        let row = row(Mode::Tmem, &side, &other);
        assert_eq!(
            disagreements(&row, &side),
            [
                "a (tmem): 20 pages kept by the guest's count, 19 by the VMM's",
                "a (tmem): the guest's transport is Some(\"xen\"), the VMM's Some(\"port\")",
            ]
        );
    }
}
