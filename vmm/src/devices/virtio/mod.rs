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

/// A device with its virtqueues.
pub trait VirtioDevice: Send {
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
    /// Serves requests until every queue is empty or `stop` is set; true when the driver wants to be interrupted.
    /// `queues` are all that the device has; one that the driver did not set up is not ready.
    ///
    /// # Errors
    /// When a queue's memory says what no driver may say.
    fn serve(
        &mut self,
        memory: &GuestMemoryMmap<()>,
        queues: &mut [Queue],
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing>;
}
