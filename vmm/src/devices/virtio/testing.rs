//! The driver's side of one virtqueue, for tests.

use virtio_queue::{Queue, QueueT};

use crate::arch::layout::RamLayout;
use crate::memory::GuestRam;

pub(super) const DESC: u64 = 0x20_0000;
pub(super) const AVAIL: u64 = 0x20_1000;
pub(super) const USED: u64 = 0x20_2000;
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// One descriptor: address, length, whether the device writes it.
pub(super) type Part = (u64, u32, bool);

/// A driver that fills rings by hand.
pub(super) struct Driver {
    pub(super) ram: GuestRam,
    next_desc: u16,
    avail: u16,
}

impl Driver {
    pub(super) fn new() -> Self {
        let ram = GuestRam::new(&RamLayout::new(16 << 20).unwrap()).unwrap();
        Self { ram, next_desc: 0, avail: 0 }
    }

    /// The queue as the device would hold it.
    pub(super) fn queue(&self) -> Queue {
        let mut queue = Queue::new(256).unwrap();
        queue.set_desc_table_address(Some(DESC as u32), Some(0));
        queue.set_avail_ring_address(Some(AVAIL as u32), Some(0));
        queue.set_used_ring_address(Some(USED as u32), Some(0));
        queue.set_ready(true);
        queue
    }

    /// Offers a chain of parts.
    pub(super) fn offer(&mut self, parts: &[Part]) {
        let head = self.next_desc;
        for (n, (addr, len, write)) in parts.iter().enumerate() {
            let last = n + 1 == parts.len();
            let flags = if last { 0 } else { NEXT } | if *write { WRITE } else { 0 };
            let at = DESC + u64::from(self.next_desc) * 16;
            self.next_desc += 1;
            let mut bytes = addr.to_le_bytes().to_vec();
            bytes.extend(len.to_le_bytes());
            bytes.extend(flags.to_le_bytes());
            bytes.extend(self.next_desc.to_le_bytes());
            self.ram.write(&bytes, at).unwrap();
        }
        self.ram.write(&head.to_le_bytes(), AVAIL + 4 + u64::from(self.avail) * 2).unwrap();
        self.avail += 1;
        self.ram.write(&self.avail.to_le_bytes(), AVAIL + 2).unwrap();
    }

    /// Length of every used entry so far.
    pub(super) fn used(&self) -> Vec<u32> {
        let mut index = [0; 2];
        self.ram.read(&mut index, USED + 2).unwrap();
        (0..u64::from(u16::from_le_bytes(index)))
            .map(|n| {
                let mut len = [0; 4];
                self.ram.read(&mut len, USED + 4 + n * 8 + 4).unwrap();
                u32::from_le_bytes(len)
            })
            .collect()
    }

    pub(super) fn byte(&self, at: u64) -> u8 {
        let mut byte = [0];
        self.ram.read(&mut byte, at).unwrap();
        byte[0]
    }
}
