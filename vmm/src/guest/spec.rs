//! What a guest is made of.

use std::path::PathBuf;
use std::sync::Arc;

use tmem_abi::Discovery;

use crate::arch::layout::RamLayout;
use crate::kvm::{HypercallHandler, Transport};
use crate::loader::LinuxImage;

/// A disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// The host's file.
    pub path: PathBuf,
    /// The guest may not write.
    pub read_only: bool,
}

/// One guest, apart from what it shares with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSpec {
    /// Name in reports and on the console.
    pub name: String,
    /// Kernel, initial ramdisk, command line.
    pub image: LinuxImage,
    /// RAM.
    pub memory: RamLayout,
    /// Virtual processors.
    pub vcpus: u32,
    /// virtio-blk disks: vda, vdb and so on.
    pub disks: Vec<DiskSpec>,
    /// Bytes that the guest is asked to put into its balloon, 0 for one that only reports free pages; `None` for no balloon.
    pub balloon: Option<u64>,
}

/// Tmem as one guest is offered it.
#[derive(Clone)]
pub struct TmemService {
    /// Answers the guest's calls.
    pub handler: Arc<dyn HypercallHandler>,
    /// What CPUID says.
    pub discovery: Discovery,
    /// How calls travel.
    pub transport: Transport,
}
