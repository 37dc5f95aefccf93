//! Kernels that guests boot, whatever made them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::manifest::Series;
use crate::modules::ModuleSet;

/// Which kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KernelId {
    /// The small kernel built here: boots fastest, finds its disks through ACPI or the command line. It is tmem-aware
    /// (`guest-driver/linux/patches`): with the driver loaded it offers the host clean file pages and what goes to any
    /// swap device; without, it behaves as if it were not.
    Small,
    /// The small kernel with lockdep, KASAN, `DEBUG_VM` and preemption (`images/kernel/debug.config`): slow, and finds what
    /// others only suffer from.
    Debug,
    /// The small kernel with what the torture needs beside what guests need (`images/kernel/torture.config`): disks that fail,
    /// allocations that fail, more ways to pass pages on.
    Torture,
    /// The same with what the debug flavour has.
    TortureDebug,
    /// The same with KCSAN, which finds data races (`images/kernel/kcsan.config`).
    TortureKcsan,
    /// One of Debian's stock cloud kernels: finds its disks through ACPI only, with modules from the initramfs.
    Stock(Series),
}

impl KernelId {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Small,
        Self::Debug,
        Self::Torture,
        Self::TortureDebug,
        Self::TortureKcsan,
        Self::Stock(Series::V6_12),
        Self::Stock(Series::V6_1),
    ];
    /// Those that guests boot when nothing is being debugged.
    pub const USUAL: [Self; 3] = [Self::Small, Self::Stock(Series::V6_12), Self::Stock(Series::V6_1)];

    /// Whether it is built here, with the patches: the small kernel and its flavours.
    pub const fn is_tmem_aware(self) -> bool {
        !matches!(self, Self::Stock(_))
    }

    /// Whether lockdep and KASAN are in it.
    pub const fn is_debugged(self) -> bool {
        matches!(self, Self::Debug | Self::TortureDebug)
    }
}

impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small => f.write_str("small"),
            Self::Debug => f.write_str("debug"),
            Self::Torture => f.write_str("torture"),
            Self::TortureDebug => f.write_str("torture-debug"),
            Self::TortureKcsan => f.write_str("torture-kcsan"),
            Self::Stock(series) => write!(f, "stock-{series}"),
        }
    }
}

impl FromStr for KernelId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|id| id.to_string() == text).ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("no kernel {text}; there are {}", known.join(", "))
        })
    }
}

/// A kernel in the cache.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Which one.
    pub id: KernelId,
    /// What `uname -r` says in it.
    pub release: String,
    /// The image as an ELF file, where there is one. It boots without unpacking itself, which an emulator notices.
    pub vmlinux: Option<PathBuf>,
    /// The image as a bzImage.
    pub bzimage: PathBuf,
    /// The modules kept for it.
    pub modules: ModuleSet,
}

impl Kernel {
    /// The file to boot: the ELF image if there is one.
    pub fn boot_file(&self) -> &Path {
        self.vmlinux.as_deref().unwrap_or(&self.bzimage)
    }
}

/// Where modules for a kernel are built: `make -C DIR M=SOURCES modules`.
#[derive(Debug, Clone)]
pub struct BuildTree {
    /// The kernel.
    pub id: KernelId,
    /// What `uname -r` says in it.
    pub release: String,
    /// The folder.
    pub dir: PathBuf,
    /// Changes whenever a module has to be built again.
    pub(crate) key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kernels_round_trip() {
        for id in KernelId::ALL {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!("stock-5.10".parse::<KernelId>().unwrap_err().contains("stock-6.12"));
    }
}
