//! The matrix: programs, and what tmem is used for while they run.

use serde::Serialize;
use tmem_images::KernelId;

use crate::lab::place_of;

/// Memory in MiB that a kernel with lockdep and KASAN needs more than the small one, so that a program finds about the same: of 48 MiB
/// 20 are available after boot, of 144 with that kernel 40 (`/proc/meminfo`, two vCPUs).
const DEBUG_MIB: u32 = 76;

/// What tmem is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// Nothing: a host without it, a guest without the driver.
    Off,
    /// Pages on their way to swap.
    Swap,
    /// Clean pages of files.
    Cache,
    /// Both.
    Both,
    /// Both, with a host that refuses and evicts all the time.
    Tiny,
}

impl Mode {
    /// All of them.
    pub(super) const ALL: [Self; 5] = [Self::Off, Self::Swap, Self::Cache, Self::Both, Self::Tiny];

    /// Its name on the command line, in the guest and in tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Swap => "swap",
            Self::Cache => "cache",
            Self::Both => "both",
            Self::Tiny => "tiny",
        }
    }

    /// Whether it offers pages on their way to swap.
    pub(super) const fn swaps(self) -> bool {
        matches!(self, Self::Swap | Self::Both | Self::Tiny)
    }

    /// Whether it offers clean pages.
    pub(super) const fn caches(self) -> bool {
        matches!(self, Self::Cache | Self::Both | Self::Tiny)
    }

    /// What `tmem run` is told about the guest's tmem.
    const fn tmem(self) -> &'static str {
        match self {
            Self::Off => "enabled = false",
            Self::Tiny => "enabled = true, cap = \"2M\"",
            _ => "enabled = true",
        }
    }
}

/// One program, as guest.sh runs it.
#[derive(Debug)]
pub(super) struct Program {
    /// Its name; with `_` for `-` that of a function of guest.sh.
    pub(super) name: &'static str,
    /// What it does and how it is checked.
    pub(super) what: &'static str,
    /// Memory of the guest in MiB, with the small kernel.
    pub(super) memory_mib: u32,
    /// Whether it has to swap.
    pub(super) swaps: bool,
    /// Whether it has to lose clean pages of files and read them again.
    pub(super) caches: bool,
    /// Whether it has to write to the driver's disk, where there is a driver.
    pub(super) device: bool,
}

/// All of them.
pub(super) static PROGRAMS: &[Program] = &[
    Program {
        name: "fio-files",
        what: "fio --verify on ext4: by calls, by mappings, past the page cache and then through it",
        memory_mib: 48,
        swaps: false,
        caches: true,
        device: false,
    },
    Program {
        name: "fio-memory",
        what: "fio --verify on tmpfs that does not fit into memory and is swapped",
        memory_mib: 48,
        swaps: true,
        caches: false,
        device: false,
    },
    Program {
        name: "fio-device",
        what: "fio --verify on the device to swap to, with deep queues and trims: /dev/tmem0, or the disk without it",
        memory_mib: 64,
        swaps: false,
        caches: false,
        device: true,
    },
    Program {
        name: "fio-trim",
        what: "fio --verify with trims on a disk in a file, where they become holes",
        memory_mib: 48,
        swaps: false,
        caches: true,
        device: false,
    },
    Program {
        name: "stress-memory",
        what: "stress-ng --vm --verify, by flip, incdec, rand-set and ror, on more memory than there is",
        memory_mib: 64,
        swaps: true,
        caches: false,
        device: false,
    },
    Program {
        name: "stress-files",
        what: "stress-ng --hdd --readahead --mmap --mmap-file --verify on ext4",
        memory_mib: 64,
        swaps: false,
        caches: true,
        device: false,
    },
    Program {
        name: "compile",
        what: "gcc compiles the device tree library of Linux, four files at a time; the objects must be the same",
        memory_mib: 48,
        swaps: true,
        caches: true,
        device: false,
    },
    Program {
        name: "pgbench",
        what: "PostgreSQL with a database larger than memory: sums of balances, pg_amcheck, pg_checksums",
        memory_mib: 64,
        swaps: true,
        caches: true,
        device: false,
    },
];

impl Program {
    /// The file for `tmem run`, with `boot` of the kernel's folder: one guest with two vCPUs, a disk to swap to, one for files, and one with programs.
    pub(super) fn toml(&self, mode: Mode, kernel: KernelId, boot: &str) -> String {
        format!(
            "[store]\nsize = \"768M\"\n\n[[guest]]\nname = \"programs\"\nkernel = \"{}/{boot}\"\n\
             initrd = \"/lab/initramfs\"\nmemory = \"{}M\"\nvcpus = 2\n\
             disks = [\"/tmp/swap.img\", \"/tmp/data.img\", \"/lab/programs.img,ro\"]\ntmem = {{ {} }}\n\
             cmdline = \"console=ttyS0 panic=-1 quiet mitigations=off nokaslr guest.modules=virtio_mmio,virtio_blk \
             guest.root=/dev/vdc guest.run=sh,/opt/programs.sh,{},{}\"\n",
            place_of(kernel),
            self.memory_mib + if kernel.is_debugged() { DEBUG_MIB } else { 0 },
            mode.tmem(),
            mode.name(),
            self.function(),
        )
    }

    /// Its name in guest.sh.
    pub(super) fn function(&self) -> String {
        self.name.replace('-', "_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = include_str!("../../programs/guest.sh");

    #[test]
    fn the_matrix_and_the_script_have_the_same_programs() {
        let listed: Vec<String> = PROGRAMS.iter().map(Program::function).collect();
        let defined: Vec<&str> = SCRIPT
            .lines()
            .filter_map(|line| Some(line.strip_prefix("program_")?.split_once("()")?.0))
            .collect();
        assert_eq!(listed, defined);
    }

    #[test]
    fn modes_differ_in_what_host_and_script_are_told() {
        let tiny = PROGRAMS[0].toml(Mode::Tiny, KernelId::Small, "vmlinux");
        assert!(tiny.contains("tmem = { enabled = true, cap = \"2M\" }"), "{tiny}");
        assert!(tiny.contains("guest.run=sh,/opt/programs.sh,tiny,fio_files\"\n"), "{tiny}");
        assert!(PROGRAMS[0].toml(Mode::Off, KernelId::Small, "vmlinux").contains("enabled = false"));
    }

    #[test]
    fn the_script_is_valid_shell() {
        let mut shell = std::process::Command::new("sh").args(["-n", "-c", SCRIPT]).spawn().unwrap();
        assert!(shell.wait().unwrap().success());
    }
}
