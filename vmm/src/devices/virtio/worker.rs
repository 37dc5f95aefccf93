//! The thread that serves a device's queues while its driver is active.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use virtio_bindings::virtio_mmio::{VIRTIO_MMIO_INT_CONFIG, VIRTIO_MMIO_INT_VRING};
use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

use super::{BrokenRing, VirtioDevice};
use crate::memory::GuestRam;

/// How a worker is woken, and how it tells the guest.
#[derive(Debug)]
pub(super) struct Signals {
    /// The driver's notifications.
    pub(super) doorbell: EventFd,
    /// The device's interrupt.
    pub(super) irq: EventFd,
    /// The interrupt status register.
    pub(super) status: AtomicU32,
    /// The driver broke its ring; the device needs a reset.
    pub(super) broken: AtomicBool,
}

impl Signals {
    /// Interrupts the guest, which finds the cause in the register.
    pub(super) fn interrupt(&self, cause: u32) {
        self.status.fetch_or(cause, Ordering::SeqCst);
        // The counter of an interrupt line is drained by KVM and cannot overflow.
        let _ = self.irq.write(1);
    }
}

/// A running worker.
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    signals: Arc<Signals>,
    thread: JoinHandle<Box<dyn VirtioDevice>>,
}

impl Worker {
    /// Starts serving `queues`.
    ///
    /// # Errors
    /// When the host has no thread left; the device is lost with it.
    pub(super) fn start(
        mut device: Box<dyn VirtioDevice>,
        mut queues: Vec<Queue>,
        ram: GuestRam,
        signals: Arc<Signals>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, wake) = (stop.clone(), signals.clone());
        let serve = move || {
            while !stopped.load(Ordering::Acquire) {
                if !wake.broken.load(Ordering::Acquire) {
                    match device.serve(ram.mmap(), &mut queues, &stopped) {
                        Ok(true) => wake.interrupt(VIRTIO_MMIO_INT_VRING),
                        Ok(false) => {}
                        Err(BrokenRing) => {
                            tracing::debug!(device = device.id(), "the driver broke its ring");
                            wake.broken.store(true, Ordering::Release);
                            wake.interrupt(VIRTIO_MMIO_INT_CONFIG);
                        }
                    }
                }
                // An interrupted wait only looks once more.
                let _ = wake.doorbell.read();
            }
            device
        };
        let thread = std::thread::Builder::new().name("virtio".into()).spawn(serve)?;
        Ok(Self { stop, signals, thread })
    }

    /// Stops serving after the request at hand and gives the device back, unless its thread died.
    pub(super) fn stop(self) -> Option<Box<dyn VirtioDevice>> {
        self.stop.store(true, Ordering::Release);
        let _ = self.signals.doorbell.write(1);
        self.thread.join().ok()
    }
}
