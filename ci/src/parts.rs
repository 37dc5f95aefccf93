//! What guests get that run programs of others: an initramfs, a disk of Debian's programs, and something to compile.

use std::path::PathBuf;

use tmem_images::{DiskSpec, GuestSpec, KernelId};

use crate::lab::Added;

/// What guests compile: the device tree library in the kernel's source.
const SOURCE: &str = "scripts/dtc/libfdt";

/// Files of this machine.
#[derive(Debug)]
pub(crate) struct Parts {
    initramfs: PathBuf,
    /// An ext4 file system, for `guest.root=`.
    programs: PathBuf,
}

impl Parts {
    /// Makes them for guests with `kernel`, or finds them in the cache. The programs are Debian's, and nothing of them comes from this machine.
    pub(crate) fn make(kernel: KernelId) -> Result<Self, tmem_images::Error> {
        let images = crate::images::open()?;
        let ci = crate::paths::root().join("ci");
        let files = vec![
            ("/opt/programs.sh".to_owned(), ci.join("programs/guest.sh")),
            ("/opt/compile.sh".to_owned(), ci.join("effects/compile.sh")),
        ];
        let initramfs = images.guest_initramfs(&GuestSpec { files, ..GuestSpec::new(kernel) })?;
        let programs = images.disk(&DiskSpec {
            name: "programs".into(),
            // As large as pages, so that pages of the programs themselves travel too.
            block_bytes: 4096,
            files: vec![("/etc/passwd".to_owned(), ci.join("programs/passwd"))],
            folders: vec![
                (String::new(), images.debian_programs()?),
                ("/src".to_owned(), images.kernel_source(SOURCE)?),
            ],
        })?;
        Ok(Self { initramfs, programs })
    }

    /// What the lab has to have.
    pub(crate) fn added(&self) -> Vec<Added> {
        vec![
            Added { from: self.initramfs.clone(), to: "/lab/initramfs".into() },
            Added { from: self.programs.clone(), to: "/lab/programs.img".into() },
        ]
    }
}
