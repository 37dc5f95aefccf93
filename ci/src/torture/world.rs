//! The worlds: a host and a driver that are good, or bad in one way.

use tmem_images::{KernelId, Series};

use crate::lab::place_of;

/// Scenarios of patches/test/guest.sh for a back end that takes pages.
const ALL: &str = "swap_pages_come_back,swap_large_folios_travel_together,\
swap_back_end_comes_late_and_may_not_go,swapoff_under_pressure,swap_two_areas_do_not_touch,clean_torture,\
clean_torture_without_a_journal,clean_torture_with_the_journal_of_data,clean_back_end_comes_and_goes,\
clean_pages_do_not_outlive_the_mount,clean_pages_outlive_the_inode,clean_old_tails_do_not_come_back,\
clean_moved_extents,clean_direct_writes_are_seen,clean_small_blocks_stay_out,clean_fio_verifies,both_at_once";

/// Those that ask only for what is right, not for pages that the host has taken.
const RIGHT: &str =
    "swap_whatever_the_host_does,clean_whatever_the_host_does,clean_back_end_comes_and_goes,both_at_once";

/// The same, and swap that does not fit.
const FULL: &str = "swap_store_is_full,swap_whatever_the_host_does,clean_whatever_the_host_does,\
clean_back_end_comes_and_goes,both_at_once";

/// Those that need the tricks of fakestore.ko.
const TRICKS: &str = "swap_refusals_go_to_the_disk,swap_failed_puts_leave_nothing_behind,swap_store_is_full,\
clean_torture_with_loss,clean_torture_in_a_small_store,clean_flush_that_fails_ends_it,\
clean_torture_finds_stale_pages,xfs_torture_with_loss,xfs_torture_finds_stale_pages,\
pools_come_when_there_is_room,back_end_goes_while_pools_are_asked_for";

/// Those about XFS, whose files are in large folios.
const XFS: &str = "xfs_large_folios_travel_together,xfs_direct_writes_are_seen,xfs_pages_outlive_the_inode,xfs_swapped_extents,\
xfs_torture,xfs_pages_do_not_outlive_the_mount,xfs_fio_verifies,xfs_torture_of_the_old_format,xfs_small_blocks_stay_out,\
xfs_back_end_comes_and_goes";

/// Scenarios of test/guest.sh over a real host.
const DEVICE: &str = "absent_slots_read_as_zeros,written_blocks_read_back,written_blocks_read_back_singly,\
file_system_with_trim,discard_gives_memory_back,size_and_backing_are_checked,mkswap_by_the_driver,\
swap_under_pressure,swap_in_company,swap_under_stress_ng,swapoff_with_pages_in_use,swap_with_huge_pages,\
freed_slots_are_flushed,rmmod_while_in_use_is_refused";

/// What shows that a stock kernel can do it too.
const STOCK: &str = "written_blocks_read_back,file_system_with_trim,discard_gives_memory_back,mkswap_by_the_driver,\
swap_in_company,swapoff_with_pages_in_use,rmmod_while_in_use_is_refused";

/// Those that need a host which can be made to misbehave.
const BAD_HOST: &str = "bad_hosts_are_refused,host_without_batches_or_ranges,host_that_takes_nothing,\
faults_and_broken_batches_go_to_the_disk,lost_page_is_an_error_not_zeros,\
refused_puts_go_to_the_backing_disk,refused_puts_in_company_go_to_the_backing_disk,\
huge_pages_refused_in_the_middle,refused_puts_without_backing_keep_pages_in_memory,\
overwrites_move_between_tmem_and_disk";

/// Which script knows the scenarios, and the module that it is given; relative to /modules or /opt of the guest.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    /// guest-driver/linux/patches/test/guest.sh: what a tmem-aware kernel does by itself, over this back end or none.
    Hooks(&'static str),
    /// guest-driver/linux/test/guest.sh: /dev/tmem0, made by this driver.
    Device(&'static str),
}

/// The driver over the real host.
const REAL: &str = "/modules/tmem.ko";
/// The driver with a host inside.
const TEST_HOST: &str = "/opt/test-host/tmem.ko";
/// The back end that does tricks.
const FAKE_STORE: &str = "/opt/fakestore.ko";

/// In the lab, what the guest of a world with [`World::after`] boots by itself: /dev/vdd and /dev/vde in there.
const KERNEL_DISK: &str = "/tmp/kernel.img";
const INITRD_DISK: &str = "/tmp/initrd.img";

/// How long to torture, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    /// The file of the kernel's folder that is booted.
    pub(super) boot_file: &'a str,
    /// Operations of each job of the coherency torture.
    pub(super) operations: u32,
    /// Seconds of each stress.
    pub(super) seconds: u32,
    /// Whether there is a disk of programs.
    pub(super) programs: bool,
}

