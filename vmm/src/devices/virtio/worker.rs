//! The threads that serve a device's queues while its driver is active: one for each queue, so that no queue waits for another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};

use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use virtio_queue::{Queue, QueueT};
use vmm_sys_util::eventfd::EventFd;

use super::{BrokenRing, VirtioDevice};
use crate::memory::GuestRam;

/// How workers are woken, and how they tell the guest.
#[derive(Debug)]
pub(super) struct Signals {
    /// The driver's notifications, queue by queue.
    pub(super) doorbells: Vec<EventFd>,
    /// The device's interrupt.
    pub(super) irq: EventFd,
    /// The interrupt status register.
    pub(super) status: AtomicU32,
    /// The driver broke a ring; the device needs a reset.
    pub(super) broken: AtomicBool,
}

impl Signals {
    /// Interrupts the guest, which finds the cause in the register.
    pub(super) fn interrupt(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        // The counter of an interrupt line is drained by KVM and cannot overflow.
        let _ = self.irq.write(1);
    }

    /// Has the worker of queue number `queue` look at it; nothing for a queue that there is not.
    pub(super) fn ring(&self, queue: usize) {
        if let Some(doorbell) = self.doorbells.get(queue) {
            // A full counter means that the worker is about to look anyway.
            let _ = doorbell.write(1);
        }
    }
}

/// The workers of one activation.
pub(super) struct Workers {
    stop: Arc<AtomicBool>,
    signals: Arc<Signals>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts serving those of `queues` that are ready.
    ///
    /// # Errors
    /// When the host has no thread left. None runs then.
    pub(super) fn start(
        device: &Arc<dyn VirtioDevice>,
        queues: Vec<Queue>,
        ram: &GuestRam,
        signals: &Arc<Signals>,
    ) -> io::Result<Self> {
        let mut workers = Self { stop: Arc::default(), signals: signals.clone(), threads: Vec::new() };
        for (index, queue) in queues.into_iter().enumerate().filter(|(_, queue)| queue.ready()) {
            let (device, ram, stop) = (device.clone(), ram.clone(), workers.stop.clone());
            let signals = signals.clone();
            let serve = move || serve(&*device, index, queue, &ram, &signals, &stop);
            match Builder::new().name(format!("virtio{index}")).spawn(serve) {
                Ok(thread) => workers.threads.push(thread),
                Err(error) => {
                    workers.stop();
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// Stops each after the request at hand.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        (0..self.signals.doorbells.len()).for_each(|queue| self.signals.ring(queue));
        // One that died is stopped.
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn serve(
    device: &dyn VirtioDevice,
    index: usize,
    mut queue: Queue,
    ram: &GuestRam,
    signals: &Signals,
    stop: &AtomicBool,
) {
    let Some(doorbell) = signals.doorbells.get(index) else { return };
    while !stop.load(Ordering::Acquire) {
        if !signals.broken.load(Ordering::Acquire) {
            match device.serve(index, &mut queue, ram.mmap(), stop) {
                Ok(true) => signals.interrupt(VIRTIO_MMIO_INT_VRING),
                Ok(false) => {}
                Err(BrokenRing) => {
                    tracing::debug!(device = device.id(), queue = index, "the driver broke its ring");
                    signals.broken.store(true, Ordering::Release);
                    signals.interrupt(VIRTIO_MMIO_INT_CONFIG);
                }
            }
        }
        // An interrupted wait only looks once more.
        let _ = doorbell.read();
    }
}
