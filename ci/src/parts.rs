//! What guests get that run programs: an initramfs, a disk of programs, and something to compile.

use std::path::PathBuf;

use crate::lab::Added;

/// What guests compile: the device tree library in the kernel's source.
pub(crate) const SOURCE: &str = "scripts/dtc/libfdt";

/// Files of this machine.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) initramfs: PathBuf,
    /// An ext4 file system, for `guest.root=`.
    pub(crate) programs: PathBuf,
}

impl Parts {
    /// What the lab has to have.
    pub(crate) fn added(&self) -> Vec<Added> {
        vec![
            Added { from: self.initramfs.clone(), to: "/lab/initramfs".into() },
            Added { from: self.programs.clone(), to: "/lab/programs.img".into() },
        ]
    }
}
