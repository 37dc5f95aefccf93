//! A world: a host and a driver that are good, or bad in one way.

use tmem_images::KernelId;

use crate::lab::place_of;

/// The driver with a host inside.
pub(crate) const TEST_HOST: &str = "/opt/test-host/tmem.ko";

/// Which script knows the scenarios, and the module that it is given; relative to /modules or /opt of the guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    /// guest-driver/linux/patches/test/guest.sh: what a tmem-aware kernel does by itself, over this back end or none.
    Hooks(&'static str),
    /// guest-driver/linux/test/guest.sh: /dev/tmem0, made by this driver.
    Device(&'static str),
}

/// In the lab, what the guest of a world with [`World::after`] boots by itself: /dev/vdd and /dev/vde in there.
const KERNEL_DISK: &str = "/tmp/kernel.img";
const INITRD_DISK: &str = "/tmp/initrd.img";

/// How long to torture, and with what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    /// The file of the kernel's folder that is booted.
    pub(crate) boot_file: &'a str,
    /// Operations of each job of the coherency torture.
    pub(crate) operations: u32,
    /// Seconds of each stress.
    pub(crate) seconds: u32,
    /// Which turn it is; another turn does other things.
    pub(crate) round: u32,
    /// Whether there is a disk of programs.
    pub(crate) programs: bool,
}

/// One world.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    /// Its name.
    pub(crate) name: &'static str,
    /// What is bad in it.
    pub(crate) what: &'static str,
    /// What the guest boots.
    pub(crate) kernel: KernelId,
    /// Size of the host's store.
    pub(crate) store: &'static str,
    /// How hypercalls travel: `auto` or `port`.
    pub(crate) transport: &'static str,
    /// What `tmem run` is told about the guest's tmem.
    pub(crate) tmem: &'static str,
    /// Further words for the kernel.
    pub(crate) boot: &'static str,
    /// Variables for the script; `OPTIONS` are further parameters of the driver.
    pub(crate) variables: &'static [&'static str],
    /// Who runs the scenarios.
    pub(crate) script: Script,
    /// The scenarios that make sense there, separated by commas.
    pub(crate) scenarios: &'static str,
    /// A scenario of a boot before, which ends by rebooting the guest.
    pub(crate) before: Option<&'static str>,
    /// Whether the guest has its host freeze and thaw it, by what it says on its console.
    pub(crate) asks: bool,
    /// A scenario of the kernel that the last one of `scenarios` boots by itself, out of the host's sight.
    pub(crate) after: Option<&'static str>,
    /// Whether the machine has to be one that can be suspended; only `torture --smp` has one.
    pub(crate) sleeps: bool,
}

