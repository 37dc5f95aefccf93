//! All worlds, and which scenarios make sense there.

use tmem_images::{KernelId, Series};

use super::world::{Script, TEST_HOST, World};

/// Scenarios of patches/test/guest.sh for a back end that takes pages.
pub(crate) const ALL: &str = "swap_pages_come_back,swap_large_folios_travel_together,\
swap_back_end_comes_late_and_may_not_go,swapoff_under_pressure,swap_two_areas_do_not_touch,clean_torture,\
clean_torture_without_a_journal,clean_torture_with_the_journal_of_data,clean_back_end_comes_and_goes,\
clean_pages_do_not_outlive_the_mount,clean_pages_outlive_the_inode,clean_old_tails_do_not_come_back,\
clean_moved_extents,clean_moved_extents_of_cached_files,clean_direct_writes_are_seen,\
clean_disk_changes_below_a_read_only_mount,clean_failed_writes_do_not_come_back,\
clean_failed_direct_writes_do_not_come_back,clean_swap_files_are_read_from_the_disk,clean_far_pages_are_flushed_in_parts,clean_mount_options_decide,\
clean_small_blocks_stay_out,clean_fio_verifies,both_at_once";

/// Those that ask only for what is right, not for pages that the host has taken.
const RIGHT: &str =
    "swap_whatever_the_host_does,clean_whatever_the_host_does,clean_back_end_comes_and_goes,both_at_once";

/// The same, and swap that does not fit.
pub(crate) const FULL: &str = "swap_store_is_full,swap_whatever_the_host_does,clean_whatever_the_host_does,\
clean_back_end_comes_and_goes,both_at_once";

/// Those that need the tricks of fakestore.ko.
pub(crate) const TRICKS: &str = "swap_refusals_go_to_the_disk,swap_failed_puts_leave_nothing_behind,swap_store_is_full,\
clean_torture_with_loss,clean_torture_in_a_small_store,clean_flush_that_fails_ends_it,\
clean_torture_finds_stale_pages,xfs_torture_with_loss,xfs_torture_finds_stale_pages,\
pools_come_when_there_is_room,back_end_goes_while_pools_are_asked_for,swap_refused_pages_are_offered_once";

/// Those about XFS, whose files are in large folios.
pub(crate) const XFS: &str = "xfs_large_folios_travel_together,xfs_direct_writes_are_seen,xfs_pages_outlive_the_inode,xfs_swapped_extents,\
xfs_torture,xfs_pages_do_not_outlive_the_mount,xfs_fio_verifies,xfs_torture_of_the_old_format,xfs_small_blocks_stay_out,\
xfs_back_end_comes_and_goes,xfs_disk_changes_below_a_read_only_mount";

/// Scenarios of test/guest.sh over a real host.
pub(crate) const DEVICE: &str = "absent_slots_read_as_zeros,written_blocks_read_back,written_blocks_read_back_singly,\
file_system_with_trim,discard_gives_memory_back,size_and_backing_are_checked,mkswap_by_the_driver,\
swap_under_pressure,swap_in_company,swap_under_stress_ng,swapoff_with_pages_in_use,swap_with_huge_pages,\
freed_slots_are_flushed,rmmod_while_in_use_is_refused";

/// What shows that a stock kernel can do it too.
pub(crate) const STOCK: &str = "written_blocks_read_back,file_system_with_trim,discard_gives_memory_back,mkswap_by_the_driver,\
swap_in_company,swapoff_with_pages_in_use,rmmod_while_in_use_is_refused,hibernation_is_refused";

/// Those that need a host which can be made to misbehave.
pub(crate) const BAD_HOST: &str = "bad_hosts_are_refused,host_without_batches_or_ranges,host_that_takes_nothing,\
faults_and_broken_batches_go_to_the_disk,lost_page_is_an_error_not_zeros,\
full_host_is_given_nothing_before_it_kept_a_page,full_host_that_then_loses_its_first_page_is_given_no_other,\
refused_puts_go_to_the_backing_disk,refused_puts_in_company_go_to_the_backing_disk,\
huge_pages_refused_in_the_middle,refused_puts_without_backing_keep_pages_in_memory,\
overwrites_move_between_tmem_and_disk";

