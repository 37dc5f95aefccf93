//! virtio devices (OASIS Virtual I/O Device specification 1.2) behind the memory-mapped transport.

pub mod balloon;
pub mod block;
pub mod config_space;
mod drain;
pub mod mmio;
#[cfg(test)]
mod testing;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

use config_space::ConfigSpace;

/// The driver filled its rings as no driver may. The device serves nothing more until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenRing;

/// A device with its virtqueues. Each queue is served by a thread of its own.
pub trait VirtioDevice: Send + Sync {
    /// The device id of the specification's section 5.
    fn id(&self) -> u32;
    /// Feature bits that the device offers besides the transport's.
    fn features(&self) -> u64;
    /// The device's configuration space.
    fn config(&self) -> Arc<ConfigSpace>;
    /// How many queues it has. The driver must set up the first, and may leave others out.
    fn queues(&self) -> usize {
        1
    }
    /// A driver is about to use the device with these features. No queue is served yet, or any more.
    fn accepted(&self, _features: u64) {}
    /// Serves requests of queue number `index` until it is empty or `stop` is set; true when the driver wants to be interrupted.
    ///
    /// # Errors
    /// When the queue's memory says what no driver may say.
    fn serve(
        &self,
        index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap<()>,
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing>;
}