/// One world.
#[derive(Clone, Copy, Debug)]
pub(super) struct World {
    /// Its name.
    pub(super) name: &'static str,
    /// What is bad in it.
    pub(super) what: &'static str,
    /// What the guest boots.
    pub(super) kernel: KernelId,
    /// Size of the host's store.
    store: &'static str,
    /// How hypercalls travel: `auto` or `port`.
    transport: &'static str,
    /// What `tmem run` is told about the guest's tmem.
    tmem: &'static str,
    /// Variables for the script; `OPTIONS` are further parameters of the driver.
    variables: &'static [&'static str],
    /// Who runs the scenarios.
    script: Script,
    /// The scenarios that make sense there, separated by commas.
    pub(super) scenarios: &'static str,
    /// A scenario of a boot before, which ends by rebooting the guest.
    pub(super) before: Option<&'static str>,
    /// A scenario of the kernel that the last one of `scenarios` boots by itself, out of the host's sight.
    pub(super) after: Option<&'static str>,
}

/// A good world, from which the others differ.
const ROOMY: World = World {
    name: "roomy",
    what: "nothing: the store takes everything",
    kernel: KernelId::Small,
    store: "768M",
    transport: "auto",
    tmem: "enabled = true",
    variables: &[],
    script: Script::Hooks(REAL),
    scenarios: ALL,
    before: None,
    after: None,
};

/// About the debug kernel itself.
const CANARY: World = World {
    name: "canary",
    what: "a module does what lockdep and KASAN have to notice (--kernel debug)",
    kernel: KernelId::Debug,
    variables: &["CANARY=/opt/canary.ko"],
    script: Script::Hooks(""),
    scenarios: "kernel_complaints_are_seen",
    ..ROOMY
};

/// All of them.
pub(super) static WORLDS: &[World] = &[
    ROOMY,
    CANARY,
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
        variables: &["OPTIONS=clean=0"],
        scenarios: "swap_pages_come_back,clean_whatever_the_host_does,both_at_once",
        ..ROOMY
    },
    World {
        name: "clean-only",
        what: "the driver offers no swap",
        variables: &["OPTIONS=swap=0"],
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
        scenarios: RIGHT,
        ..ROOMY
    },
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
pub(super) const QUICK: World = World {
    name: "quick",
    what: "a host inside the driver: too new, dead, without pools, refusing everything, losing pages",
    variables: &["WORK=32M", "PASSES=1"],
    script: Script::Device(TEST_HOST),
    scenarios: "bad_hosts_are_refused,host_that_takes_nothing,lost_page_is_an_error_not_zeros,\
                rmmod_while_in_use_is_refused",
    ..ROOMY
};

