//! Small arrays of words in blocks, addressed by number. Each shard has its own, under its lock.

use crate::arena::{Block, WORDS};

/// Slots in a block of the smallest class (3 words), in 64-bit words of its bitmap.
const MAP: usize = (WORDS / 3).div_ceil(64);

/// Where an array is: its block's number in the heap, and its slot in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At {
    pub(super) block: u32,
    pub(super) slot: u16,
}

/// Bytes of a block's lines here.
const LINES: usize = size_of::<Option<Block>>() + size_of::<Slots>();
/// Bytes that a block costs: its memory, and its lines in vectors that may be half empty after they grew.
pub(super) const BLOCK_BYTES: usize = WORDS * 4 + 2 * LINES;

/// Arrays of `CLASSES[class]` words.
pub(super) struct Heap<const N: usize> {
    classes: [usize; N],
    /// Apart from what is known of their slots, because every look at an array reads it: small, it stays in the cache.
    blocks: Vec<Option<Block>>,
    slots: Vec<Slots>,
    unused: Vec<u32>,
    /// Blocks of each class that may have a free slot.
    partial: [Vec<u32>; N],
}

#[derive(Clone, Copy)]
struct Slots {
    class: u8,
    used: u16,
    /// Set bits are used slots.
    map: [u64; MAP],
}

impl<const N: usize> Heap<N> {
    pub(super) fn new(classes: [usize; N]) -> Self {
        Self {
            classes,
            blocks: Vec::new(),
            slots: Vec::new(),
            unused: Vec::new(),
            partial: [const { Vec::new() }; N],
        }
    }

    /// Bytes of an array of the class, with its part of what its block costs and wastes.
    pub(super) fn bytes(&self, class: u8) -> u64 {
        BLOCK_BYTES.div_ceil(WORDS / self.words(class)) as u64
    }

    /// Bytes of memory that the heap holds.
    pub(super) fn held(&self) -> u64 {
        let blocks = self.blocks.len() - self.unused.len();
        (blocks * WORDS * 4 + self.blocks.capacity() * LINES) as u64
    }

    fn words(&self, class: u8) -> usize {
        *self.classes.get(usize::from(class)).expect("classes are named by constants of the index")
    }

    /// Takes an array; its content is whatever was there before. `more` supplies memory.
    pub(super) fn alloc(&mut self, class: u8, more: impl FnOnce() -> Option<Block>) -> Option<At> {
        let slots = WORDS / self.words(class);
        let partial = self.partial.get_mut(usize::from(class))?;
        while let Some(&number) = partial.last() {
            if let Some(block) = self.slots.get_mut(number as usize)
                && block.used > 0
                && block.class == class
                && let Some(slot) = block.take(slots)
            {
                if usize::from(block.used) == slots {
                    partial.pop();
                }
                return Some(At { block: number, slot });
            }
            partial.pop();
        }
        let memory = more()?;
        let mut block = Slots { class, used: 0, map: [0; MAP] };
        let slot = block.take(slots)?;
        let number = match self.unused.pop() {
            Some(number) => {
                *self.blocks.get_mut(number as usize)? = Some(memory);
                *self.slots.get_mut(number as usize)? = block;
                number
            }
            None => {
                self.blocks.push(Some(memory));
                self.slots.push(block);
                self.blocks.len() as u32 - 1
            }
        };
        if slots > 1 {
            partial.push(number);
        }
        Some(At { block: number, slot })
    }

    /// Frees an array; a block with none left goes back to where it came from.
    pub(super) fn free(&mut self, at: At, class: u8) {
        let slots = WORDS / self.words(class);
        let block = self.slots.get_mut(at.block as usize).expect("only taken arrays are freed");
        let was_full = usize::from(block.used) == slots;
        block.give(at.slot);
        if block.used == 0 {
            if let Some(memory) = self.blocks.get_mut(at.block as usize) {
                *memory = None;
            }
            self.unused.push(at.block);
        } else if was_full && let Some(partial) = self.partial.get_mut(usize::from(class)) {
            partial.push(at.block);
        }
    }

    /// The words of an array.
    pub(super) fn get(&self, at: At, class: u8) -> &[u32] {
        let words = self.words(class);
        let start = usize::from(at.slot) * words;
        let block = self.blocks.get(at.block as usize).and_then(Option::as_ref);
        block.and_then(|b| b.words().get(start..start + words)).expect("only taken arrays are read")
    }

    /// The words of an array, to be changed.
    pub(super) fn get_mut(&mut self, at: At, class: u8) -> &mut [u32] {
        let words = self.words(class);
        let start = usize::from(at.slot) * words;
        let block = self.blocks.get_mut(at.block as usize).and_then(Option::as_mut);
        block
            .and_then(|b| b.words_mut().get_mut(start..start + words))
            .expect("only taken arrays are written")
    }

    /// True when the slot is taken and its block is of the class.
    pub(super) fn is_taken(&self, at: At, class: u8) -> bool {
        // An unused block has no slot taken.
        self.slots.get(at.block as usize).is_some_and(|b| b.class == class && b.has(at.slot))
    }

    /// Block numbers that have been used.
    pub(super) fn block_numbers(&self) -> u32 {
        self.blocks.len() as u32
    }
}

impl Slots {
    fn take(&mut self, slots: usize) -> Option<u16> {
        let (word, map) = self.map.iter_mut().enumerate().find(|(_, map)| **map != u64::MAX)?;
        let bit = map.trailing_ones();
        let slot = word * 64 + bit as usize;
        if slot >= slots {
            return None;
        }
        *map |= 1 << bit;
        self.used += 1;
        Some(slot as u16)
    }

    fn give(&mut self, slot: u16) {
        if let Some(map) = self.map.get_mut(usize::from(slot) / 64) {
            debug_assert!(*map >> (slot % 64) & 1 == 1, "slot {slot} was freed twice");
            *map &= !(1 << (slot % 64));
            self.used -= 1;
        }
    }

    fn has(&self, slot: u16) -> bool {
        self.map.get(usize::from(slot) / 64).is_some_and(|map| map >> (slot % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use std::sync::Arc;

    #[test]
    fn arrays_are_disjoint_and_blocks_come_back() {
        let arena = Arc::new(Arena::new(64, 0).unwrap());
        let before = arena.count_free();
        let mut heap = Heap::new([3, 320]);
        let taken: Vec<(At, u8)> = (0..700)
            .map(|n| {
                let class = u8::from(n % 100 == 0);
                let at = heap.alloc(class, || Block::new(&arena)).unwrap();
                heap.get_mut(at, class).fill(n);
                (at, class)
            })
            .collect();
        for (n, (at, class)) in taken.iter().enumerate() {
            assert!(heap.get(*at, *class).iter().all(|w| *w == n as u32));
        }
        taken.iter().for_each(|(at, class)| heap.free(*at, *class));
        assert_eq!(arena.count_free(), before);
    }

    #[test]
    fn no_memory_is_an_answer() {
        let mut heap = Heap::new([16]);
        assert_eq!(heap.alloc(0, || None), None);
    }
}
