//! The worlds whose store is inside the guest, so that no host is needed but an emulator.

use tmem_images::{KernelId, Series};

use crate::torture::world::{Script, TEST_HOST, World};
use crate::torture::worlds::{
    ALL, BAD_HOST, CANARY, DEVICE, FAKE_STORE, FAULTS, FULL, ROOMY, STOCK, TRICKS, XFS,
};

/// What swap can lie on, and who else wants its pages.
const SWAPS: &str = "swap_with_cluster_readahead,swap_with_cluster_readahead_and_refusals,swap_on_zram,swap_on_a_ram_disk,\
swap_with_zswap_behind,swap_with_zswap_that_may_not_write_back,swap_file_on_ext4,swap_file_on_xfs,swap_shmem_huge,\
swap_paged_out_on_demand,swap_pinned_pages,swap_piped_pages,both_without_lru_gen";

/// Disks that fail, fill up and go.
const DISKS: &str = "disk_refuses_writeback_of_ext4,disk_refuses_writeback_of_xfs,disk_refuses_direct_writes_of_ext4,\
disk_refuses_direct_writes_of_xfs,disk_refuses_aio_and_io_uring_of_ext4,disk_refuses_aio_and_io_uring_of_xfs,\
disk_refuses_reads_of_ext4,disk_refuses_reads_of_xfs,disk_is_full,disk_quota_is_full,disk_is_remounted_ext4,disk_is_remounted_xfs,\
disk_is_shut_down_ext4,disk_is_shut_down_xfs,disk_fails_at_random_ext4,disk_fails_at_random_xfs";

/// File systems on files of others, and files that share or exchange blocks.
const LAYERS: &str = "layer_overlay,layer_loop,layer_fuse,layer_huge_pages_of_programs_ext4,layer_huge_pages_of_programs_xfs,\
layer_deduplicated,layer_exchanged_ranges";

/// A good world: everything fits.
const GOOD: World = World {
    name: "good",
    what: "nothing: a back end in the guest, swap and files on ext4",
    script: Script::Hooks(FAKE_STORE),
    scenarios: ALL,
    ..ROOMY
};

/// A driver with a host inside, on a stock kernel.
const STOCK_DEVICE: World = World {
    name: "device-6.12",
    what: "a host inside the driver, Debian's kernel 6.12",
    kernel: KernelId::Stock(Series::V6_12),
    // What these kernels, without KASAN, can tell of memory that is used after it was freed is where it is poisoned. Of this size are
    // the driver's plugs.
    boot: "slub_debug=FZPU,kmalloc-4k",
    script: Script::Device(TEST_HOST),
    scenarios: STOCK,
    ..ROOMY
};

/// What of [`WORLDS`] is soon shown and needs no program but busybox, the workload and what is compiled here.
pub(crate) const QUICK: World = World {
    name: "quick",
    what: "a back end in the guest: swapoff under load, two areas, a full store, pages paged out on demand",
    scenarios: "swapoff_under_pressure,swap_two_areas_do_not_touch,swap_store_is_full,swap_paged_out_on_demand",
    ..GOOD
};

