//! The cases: one guest that is short of memory, for each way in which Linux has tmem.

use tmem_images::{KernelId, Series};

use crate::lab::place_of;

/// What the lab's shell does. The disks are sparse files.
pub(super) const SCRIPT: &str =
    "truncate -s 256M /tmp/swap.img /tmp/data.img && tmem run /lab/guest.toml --report /out/report.json";

/// How many operations an exit may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// One.
    Single,
    /// As many as come together: the default.
    Batched,
}

impl Setting {
    /// Both, in the order in which they run.
    pub(super) const BOTH: [Self; 2] = [Self::Single, Self::Batched];

    /// As it is written in tables and file names.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Batched => "batched",
        }
    }

    /// The driver's parameters (guest-driver/linux/README.md).
    const fn parameters(self) -> &'static str {
        match self {
            Self::Single => " tmem.batch=1 tmem.sync=1",
            Self::Batched => "",
        }
    }
}

/// What a guest works on, and where that goes.
#[derive(Debug)]
pub(super) struct Case {
    /// Its name.
    pub(super) name: &'static str,
    /// What runs.
    pub(super) what: &'static str,
    /// What the guest boots.
    pub(super) kernel: KernelId,
    /// Its memory in MiB.
    memory_mib: u32,
    /// Words on its command line (images/README.md).
    words: &'static str,
}

/// All of them. Each fills what is larger than the guest's memory, and then reads and compares every page of it.
pub(super) static CASES: &[Case] = &[
    Case {
        name: "disk",
        what: "Debian's 6.12 swaps to /dev/tmem0: 128 MiB in a guest of 112 MB",
        kernel: KernelId::Stock(Series::V6_12),
        memory_mib: 112,
        words: "guest.modules=virtio_mmio,virtio_blk,tmem tmem.backing=/dev/vda guest.swap=/dev/tmem0 \
                guest.run=tmem-workload,run,--memory,128M,--passes,0,--report",
    },
    Case {
        name: "swap",
        what: "a tmem-aware kernel swaps: 128 MiB in a guest of 64 MB",
        kernel: KernelId::Small,
        memory_mib: 64,
        words: "guest.modules=virtio_mmio,virtio_blk,tmem guest.swap=/dev/vda \
                guest.run=tmem-workload,run,--memory,128M,--passes,0,--report",
    },
    Case {
        name: "files",
        what: "a tmem-aware kernel drops clean pages: a file of 80 MiB in a guest of 64 MB, read twice",
        kernel: KernelId::Small,
        memory_mib: 64,
        words: "guest.modules=virtio_mmio,virtio_blk,tmem guest.swap=/dev/vda guest.data=/dev/vdb \
                guest.run=tmem-workload,run,--file,/data/file,--memory,80M,--passes,0,--report \
                guest.run=tmem-workload,verify,--file,/data/file,--memory,80M,--passes,0,--report",
    },
];

impl Case {
    /// The file for `tmem run`; `boot` is the kernel's file among its images.
    pub(super) fn toml(&self, setting: Setting, boot: &str) -> String {
        let Self { kernel, memory_mib, words, .. } = self;
        let place = place_of(*kernel);
        format!(
            "[store]\nsize = \"512M\"\n\n[[guest]]\nname = \"{}\"\nkernel = \"{place}/{boot}\"\n\
             initrd = \"{place}/initramfs\"\nmemory = \"{memory_mib}M\"\ndisks = [\"/tmp/swap.img\", \"/tmp/data.img\"]\n\
             cmdline = \"console=ttyS0 panic=-1 quiet mitigations=off nokaslr {words}{}\"\n",
            self.name,
            setting.parameters(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_differ_in_the_drivers_parameters_only() {
        for case in CASES {
            let [single, batched] = Setting::BOTH.map(|setting| case.toml(setting, "vmlinux"));
            assert_eq!(single.replace(" tmem.batch=1 tmem.sync=1", ""), batched);
            assert_ne!(single, batched);
        }
    }
}
