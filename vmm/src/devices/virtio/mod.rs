//! virtio devices (OASIS Virtual I/O Device specification 1.2) behind the memory-mapped transport.

pub mod block;
pub mod mmio;
#[cfg(test)]
mod testing;
mod worker;

use std::sync::atomic::AtomicBool;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

/// The driver filled its rings as no driver may. The device serves nothing more until it is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenRing;

/// A device with one virtqueue.
pub trait VirtioDevice: Send {
    /// The device id of the specification's section 5.
    fn id(&self) -> u32;
    /// Feature bits that the device offers besides the transport's.
    fn features(&self) -> u64;
    /// The device's configuration space.
    fn config(&self) -> &[u8];
    /// Serves requests until the queue is empty or `stop` is set; true when the driver wants to be interrupted.
    ///
    /// # Errors
    /// When the queue's memory says what no driver may say.
    fn serve(
        &mut self,
        memory: &GuestMemoryMmap<()>,
        queue: &mut Queue,
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing>;
}
