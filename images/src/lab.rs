//! The root of the lab's host, the emulated machine with virtualization: busybox, the modules of KVM, and what the
//! caller adds. Its init is the caller's, who knows how to talk to it.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::guest;
use crate::initramfs::Initramfs;
use crate::manifest::Series;
use crate::modules::Module;

/// The kernel that the lab's host runs: KVM_XEN is on in 6.12, off in 6.1.
pub(crate) const SERIES: Series = Series::V6_12;

/// What the lab's host loads before the command runs.
pub(crate) const MODULES: [&str; 1] = ["kvm-amd"];

/// What the lab's host holds.
#[derive(Debug, Clone, Default)]
pub struct LabSpec {
    /// Files: path in the lab, file of this machine. Programs bring the libraries that they need.
    pub files: Vec<(String, PathBuf)>,
    /// Further kernel modules, from the manifest's list.
    pub modules: Vec<String>,
}

/// Puts it together. `/modules/order` names the modules in load order, one a line.
pub(crate) fn initramfs(spec: &LabSpec, busybox: &Path, modules: &[Module]) -> Result<Initramfs> {
    let mut root = guest::base(busybox, modules)?;
    let order: String = modules.iter().map(|module| format!("{}\n", module.name)).collect();
    root.file("/modules/order", 0o644, order)?;
    for (path, file) in &spec.files {
        root.program(path, file)?;
    }
    Ok(root)
}
