//! The initramfs of a guest: busybox, the workload, the tool `tmem-guest`, kernel modules, and an init that runs what the command line says.
//! What the init understands and prints is described in `images/README.md`.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::initramfs::Initramfs;
use crate::kernel::KernelId;
use crate::modules::Module;
use crate::tools::Programs;

/// The init of a guest.
const INIT: &str = include_str!("../guest/init");

/// Modules that every guest gets, as far as its kernel has not built them in.
pub(crate) const MODULES: [&str; 6] =
    ["virtio_mmio", "virtio_blk", "virtio_balloon", "pvpanic_mmio", "button", "evdev"];

/// What a guest's initramfs holds.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// The kernel it is for, which decides the modules.
    pub kernel: KernelId,
    /// Whether the tmem driver is in it. Without, no driver needs to build.
    pub driver: bool,
    /// Further kernel modules, from the manifest's list: `zram`, `xfs`.
    pub modules: Vec<String>,
    /// More files: path in the guest, file of this machine.
    pub files: Vec<(String, PathBuf)>,
}

impl GuestSpec {
    /// For this kernel, with the driver and nothing further.
    pub const fn new(kernel: KernelId) -> Self {
        Self { kernel, driver: true, modules: Vec::new(), files: Vec::new() }
    }
}

/// What an initramfs is put together from.
pub(crate) struct Parts<'a> {
    pub(crate) busybox: &'a Path,
    pub(crate) programs: &'a Programs,
    pub(crate) modules: &'a [Module],
    /// Names of the modules that the kernel has built in.
    pub(crate) builtin: String,
    pub(crate) files: &'a [(String, PathBuf)],
}

/// Puts it together.
pub(crate) fn initramfs(parts: &Parts<'_>) -> Result<Initramfs> {
    let mut root = base(parts.busybox, parts.modules)?;
    root.file("/init", 0o755, INIT)?.host_file("/bin/tmem-workload", &parts.programs.workload)?;
    root.host_file("/bin/tmem-guest", &parts.programs.guest)?;
    root.file("/modules/builtin", 0o644, parts.builtin.as_str())?;
    for (path, file) in parts.files {
        root.program(path, file)?;
    }
    Ok(root)
}

/// What every init here starts from: a shell, a console, places to mount things, and modules.
pub(crate) fn base(busybox: &Path, modules: &[Module]) -> Result<Initramfs> {
    let mut root = Initramfs::new();
    for place in ["/proc", "/sys", "/dev", "/tmp", "/run", "/modules"] {
        root.directory(place, 0o755)?;
    }
    root.host_file("/bin/busybox", busybox)?.symlink("/bin/sh", "busybox")?;
    // The kernel opens it before init can mount /dev (Documentation/admin-guide/initrd.rst).
    root.char_device("/dev/console", 0o600, 5, 1)?;
    for module in modules {
        root.host_file(&format!("/modules/{}.ko", module.name), &module.path)?;
        root.file(&format!("/modules/{}.needs", module.name), 0o644, module.needs.join("\n") + "\n")?;
    }
    Ok(root)
}
