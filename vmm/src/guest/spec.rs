//! What a guest is made of.

use std::sync::Arc;

use tmem_abi::Discovery;

use crate::arch::layout::RamLayout;
use crate::devices::virtio::block::QUEUES_MAX;
use crate::disk::DiskSpec;
use crate::kvm::{HypercallHandler, Transport};
use crate::loader::LinuxImage;

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

impl GuestSpec {
    /// What the guest is told as the serial number of its disk number `index`.
    pub fn disk_id(&self, index: usize) -> String {
        self.disks.get(index).and_then(|disk| disk.id.clone()).unwrap_or_else(|| format!("disk{index}"))
    }

    /// How many queues its disk number `index` has: one for each vCPU unless it says otherwise.
    pub fn disk_queues(&self, index: usize) -> u16 {
        let vcpus = u16::try_from(self.vcpus).unwrap_or(u16::MAX);
        self.disks.get(index).and_then(|disk| disk.queues).unwrap_or(vcpus.min(QUEUES_MAX))
    }
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
