//! Taking every request out of a queue.

use std::sync::atomic::{AtomicBool, Ordering};

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::GuestMemoryMmap;

use super::BrokenRing;

/// Hands each chain of `queue` to `request`, whose answer is the length for the used ring, until the queue is empty or
/// `stop` is set; true when the driver wants to be interrupted.
///
/// # Errors
/// When the ring says what no driver may say.
pub(super) fn drain(
    memory: &GuestMemoryMmap<()>,
    queue: &mut Queue,
    stop: &AtomicBool,
    mut request: impl FnMut(DescriptorChain<&GuestMemoryMmap<()>>) -> u32,
) -> Result<bool, BrokenRing> {
    let mut served = false;
    loop {
        queue.disable_notification(memory).map_err(|_| BrokenRing)?;
        // A ring whose index runs ahead of its size has no chains.
        while let Some(chain) = queue.iter(memory).map_err(|_| BrokenRing)?.next() {
            let head = chain.head_index();
            let filled = request(chain);
            queue.add_used(memory, head, filled).map_err(|_| BrokenRing)?;
            served = true;
            if stop.load(Ordering::Acquire) {
                return Ok(false);
            }
        }
        if !queue.enable_notification(memory).map_err(|_| BrokenRing)? {
            break;
        }
    }
    Ok(served && queue.needs_notification(memory).unwrap_or(true))
}
