//! virtio devices (OASIS Virtual I/O Device specification 1.2) behind the memory-mapped transport.

pub mod block;
pub mod mmio;
#[cfg(test)]
mod testing;
mod worker;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

/// A device with one virtqueue.
pub trait VirtioDevice: Send {
    /// The device id of the specification's section 5.
    fn id(&self) -> u32;
    /// Feature bits that the device offers besides the transport's.
    fn features(&self) -> u64;
    /// The device's configuration space.
    fn config(&self) -> &[u8];
    /// Serves every request in the queue; true when the driver wants to be interrupted.
    fn serve(&mut self, memory: &GuestMemoryMmap<()>, queue: &mut Queue) -> bool;
}
