//! What the guests of the torture boot, and the programs that they run.

use std::path::{Path, PathBuf};

use tmem_images::{DiskSpec, DriverKind, GuestSpec, Images, KernelId};

use crate::command;
use crate::lab::Added;
use crate::lab::trial::TrialError;

/// Programs of this machine that the scenarios need: name, Debian package.
const PROGRAMS: [(&str, &str); 11] = [
    ("fio", "fio"),
    ("stress-ng", "stress-ng"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("xfs_repair", "xfsprogs"),
    ("xfs_io", "xfsprogs"),
    ("xfs_db", "xfsprogs"),
    ("xfs_quota", "xfsprogs"),
    ("dmsetup", "dmsetup"),
    ("bindfs", "bindfs"),
];

/// What patches/test/guest.sh reads.
const SCRIPTS: [&str; 5] = ["hosts", "traces", "swaps", "disks", "layers"];

/// Files of this machine.
#[derive(Debug)]
pub(crate) struct Parts {
    images: Images,
    /// More files for a guest's initramfs: path in the guest, file of this machine.
    files: Vec<(String, PathBuf)>,
    /// The disk of programs; without it there are busybox and the workload.
    programs: Option<PathBuf>,
}

impl Parts {
    /// Makes them, or finds them in the cache; what is compiled goes to `dir`.
    pub(crate) fn make(dir: &Path) -> Result<Self, TrialError> {
        let few = Self::few(dir)?;
        let programs = Some(programs(&few.images)?);
        Ok(Self { programs, ..few })
    }

    /// Those that need no program of this machine but its compiler.
    pub(crate) fn few(dir: &Path) -> Result<Self, TrialError> {
        let linux = crate::paths::root().join("guest-driver/linux");
        let sources = |folder: &str, names: &[&str]| -> Vec<_> {
            names.iter().map(|name| linux.join(folder).join(name)).collect()
        };
        let coherency = sources("patches/test/coherency", &["coherency.c", "operations.c", "model.c"]);
        let program = |name: &str, sources: &[PathBuf]| {
            command::compile(sources, &[], &dir.join(name)).map(|program| (format!("/opt/{name}"), program))
        };
        let mut files = vec![
            program("coherency", &coherency)?,
            program("edges", &sources("patches/test", &["edges.c"]))?,
            program("blocks", &sources("patches/test", &["blocks.c"]))?,
            program("borrowers", &sources("patches/test", &["borrowers.c"]))?,
            program("stale", &sources("patches/test", &["stale.c"]))?,
            program("kexec", &sources("test", &["kexec.c"]))?,
            ("/opt/hooks.sh".to_owned(), linux.join("patches/test/guest.sh")),
        ];
        files.extend(
            SCRIPTS.map(|name| (format!("/opt/{name}.sh"), linux.join(format!("patches/test/{name}.sh")))),
        );
        Ok(Self { images: crate::images::open()?, files, programs: None })
    }

    /// Whether there is a disk of programs.
    pub(crate) const fn programs(&self) -> bool {
        self.programs.is_some()
    }

    /// What the lab has to have for a guest with this kernel.
    pub(crate) fn added(&self, kernel: KernelId) -> Result<Vec<Added>, TrialError> {
        let mut added = vec![Added { from: self.initramfs(kernel)?, to: "/lab/initramfs".into() }];
        added.extend(self.programs.clone().map(|from| Added { from, to: "/lab/programs.img".into() }));
        Ok(added)
    }

    /// The kernel that a guest boots: its ELF image if there is one.
    pub(crate) fn kernel(&self, kernel: KernelId) -> Result<PathBuf, TrialError> {
        Ok(self.images.kernel(kernel)?.boot_file().into())
    }

    /// The disk of programs.
    pub(crate) fn disk_of_programs(&self) -> Option<&Path> {
        self.programs.as_deref()
    }

    /// The scenarios about the driver, the driver with a host inside, and our further files.
    pub(crate) fn initramfs(&self, kernel: KernelId) -> Result<PathBuf, TrialError> {
        let module = |kind| self.images.driver_of_kind(kernel, kind).map(|module| module.path);
        let test = crate::paths::root().join("guest-driver/linux/test");
        let mut files = self.files.clone();
        files.push(("/opt/device.sh".to_owned(), test.join("guest.sh")));
        files.push(("/opt/complaints.sh".to_owned(), test.join("complaints.sh")));
        files.push(("/opt/test-host/tmem.ko".to_owned(), module(DriverKind::TestHost)?));
        let mut modules = vec!["ext4".to_owned()];
        if kernel.is_tmem_aware() {
            modules.extend(["xfs", "zram"].map(str::to_owned));
            files.push(("/opt/fakestore.ko".to_owned(), module(DriverKind::FakeStore)?));
            files.push(("/opt/canary.ko".to_owned(), module(DriverKind::Canary)?));
        }
        Ok(self.images.guest_initramfs(&GuestSpec { modules, files, ..GuestSpec::new(kernel) })?)
    }
}

/// Debian's programs on a disk, whose blocks are too small for its pages to be offered to tmem: the counters are about the
/// scenarios alone.
fn programs(images: &Images) -> Result<PathBuf, TrialError> {
    let mut files = Vec::new();
    for (name, package) in PROGRAMS {
        files.push((format!("/bin/{name}"), command::require_program(name, package)?));
    }
    let spec = DiskSpec { name: "torture".into(), block_bytes: 1024, files, folders: Vec::new() };
    Ok(images.disk(&spec)?)
}
