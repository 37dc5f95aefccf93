//! What the emulated host finds in its root: busybox, KVM's modules, `tmem`, the guests' images, what was added.

use std::path::{Path, PathBuf};

use tmem_images::{GuestSpec, Images, Initramfs, KernelId, LabSpec};

use super::protocol::Nonce;
use super::{Job, LabError, host_init};

/// The guests that a user's own command in the lab finds.
pub(super) const USUAL_GUESTS: [KernelId; 2] = [KernelId::Small, KernelId::Stock(tmem_images::Series::V6_12)];

/// Everything that runs in the lab need, built.
#[derive(Debug)]
pub(crate) struct Lab {
    images: Images,
    tmem: PathBuf,
}

impl Lab {
    /// Installs and builds what is missing.
    pub(crate) fn prepare() -> Result<Self, LabError> {
        crate::setup::ensure()?;
        let images = crate::images::open()?;
        let tmem = crate::build::tmem()?;
        Ok(Self { images, tmem })
    }

    /// The name of the file in [`place_of`] that a guest boots: its ELF image if there is one.
    pub(crate) fn boot_file(&self, guest: KernelId) -> Result<&'static str, LabError> {
        Ok(if self.images.kernel(guest)?.vmlinux.is_some() { "vmlinux" } else { "bzImage" })
    }

    /// The archive's packages that everything was made of.
    pub(crate) fn packages(&self) -> Vec<String> {
        self.images.used().iter().map(ToString::to_string).collect()
    }

    /// The release of the emulated host's kernel.
    pub(crate) fn host_kernel(&self) -> Result<String, LabError> {
        Ok(self.images.lab(&LabSpec::default())?.0.release)
    }

    /// Writes the initramfs of a run and returns the kernel to boot.
    pub(super) fn write_initrd(&self, job: &Job, nonce: &Nonce, to: &Path) -> Result<PathBuf, LabError> {
        let mut spec = LabSpec::default();
        spec.files.push(("/bin/tmem".into(), self.tmem.clone()));
        for &guest in &job.guests {
            let kernel = self.images.kernel(guest)?;
            let initramfs = self.images.guest_initramfs(&GuestSpec::new(guest))?;
            let place = place_of(guest);
            spec.files.push((format!("{place}/bzImage"), kernel.bzimage));
            spec.files.push((format!("{place}/initramfs"), initramfs));
            spec.files.extend(kernel.vmlinux.map(|vmlinux| (format!("{place}/vmlinux"), vmlinux)));
        }
        spec.files.extend(job.added.iter().map(|added| (added.to.clone(), added.from.clone())));
        let (kernel, mut root) = self.images.lab(&spec)?;
        add_our_own(&mut root, job, nonce)?;
        root.write_file(to)?;
        Ok(kernel.bzimage)
    }
}

/// Where the images of a guest are in the lab: `/images/small`, `/images/stock-6.12`.
pub(crate) fn place_of(guest: KernelId) -> String {
    format!("/images/{guest}")
}

fn add_our_own(root: &mut Initramfs, job: &Job, nonce: &Nonce) -> Result<(), LabError> {
    root.file("/init", 0o755, host_init::SCRIPT)?.file(host_init::NONCE_FILE, 0o600, nonce.as_str())?.file(
        host_init::COMMAND_FILE,
        0o644,
        job.command.as_str(),
    )?;
    Ok(())
}
