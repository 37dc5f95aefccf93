//! What the guests of the torture boot, and the programs that they run.

use std::path::{Path, PathBuf};
use std::process::Command;

use tmem_images::{DiskSpec, DriverKind, GuestSpec, Images, KernelId};

use super::TortureError;
use crate::command;
use crate::lab::Added;

/// Programs of this machine that the scenarios need: name, Debian package.
const PROGRAMS: [(&str, &str); 4] =
    [("fio", "fio"), ("stress-ng", "stress-ng"), ("mkfs.ext4", "e2fsprogs"), ("e2fsck", "e2fsprogs")];

/// Files of this machine.
#[derive(Debug)]
pub(super) struct Parts {
    initramfs: PathBuf,
    /// The disk of programs; without it there are busybox and the workload.
    programs: Option<PathBuf>,
}

impl Parts {
    /// Makes them, or finds them in the cache; what is compiled goes to `dir`.
    pub(super) fn make(dir: &Path) -> Result<Self, TortureError> {
        let images = crate::images::open()?;
        let coherency = dir.join("coherency");
        let test = crate::paths::root().join("guest-driver/linux/patches/test");
        let mut gcc = Command::new("gcc");
        gcc.args(["-O2", "-static", "-Wall", "-Werror", "-o"]).arg(&coherency);
        command::run(gcc.arg(test.join("coherency.c")))?;
        let module = |kind| images.driver_of_kind(KernelId::Small, kind).map(|module| module.path);
        let files = vec![
            ("/opt/coherency".to_owned(), coherency),
            ("/opt/hooks.sh".to_owned(), test.join("guest.sh")),
            ("/opt/fakestore.ko".to_owned(), module(DriverKind::FakeStore)?),
        ];
        Ok(Self { initramfs: initramfs(&images, files)?, programs: Some(programs(&images)?) })
    }

    /// Those that need no program of this machine.
    pub(super) fn few() -> Result<Self, TortureError> {
        Ok(Self { initramfs: initramfs(&crate::images::open()?, Vec::new())?, programs: None })
    }

    /// Whether there is a disk of programs.
    pub(super) const fn programs(&self) -> bool {
        self.programs.is_some()
    }

    /// What the lab has to have.
    pub(super) fn added(&self) -> Vec<Added> {
        let mut added = vec![Added { from: self.initramfs.clone(), to: "/lab/initramfs".into() }];
        added.extend(self.programs.clone().map(|from| Added { from, to: "/lab/programs.img".into() }));
        added
    }
}

/// Debian's programs on a disk, whose blocks are too small for its pages to be offered to tmem: the counters are about the
/// scenarios alone.
fn programs(images: &Images) -> Result<PathBuf, TortureError> {
    let mut files = Vec::new();
    for (name, package) in PROGRAMS {
        let program = command::find_program(name).ok_or(TortureError::NoProgram(name, package))?;
        files.push((format!("/bin/{name}"), program));
    }
    let spec = DiskSpec { name: "torture".into(), block_bytes: 1024, files, folders: Vec::new() };
    Ok(images.disk(&spec)?)
}

/// The scenarios about the driver, the driver with a host inside, and `files`.
fn initramfs(images: &Images, mut files: Vec<(String, PathBuf)>) -> Result<PathBuf, TortureError> {
    let script = crate::paths::root().join("guest-driver/linux/test/guest.sh");
    let driver = images.driver_of_kind(KernelId::Small, DriverKind::TestHost)?;
    files.push(("/opt/device.sh".to_owned(), script));
    files.push(("/opt/test-host/tmem.ko".to_owned(), driver.path));
    Ok(images.guest_initramfs(&GuestSpec { files, ..GuestSpec::new(KernelId::Small) })?)
}