/// Those for the kernel's hooks over such a host.
const FAULTS_SCENARIOS: &str =
    "puts_that_fault_go_to_the_disk,flush_that_faults_ends_the_pool,gets_that_fault_give_nothing";

/// The driver over the real host.
const REAL: &str = "/modules/tmem.ko";
/// The back end that does tricks.
pub(crate) const FAKE_STORE: &str = "/opt/fakestore.ko";

/// A good world, from which the others differ.
pub(crate) const ROOMY: World = World {
    name: "roomy",
    what: "nothing: the store takes everything",
    kernel: KernelId::Small,
    store: "768M",
    transport: "auto",
    tmem: "enabled = true",
    boot: "",
    variables: &[],
    script: Script::Hooks(REAL),
    scenarios: ALL,
    before: None,
    asks: false,
    after: None,
    sleeps: false,
};

/// About what the kernel's hooks make of errors.
pub(crate) const FAULTS: World = World {
    name: "faults",
    what: "a host inside the driver answers -EFAULT to puts, flushes or gets of the kernel's hooks",
    variables: &["OPTIONS=test_pages=60000"],
    script: Script::Hooks(TEST_HOST),
    scenarios: FAULTS_SCENARIOS,
    ..ROOMY
};

/// About the debug kernel itself.
pub(crate) const CANARY: World = World {
    name: "canary",
    what: "a module does what lockdep and KASAN have to notice (--kernel debug)",
    kernel: KernelId::Debug,
    variables: &["CANARY=/opt/canary.ko"],
    script: Script::Hooks(""),
    scenarios: "kernel_complaints_are_seen",
    ..ROOMY
};

/// About what the debug kernel can tell of a store that refuses and evicts.
const TRACES: World = World {
    name: "traces",
    what: "the guest may hold 8 MiB: events and counters agree, pages travel without allocations (--kernel debug)",
    kernel: KernelId::Debug,
    tmem: "enabled = true, cap = \"8M\"",
    scenarios: "events_say_what_counters_say,pages_travel_without_allocations",
    ..ROOMY
};