impl World {
    /// All that it runs.
    #[cfg(test)]
    fn all(&self) -> impl Iterator<Item = &'static str> {
        self.scenarios.split(',').chain(self.before).chain(self.after)
    }

    /// What the lab does before the guest is started: its disks, and for a kernel that boots another that one as well, as disks,
    /// which have whole sectors.
    pub(super) fn prepare(&self) -> String {
        let mut command = String::from("truncate -s 512M /tmp/swap.img /tmp/data.img; ");
        if self.after.is_some() {
            let kernel = place_of(self.kernel);
            for (from, to) in
                [(format!("{kernel}/bzImage"), KERNEL_DISK), ("/lab/initramfs".into(), INITRD_DISK)]
            {
                command.push_str(&format!("dd if={from} of={to} bs=64k conv=sync 2>/dev/null; "));
            }
        }
        command
    }

    /// The file for `tmem run`: one guest with two vCPUs that runs `scenarios`.
    pub(super) fn toml(&self, setting: &Setting<'_>, scenarios: &str) -> String {
        let script = match self.script {
            Script::Hooks(module) => {
                format!("STORE={module},OPERATIONS={},sh,/opt/hooks.sh", setting.operations)
            }
            Script::Device(module) => format!("BACKING=/dev/vda,sh,/opt/device.sh,{module}"),
        };
        let variables: String = self.variables.iter().map(|variable| format!("{variable},")).collect();
        let (programs, root) = if setting.programs {
            (", \"/lab/programs.img,ro\"", "guest.root=/dev/vdc")
        } else {
            ("", "guest.run=/bin/busybox,--install,-s,/bin")
        };
        let other = if self.after.is_some() {
            format!(", \"{KERNEL_DISK},ro\", \"{INITRD_DISK},ro\"")
        } else {
            String::new()
        };
        // Debian's cloud kernels have none.
        let xfs = if matches!(self.kernel, KernelId::Stock(_)) { "" } else { ",xfs" };
        format!(
            "[store]\nsize = \"{}\"\n\n[[guest]]\nname = \"torture\"\nkernel = \"{}/{}\"\n\
             initrd = \"/lab/initramfs\"\nmemory = \"{}M\"\nvcpus = 2\n\
             transport = \"{}\"\n\
             disks = [\"/tmp/swap.img\", \"/tmp/data.img\"{programs}{other}]\ntmem = {{ {} }}\n\
             cmdline = \"console=ttyS0 panic=-1 quiet mitigations=off nokaslr guest.modules=virtio_mmio,virtio_blk,ext4{xfs} \
             {root} guest.run=env,SECONDS_OF_STRESS={},{variables}{script},{scenarios}\"\n",
            self.store,
            place_of(self.kernel),
            setting.boot_file,
            self.memory_mib(),
            self.transport,
            self.tmem,
            setting.seconds,
        )
    }

    /// Whether it is run with this kernel when no world is named: with the debug kernel those whose kernel it can replace, without
    /// it those that do not need it.
    pub(super) fn makes_sense_on(&self, kernel: KernelId) -> bool {
        match kernel {
            KernelId::Debug => self.on(kernel).kernel == KernelId::Debug,
            _ => self.kernel != KernelId::Debug,
        }
    }

    /// The same with `kernel`, if it is about a tmem-aware one.
    pub(super) fn on(&self, kernel: KernelId) -> Self {
        let kernel = if self.kernel == KernelId::Small { kernel } else { self.kernel };
        Self { kernel, ..*self }
    }

    /// Memory of the guest in MiB. A host inside it needs room for the pages that it holds; KASAN takes an eighth of all, and its
    /// quarantine, lockdep's tables and stacks of twice the size have to fit beside that.
    fn memory_mib(&self) -> u32 {
        let debug = if self.kernel == KernelId::Debug { 256 } else { 0 };
        debug
            + match self.script {
                Script::Hooks(_) => 256,
                Script::Device(_) => 512,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scripts that have the scenarios.
    const HOOKS: &str = include_str!("../../../guest-driver/linux/patches/test/guest.sh");
    const DEVICE: &str = include_str!("../../../guest-driver/linux/test/guest.sh");

    const SETTING: Setting<'_> =
        Setting { boot_file: "vmlinux", operations: 99_999, seconds: 999, programs: true };

    #[test]
    fn every_scenario_of_every_world_is_in_its_script() {
        for world in WORLDS.iter().chain([&QUICK]) {
            let script = if matches!(world.script, Script::Hooks(_)) { HOOKS } else { DEVICE };
            for scenario in world.all() {
                assert!(script.contains(&format!("scenario_{scenario}()")), "{}: {scenario}", world.name);
            }
        }
    }

    #[test]
    fn every_scenario_of_the_scripts_is_in_some_world() {
        for (script, hooks) in [(HOOKS, true), (DEVICE, false)] {
            let named = script.lines().filter_map(|line| line.strip_prefix("scenario_")?.split_once("()"));
            for (name, _) in named {
                let runs = |world: &World| {
                    matches!(world.script, Script::Hooks(_)) == hooks
                        && world.all().any(|scenario| scenario == name)
                };
                assert!(WORLDS.iter().any(runs), "{name}");
            }
        }
    }

    #[test]
    fn the_debug_kernel_takes_the_place_of_the_small_one_only() {
        let run_on = |kernel| -> Vec<(&str, KernelId)> {
            let asked = WORLDS.iter().filter(move |world| world.makes_sense_on(kernel));
            asked.map(|world| (world.name, world.on(kernel).kernel)).collect()
        };
        let (small, debug) = (run_on(KernelId::Small), run_on(KernelId::Debug));
        assert!(small.contains(&("roomy", KernelId::Small)) && debug.contains(&("roomy", KernelId::Debug)));
        assert!(
            !small.iter().any(|(name, _)| *name == "canary") && debug.contains(&("canary", KernelId::Debug))
        );
        assert!(small.iter().any(|(_, kernel)| matches!(kernel, KernelId::Stock(_))));
        assert!(debug.iter().all(|(_, kernel)| *kernel == KernelId::Debug));
    }

    #[test]
    fn a_world_tells_the_host_and_the_script_what_is_bad() {
        let tiny = WORLDS.iter().find(|world| world.name == "tiny").unwrap();
        let tiny = tiny.toml(&Setting { operations: 5, seconds: 6, ..SETTING }, "a,b");
        assert!(tiny.contains("tmem = { enabled = true, cap = \"2M\" }"), "{tiny}");
        assert!(tiny.contains("SECONDS_OF_STRESS=6,STORE=/modules/tmem.ko,OPERATIONS=5,sh"), "{tiny}");
        assert!(tiny.contains("/opt/hooks.sh,a,b\""), "{tiny}");
    }

    #[test]
    fn a_kernel_that_boots_another_has_it_on_disks() {
        let world = WORLDS.iter().find(|world| world.name == "kexec").unwrap();
        let text = world.toml(&SETTING, world.scenarios);
        for (disk, from) in [(KERNEL_DISK, "/images/stock-6.12/bzImage"), (INITRD_DISK, "/lab/initramfs")] {
            assert!(text.contains(&format!("\"{disk},ro\"")), "{text}");
            assert!(world.prepare().contains(&format!("if={from} of={disk} ")), "{}", world.prepare());
        }
    }

    #[test]
    fn a_world_fits_on_a_command_line() {
        for world in WORLDS {
            // 2048 bytes (arch/x86/include/asm/setup.h), less what the VMM adds about its devices.
            let text = world.toml(&SETTING, world.scenarios);
            let line = text.lines().find(|line| line.starts_with("cmdline")).unwrap();
            assert!(line.len() < 1536, "{}: {}", world.name, line.len());
        }
    }
}