/// All of them.
pub(crate) static WORLDS: &[World] = &[
    GOOD,
    World {
        name: "processors",
        what: "nothing: a page that one processor changes and another reads while a third reclaims it",
        scenarios: "swap_no_cpu_reads_an_old_page,clean_no_cpu_reads_an_old_page",
        ..GOOD
    },
    World {
        name: "sealed",
        what: "dm-crypt below files and swap",
        scenarios: "clean_sealed_devices_stay_out",
        ..GOOD
    },
    World { name: "xfs", what: "nothing: files on XFS", scenarios: XFS, ..GOOD },
    World {
        name: "off",
        what: "no back end: the kernel by itself",
        script: Script::Hooks(""),
        scenarios: "swap_whatever_the_host_does,clean_whatever_the_host_does,clean_fio_verifies",
        ..ROOMY
    },
    World {
        name: "tiny",
        what: "room for 6 MiB: refusals and evictions all the time",
        variables: &["OPTIONS=pages=1500"],
        scenarios: FULL,
        ..GOOD
    },
    World {
        name: "tricks",
        what: "a back end that loses, refuses, fails, and once forgets to flush",
        scenarios: TRICKS,
        ..GOOD
    },
    World {
        name: "swaps",
        what: "disks that turn, devices like memory, zswap, files, huge pages, pins, pipes",
        scenarios: SWAPS,
        ..GOOD
    },
    World {
        name: "disks",
        what: "disks that fail, fill up, are remounted, shut down",
        scenarios: DISKS,
        ..GOOD
    },
    World {
        name: "layers",
        what: "overlay, loop, FUSE, huge pages of programs, shared and exchanged blocks",
        scenarios: LAYERS,
        ..GOOD
    },
    World {
        name: "no-memory",
        what: "allocations below tmem fail",
        scenarios: "both_while_allocations_fail",
        ..GOOD
    },
    World {
        name: "memcg-v1",
        what: "memory limited by the older kind of groups",
        variables: &["CGROUP_V1=1"],
        scenarios: "swap_pages_come_back,clean_torture,swapoff_under_pressure,both_at_once",
        ..GOOD
    },
    World {
        name: "poisoned",
        what: "freed memory holds what nobody mistakes for data: both uses, refusals, and a back end that goes",
        boot: "slub_debug=FZPU page_poison=1",
        scenarios: "swap_refusals_go_to_the_disk,clean_torture_with_loss,clean_back_end_comes_and_goes,both_at_once",
        ..GOOD
    },
    CANARY,
    FAULTS,
    World {
        name: "device",
        what: "a host inside the driver: /dev/tmem0 of a tmem-aware kernel",
        kernel: KernelId::Small,
        scenarios: DEVICE,
        ..STOCK_DEVICE
    },
    World {
        name: "bad-host",
        what: "a host inside the driver: too new, dead, without pools or batches, -EFAULT, refusals, lost pages",
        kernel: KernelId::Small,
        scenarios: BAD_HOST,
        ..STOCK_DEVICE
    },
    STOCK_DEVICE,
    World {
        name: "poisoned-6.12",
        what: "refusals in large folios while freed memory is poisoned, with Debian's kernel 6.12",
        boot: "slub_debug=FZPU",
        scenarios: "refused_puts_go_to_the_backing_disk,refused_puts_in_company_go_to_the_backing_disk,\
                    huge_pages_refused_in_the_middle,overwrites_move_between_tmem_and_disk",
        ..STOCK_DEVICE
    },
    World {
        name: "bad-host-6.12",
        what: "refusals, faults and lost pages with Debian's kernel 6.12",
        scenarios: BAD_HOST,
        ..STOCK_DEVICE
    },
    World {
        name: "starved-6.12",
        what: "refusals in the middle of huge pages, and no memory for what is to be done then",
        scenarios: "huge_pages_refused_in_parts_while_clones_are_waited_for",
        ..STOCK_DEVICE
    },
    World {
        name: "sleep-6.12",
        what: "a host inside the driver, and a machine that is suspended",
        scenarios: "pages_outlive_a_suspend",
        sleeps: true,
        ..STOCK_DEVICE
    },
    World {
        name: "device-6.1",
        what: "a host inside the driver, Debian's kernel 6.1",
        kernel: KernelId::Stock(Series::V6_1),
        ..STOCK_DEVICE
    },
    World {
        name: "bad-host-6.1",
        what: "refusals, faults and lost pages with Debian's kernel 6.1",
        kernel: KernelId::Stock(Series::V6_1),
        scenarios: BAD_HOST,
        ..STOCK_DEVICE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_world_needs_a_host() {
        for world in WORLDS {
            let inside = match world.script {
                Script::Hooks(module) => ["", FAKE_STORE, TEST_HOST].contains(&module),
                Script::Device(module) => module == TEST_HOST,
            };
            assert!(
                inside && !world.asks && world.before.is_none() && world.after.is_none(),
                "{}",
                world.name
            );
        }
    }
}