/// All of them.
pub(crate) static WORLDS: &[World] = &[
    ROOMY,
    CANARY,
    TRACES,
    World { name: "xfs", what: "nothing: files on XFS", scenarios: XFS, ..ROOMY },
    World {
        name: "crowded",
        what: "the guest may hold 2 MiB, which are full when it mounts",
        tmem: "enabled = true, cap = \"2M\"",
        scenarios: "mount_comes_when_the_cap_is_not_full",
        ..ROOMY
    },
    World {
        name: "off",
        what: "the driver is not loaded: the kernel by itself",
        script: Script::Hooks(""),
        scenarios: "swap_whatever_the_host_does,clean_whatever_the_host_does,clean_fio_verifies",
        ..ROOMY
    },
    World {
        name: "swap-only",
        what: "the driver offers no clean pages",
        variables: &["OPTIONS=clean=0", "OFFERS=swap"],
        scenarios: "swap_pages_come_back,clean_whatever_the_host_does,both_at_once",
        ..ROOMY
    },
    World {
        name: "clean-only",
        what: "the driver offers no swap",
        variables: &["OPTIONS=swap=0", "OFFERS=clean"],
        scenarios: "clean_torture,swap_whatever_the_host_does,both_at_once",
        ..ROOMY
    },
    World {
        name: "tiny",
        what: "the guest may hold 2 MiB: the host refuses and evicts all the time",
        tmem: "enabled = true, cap = \"2M\"",
        scenarios: RIGHT,
        ..ROOMY
    },
    World { name: "full", what: "the host has 4 MiB for everybody", store: "4M", scenarios: FULL, ..ROOMY },
    World {
        name: "nothing",
        what: "the host refuses everything, a pool too: a cap of 0",
        tmem: "enabled = true, cap = \"0\"",
        scenarios: "no_room_no_driver",
        ..ROOMY
    },
    World {
        name: "single",
        what: "one operation to an exit",
        variables: &["OPTIONS=batch=1"],
        scenarios: RIGHT,
        ..ROOMY
    },
    World {
        name: "no-pools",
        what: "the host allows no pool at all",
        tmem: "enabled = true, pools = []",
        scenarios: "no_pool_no_driver",
        ..ROOMY
    },
    World {
        name: "no-clean-pools",
        what: "the host allows pools for swap only",
        tmem: "enabled = true, pools = [\"persistent\"]",
        variables: &["OFFERS=swap"],
        scenarios: RIGHT,
        ..ROOMY
    },
    World {
        name: "frozen",
        what: "the host freezes the guest when it has pages there, and thaws it again",
        variables: &["LISTENS=1"],
        scenarios: "host_freezes_under_work",
        asks: true,
        ..ROOMY
    },
    FAULTS,
    World {
        name: "absent",
        what: "a host without tmem",
        tmem: "enabled = false",
        scenarios: "no_host_no_driver",
        ..ROOMY
    },
    World {
        name: "reboot",
        what: "the guest resets itself with pages in the store, swap on and a file system mounted",
        scenarios: "after_a_reset",
        before: Some("reset_with_pages_in_the_store"),
        ..ROOMY
    },
    World {
        name: "kexec",
        what: "the kernel boots another, out of the host's sight, with pages in the store and swap on",
        kernel: KernelId::Stock(Series::V6_12),
        script: Script::Device(REAL),
        scenarios: "kexec_with_pages_in_the_store",
        after: Some("after_a_kexec"),
        ..ROOMY
    },
    World {
        name: "tricks",
        what: "a back end in the guest that loses, refuses, fails, and once forgets to flush",
        script: Script::Hooks(FAKE_STORE),
        scenarios: TRICKS,
        ..ROOMY
    },
    World {
        name: "device",
        what: "nothing: /dev/tmem0 over the real host",
        script: Script::Device(REAL),
        scenarios: DEVICE,
        ..ROOMY
    },
    World {
        name: "device-6.12",
        what: "nothing: /dev/tmem0 with Debian's kernel 6.12",
        kernel: KernelId::Stock(Series::V6_12),
        script: Script::Device(REAL),
        scenarios: STOCK,
        ..ROOMY
    },
    World {
        name: "device-6.1",
        what: "nothing: /dev/tmem0 with Debian's kernel 6.1",
        kernel: KernelId::Stock(Series::V6_1),
        script: Script::Device(REAL),
        scenarios: STOCK,
        ..ROOMY
    },
    World {
        name: "port",
        what: "nothing: /dev/tmem0 over the I/O port",
        transport: "port",
        script: Script::Device(REAL),
        scenarios: "written_blocks_read_back_over_the_port,swap_in_company",
        ..ROOMY
    },
    World {
        name: "bad-host",
        what: "a host inside the driver: too new, dead, without pools or batches, -EFAULT, refusals, lost pages",
        // One pass: each page that is refused is an exit for the disk, which is slow in the lab.
        variables: &["PASSES=1"],
        script: Script::Device(TEST_HOST),
        scenarios: BAD_HOST,
        ..ROOMY
    },
];

/// What of [`WORLDS`] is soon shown and needs no program but busybox and the workload.
pub(crate) const QUICK: World = World {
    name: "quick",
    what: "a host inside the driver: too new, dead, without pools, refusing everything, losing pages",
    variables: &["WORK=32M", "PASSES=1"],
    script: Script::Device(TEST_HOST),
    scenarios: "bad_hosts_are_refused,host_that_takes_nothing,lost_page_is_an_error_not_zeros,\
                rmmod_while_in_use_is_refused",
    ..ROOMY
};
