//! Where each block of a swap disk is.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where a block's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Slot {
    /// Nobody has written it since the disk was made. Zero, so that a new disk costs no memory.
    Untouched = 0,
    /// It was discarded, or zeros were asked for.
    Zeros = 1,
    /// In the store.
    Stored = 2,
    /// In the backing file: the store had refused it.
    Backed = 3,
    /// It was written and is gone.
    Lost = 4,
}

/// A byte for each block of a disk. A driver that has two requests for one block under way at a time gets one of both; which, nobody
/// says.
#[derive(Debug)]
pub(super) struct Slots(Box<[AtomicU8]>);

impl Slots {
    /// Of so many blocks, all untouched. Memory is taken where blocks are written.
    pub(super) fn new(blocks: usize) -> Self {
        // SAFETY: an AtomicU8 of zero bits is a valid one, of zero.
        Self(unsafe { Box::new_zeroed_slice(blocks).assume_init() })
    }

    pub(super) fn get(&self, block: u32) -> Slot {
        match self.0.get(block as usize).map(|slot| slot.load(Ordering::Acquire)) {
            Some(0) => Slot::Untouched,
            Some(1) => Slot::Zeros,
            Some(2) => Slot::Stored,
            Some(3) => Slot::Backed,
            _ => Slot::Lost,
        }
    }

    pub(super) fn set(&self, block: u32, slot: Slot) {
        if let Some(byte) = self.0.get(block as usize) {
            byte.store(slot as u8, Ordering::Release);
        }
    }

    /// All of them, as in a new disk.
    pub(super) fn clear(&self) {
        // What is zero is not written, so that it goes on costing no memory.
        self.0
            .iter()
            .filter(|slot| slot.load(Ordering::Relaxed) != 0)
            .for_each(|slot| slot.store(0, Ordering::Release));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_what_it_was_set_to_and_none_lies_beyond_the_end() {
        let slots = Slots::new(3);
        assert_eq!(slots.get(0), Slot::Untouched);
        for slot in [Slot::Zeros, Slot::Stored, Slot::Backed, Slot::Lost, Slot::Untouched] {
            slots.set(1, slot);
            assert_eq!((slots.get(0), slots.get(1), slots.get(2)), (Slot::Untouched, slot, Slot::Untouched));
        }
        slots.set(3, Slot::Stored);
        assert_eq!(slots.get(3), Slot::Lost);
        slots.set(2, Slot::Stored);
        slots.clear();
        assert_eq!(slots.get(2), Slot::Untouched);
    }
}
