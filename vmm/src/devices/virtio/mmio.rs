//! The memory-mapped transport, version 2 (virtio 1.2, section 4.2.2), for devices with one queue or several.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio::*;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};
use vmm_sys_util::eventfd::EventFd;

use super::VirtioDevice;
use super::config_space::ConfigSpace;
use super::worker::{Signals, Workers};
use crate::devices::bus::BusDevice;
use crate::memory::GuestRam;

/// "virt", little-endian.
const MAGIC: u32 = 0x7472_6976;
/// The version that has no legacy layout.
const VERSION: u32 = 2;
/// "tmem", little-endian; drivers only show it.
const VENDOR: u32 = 0x6d65_6d74;
/// Most entries of a queue.
const QUEUE_MAX: u16 = 256;
/// Offset of the queue notification register, where a doorbell may stand.
pub const NOTIFY_OFFSET: u64 = VIRTIO_MMIO_QUEUE_NOTIFY as u64;

struct Registers {
    /// While the driver is active.
    workers: Option<Workers>,
    queues: Vec<Queue>,
    status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
}

/// One virtio device on the MMIO bus.
pub struct MmioTransport {
    device: Arc<dyn VirtioDevice>,
    features: u64,
    config: Arc<ConfigSpace>,
    ram: GuestRam,
    signals: Arc<Signals>,
    /// DRIVER_OK, for who must not wait for the registers: a reset holds them until the workers have stopped.
    driver: AtomicBool,
    registers: Mutex<Registers>,
}

impl MmioTransport {
    /// Puts `device` behind registers; it interrupts through `irq`.
    ///
    /// # Errors
    /// When the host has no event descriptor left.
    pub fn new(device: Arc<dyn VirtioDevice>, ram: GuestRam, irq: EventFd) -> io::Result<Self> {
        let queues = (0..device.queues()).map(|_| fresh_queue()).collect();
        let doorbells = (0..device.queues()).map(|_| EventFd::new(libc::EFD_CLOEXEC));
        Ok(Self {
            features: device.features() | 1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX,
            config: device.config(),
            device,
            ram,
            signals: Arc::new(Signals {
                doorbells: doorbells.collect::<io::Result<_>>()?,
                irq,
                status: AtomicU32::new(0),
                broken: AtomicBool::new(false),
            }),
            driver: AtomicBool::new(false),
            registers: Mutex::new(Registers {
                workers: None,
                queues,
                status: 0,
                device_features_select: 0,
                driver_features_select: 0,
                driver_features: 0,
                queue_select: 0,
            }),
        })
    }

    /// The descriptors that notifications signal, one for each queue, to be connected to the register at [`NOTIFY_OFFSET`] and the
    /// queue's number.
    pub fn doorbells(&self) -> &[EventFd] {
        &self.signals.doorbells
    }

    /// Tells the driver, if there is one, that the device has changed its configuration space. One that comes later reads it anyway.
    /// Waits for nobody.
    pub fn config_changed(&self) {
        if self.driver.load(Ordering::SeqCst) {
            self.signals.interrupt(VIRTIO_MMIO_INT_CONFIG);
        }
    }

    /// Stops the workers, so that nothing is read or written any more.
    pub fn shut_down(&self) {
        self.registers.lock().stop_workers();
    }

    fn read_register(&self, offset: u32) -> u32 {
        let registers = self.registers.lock();
        match offset {
            VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            VIRTIO_MMIO_VERSION => VERSION,
            VIRTIO_MMIO_DEVICE_ID => self.device.id(),
            VIRTIO_MMIO_VENDOR_ID => VENDOR,
            VIRTIO_MMIO_DEVICE_FEATURES => match registers.device_features_select {
                0 => self.features as u32,
                1 => (self.features >> 32) as u32,
                _ => 0,
            },
            VIRTIO_MMIO_QUEUE_NUM_MAX => registers.selected().map_or(0, |_| u32::from(QUEUE_MAX)),
            VIRTIO_MMIO_QUEUE_READY => registers.selected().map_or(0, |queue| u32::from(queue.ready())),
            VIRTIO_MMIO_CONFIG_GENERATION => self.config.generation(),
            VIRTIO_MMIO_INTERRUPT_STATUS => self.signals.status.load(Ordering::SeqCst),
            VIRTIO_MMIO_STATUS if self.signals.broken.load(Ordering::Acquire) => {
                registers.status | VIRTIO_CONFIG_S_NEEDS_RESET
            }
            VIRTIO_MMIO_STATUS => registers.status,
            _ => 0,
        }
    }