impl World {
    /// All that it runs.
    #[cfg(test)]
    fn all(&self) -> impl Iterator<Item = &'static str> {
        self.scenarios.split(',').chain(self.before).chain(self.after)
    }

    /// What the lab does before the guest is started: its disks, and for a kernel that boots another that one as well, as disks,
    /// which have whole sectors.
    pub(crate) fn prepare(&self) -> String {
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

    /// What runs the guest of /lab/guest.toml in the lab.
    pub(crate) const fn run(&self) -> &'static str {
        if self.asks { "sh /lab/frozen.sh" } else { "tmem run /lab/guest.toml --report /out/report.json" }
    }

    /// Which scenario says that `scenario` of this world's script ended well: a kernel that another replaces says no more.
    pub(crate) fn ends_as<'a>(&self, scenario: &'a str) -> &'a str {
        match self.after {
            Some(after) if self.is_own(scenario) => after,
            _ => scenario,
        }
    }

    /// Whether `scenario` is one of those that make sense here.
    pub(crate) fn is_own(&self, scenario: &str) -> bool {
        self.scenarios.split(',').any(|own| own == scenario)
    }

    /// The file for `tmem run`: one guest with two vCPUs that runs `scenarios`.
    pub(crate) fn toml(&self, setting: &Setting<'_>, scenarios: &str) -> String {
        let programs = if setting.programs { ", \"/lab/programs.img,ro\"" } else { "" };
        let other = if self.after.is_some() {
            format!(", \"{KERNEL_DISK},ro\", \"{INITRD_DISK},ro\"")
        } else {
            String::new()
        };
        format!(
            "[store]\nsize = \"{}\"\n\n[[guest]]\nname = \"torture\"\nkernel = \"{}/{}\"\n\
             initrd = \"/lab/initramfs\"\nmemory = \"{}M\"\nvcpus = 2\n\
             transport = \"{}\"\n\
             disks = [\"/tmp/swap.img\", \"/tmp/data.img\"{programs}{other}]\ntmem = {{ {} }}\n\
             cmdline = \"{}\"\n",
            self.store,
            place_of(self.kernel),
            setting.boot_file,
            self.memory_mib(),
            self.transport,
            self.tmem,
            self.words(setting, scenarios),
        )
    }

    /// The kernel's command line: what the guest loads, and the script that runs `scenarios`. Its disks are for swap, for data, and
    /// of programs, in this order.
    pub(crate) fn words(&self, setting: &Setting<'_>, scenarios: &str) -> String {
        let script = match self.script {
            Script::Hooks(module) => {
                format!("STORE={module},OPERATIONS={},sh,/opt/hooks.sh", setting.operations)
            }
            Script::Device(module) => format!("BACKING=/dev/vda,sh,/opt/device.sh,{module}"),
        };
        let variables: String = self.variables.iter().map(|variable| format!("{variable},")).collect();
        let root =
            if setting.programs { "guest.root=/dev/vdc" } else { "guest.run=/bin/busybox,--install,-s,/bin" };
        // Debian's cloud kernels have no XFS.
        let more = if self.kernel.is_tmem_aware() { ",xfs,zram" } else { "" };
        format!(
            "console=ttyS0 panic=-1 quiet mitigations=off nokaslr {} guest.modules=virtio_mmio,virtio_blk,ext4{more} \
             {root} guest.run=env,SECONDS_OF_STRESS={},ROUND={},{variables}{script},{scenarios}",
            self.boot, setting.seconds, setting.round,
        )
    }

    /// Whether it is run with this kernel when no world is named: with the debug kernel those whose kernel it can replace, without
    /// it those that do not need it.
    pub(crate) fn makes_sense_on(&self, kernel: KernelId) -> bool {
        if kernel.is_debugged() { self.on(kernel).kernel == kernel } else { !self.kernel.is_debugged() }
    }

    /// The same with `kernel`, if it is about a tmem-aware one.
    pub(crate) fn on(&self, kernel: KernelId) -> Self {
        let replaced = match self.kernel {
            KernelId::Small => true,
            KernelId::Debug => kernel.is_debugged(),
            _ => false,
        };
        let kernel = if replaced { kernel } else { self.kernel };
        Self { kernel, ..*self }
    }

    /// Memory of the guest in MiB. A host inside it needs room for the pages that it holds; KASAN takes an eighth of all, and its
    /// quarantine, lockdep's tables and stacks of twice the size have to fit beside that.
    pub(crate) fn memory_mib(&self) -> u32 {
        let debug = if self.kernel.is_debugged() { 256 } else { 0 };
        debug
            + match self.script {
                Script::Hooks(TEST_HOST) | Script::Device(_) => 512,
                Script::Hooks(_) => 256,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::super::worlds::{QUICK, WORLDS};
    use super::*;
    use crate::smp::worlds::{QUICK as SMP_QUICK, WORLDS as SMP_WORLDS};

    /// The scripts that have the scenarios.
    const HOOKS: &str = concat!(
        include_str!("../../../guest-driver/linux/patches/test/guest.sh"),
        include_str!("../../../guest-driver/linux/patches/test/hosts.sh"),
        include_str!("../../../guest-driver/linux/patches/test/traces.sh"),
        include_str!("../../../guest-driver/linux/patches/test/swaps.sh"),
        include_str!("../../../guest-driver/linux/patches/test/disks.sh"),
        include_str!("../../../guest-driver/linux/patches/test/layers.sh"),
    );
    const DEVICE: &str = include_str!("../../../guest-driver/linux/test/guest.sh");

    const SETTING: Setting<'_> =
        Setting { boot_file: "vmlinux", operations: 99_999, seconds: 999, round: 0, programs: true };

    #[test]
    fn every_scenario_of_every_world_is_in_its_script() {
        for world in WORLDS.iter().chain(SMP_WORLDS).chain([&QUICK, &SMP_QUICK]) {
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
                assert!(WORLDS.iter().chain(SMP_WORLDS).any(runs), "{name}");
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
        assert!(
            tiny.contains("SECONDS_OF_STRESS=6,ROUND=0,STORE=/modules/tmem.ko,OPERATIONS=5,sh"),
            "{tiny}"
        );
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
        for world in WORLDS.iter().chain(SMP_WORLDS) {
            // 2048 bytes (arch/x86/include/asm/setup.h), less what the VMM adds about its devices.
            let text = world.toml(&SETTING, world.scenarios);
            let line = text.lines().find(|line| line.starts_with("cmdline")).unwrap();
            assert!(line.len() < 1536, "{}: {}", world.name, line.len());
        }
    }
}
