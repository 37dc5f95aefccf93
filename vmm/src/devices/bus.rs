//! Finds the device that an access is for.

use std::ops::Range;
use std::sync::Arc;

/// A device with registers. Accesses come from all vCPU threads at once.
pub trait BusDevice: Send + Sync {
    /// The guest reads `data.len()` bytes at `offset` from the device's start.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// The guest writes `data` at `offset` from the device's start.
    fn write(&self, offset: u64, data: &[u8]);
}

/// One address space of devices: ports, or memory-mapped registers.
#[derive(Clone, Default)]
pub struct Bus {
    devices: Vec<(Range<u64>, Arc<dyn BusDevice>)>,
}

impl Bus {
    /// Puts a device at a range of addresses; of two at one place the first counts.
    pub fn insert(&mut self, range: Range<u64>, device: Arc<dyn BusDevice>) {
        self.devices.push((range, device));
    }

    fn find(&self, addr: u64) -> Option<(u64, &dyn BusDevice)> {
        let (range, device) = self.devices.iter().find(|(range, _)| range.contains(&addr))?;
        Some((addr - range.start, device.as_ref()))
    }

    /// A read; where no device is all bits are ones, as on a PC.
    pub fn read(&self, addr: u64, data: &mut [u8]) {
        match self.find(addr) {
            Some((offset, device)) => device.read(offset, data),
            None => data.fill(0xff),
        }
    }

    /// A write; where no device is nothing happens.
    pub fn write(&self, addr: u64, data: &[u8]) {
        if let Some((offset, device)) = self.find(addr) {
            device.write(offset, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Echo(Mutex<Vec<(u64, Vec<u8>)>>);

    impl BusDevice for Echo {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(offset as u8);
        }
        fn write(&self, offset: u64, data: &[u8]) {
            self.0.lock().push((offset, data.to_vec()));
        }
    }

    #[test]
    fn access_when_in_a_device_has_its_offset_and_elsewhere_reads_ones() {
        let device = Arc::new(Echo::default());
        let mut bus = Bus::default();
        bus.insert(0x100..0x110, device.clone());
        let mut data = [0u8; 2];
        bus.read(0x10f, &mut data);
        assert_eq!(data, [0xf, 0xf]);
        bus.read(0x110, &mut data);
        assert_eq!(data, [0xff, 0xff]);
        bus.write(0x102, &[1, 2]);
        bus.write(0xff, &[3]);
        assert_eq!(*device.0.lock(), [(2, vec![1, 2])]);
    }
}