    fn write_register(&self, offset: u32, value: u32) {
        let mut registers = self.registers.lock();
        match offset {
            VIRTIO_MMIO_DEVICE_FEATURES_SEL => registers.device_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES_SEL => registers.driver_features_select = value,
            VIRTIO_MMIO_DRIVER_FEATURES => registers.set_driver_features(value),
            VIRTIO_MMIO_QUEUE_SEL => registers.queue_select = value,
            VIRTIO_MMIO_QUEUE_NOTIFY => self.signals.ring(value as usize),
            VIRTIO_MMIO_INTERRUPT_ACK => {
                self.signals.status.fetch_and(!value, Ordering::SeqCst);
            }
            VIRTIO_MMIO_STATUS => self.set_status(&mut registers, value),
            _ => registers.set_queue(offset, value),
        }
    }

    fn set_status(&self, registers: &mut Registers, value: u32) {
        if value == 0 {
            self.driver.store(false, Ordering::SeqCst);
            registers.reset();
            self.config.reset();
            self.signals.status.store(0, Ordering::SeqCst);
            self.signals.broken.store(false, Ordering::Release);
            return;
        }
        let mut value = value | registers.status;
        let newly = |bit: u32| value & bit != 0 && registers.status & bit == 0;
        if newly(VIRTIO_CONFIG_S_FEATURES_OK) && !self.acceptable(registers.driver_features) {
            value &= !VIRTIO_CONFIG_S_FEATURES_OK;
        }
        let starts =
            value & VIRTIO_CONFIG_S_DRIVER_OK != 0 && registers.status & VIRTIO_CONFIG_S_DRIVER_OK == 0;
        registers.status = value;
        if starts {
            self.driver.store(true, Ordering::SeqCst);
            let started = self.start(registers);
            let features = registers.driver_features;
            tracing::debug!(
                device = self.device.id(),
                features = format_args!("{features:#x}"),
                started,
                "driver ok"
            );
            if !started {
                registers.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
            }
        }
    }

    fn acceptable(&self, accepted: u64) -> bool {
        accepted & !self.features == 0 && accepted & 1 << VIRTIO_F_VERSION_1 != 0
    }

    fn start(&self, registers: &mut Registers) -> bool {
        let ready = registers.queues.first().is_some_and(Queue::ready)
            && registers.queues.iter().all(|queue| !queue.ready() || queue.is_valid(self.ram.mmap()));
        if registers.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 || !ready {
            return false;
        }
        self.device.accepted(registers.driver_features);
        let event_idx = registers.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let queues = registers.queues.iter_mut().map(|queue| hand_over(queue, event_idx)).collect();
        match Workers::start(&self.device, queues, &self.ram, &self.signals) {
            Ok(workers) => {
                registers.workers = Some(workers);
                true
            }
            Err(error) => {
                tracing::error!(device = self.device.id(), %error, "not served: the host has no thread for it");
                false
            }
        }
    }
}

fn fresh_queue() -> Queue {
    Queue::new(QUEUE_MAX).expect("the largest size is a power of two")
}

/// Takes a queue out of its registers, which go on saying whether it is ready.
fn hand_over(queue: &mut Queue, event_idx: bool) -> Queue {
    let mut fresh = fresh_queue();
    fresh.set_ready(queue.ready());
    let mut taken = std::mem::replace(queue, fresh);
    taken.set_event_idx(event_idx);
    taken
}

impl Registers {
    fn selected(&self) -> Option<&Queue> {
        self.queues.get(self.queue_select as usize)
    }

    fn set_driver_features(&mut self, value: u32) {
        let shift = match self.driver_features_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        if self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0 {
            self.driver_features &= !(0xffff_ffff << shift);
            self.driver_features |= u64::from(value) << shift;
        }
    }

    fn set_queue(&mut self, offset: u32, value: u32) {
        if self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            return;
        }
        let Some(queue) = self.queues.get_mut(self.queue_select as usize) else { return };
        match offset {
            VIRTIO_MMIO_QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
            VIRTIO_MMIO_QUEUE_READY => queue.set_ready(value == 1),
            VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }

    fn stop_workers(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
    }

    fn reset(&mut self) {
        self.stop_workers();
        self.queues.iter_mut().for_each(QueueT::reset);
        self.status = 0;
        self.driver_features = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.queue_select = 0;
    }
}

impl BusDevice for MmioTransport {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let offset = offset as u32;
        if let Some(at) = offset.checked_sub(VIRTIO_MMIO_CONFIG) {
            self.config.read(at as usize, data);
        } else if let Ok(register) = <&mut [u8; 4]>::try_from(data) {
            *register = self.read_register(offset).to_le_bytes();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let offset = offset as u32;
        if let Some(at) = offset.checked_sub(VIRTIO_MMIO_CONFIG) {
            self.config.write(at as usize, data);
        } else if let Ok(register) = <[u8; 4]>::try_from(data) {
            self.write_register(offset, u32::from_le_bytes(register));
        }
    }
}

#[cfg(test)]
mod tests;
