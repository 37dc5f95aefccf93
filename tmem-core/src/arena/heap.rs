//! Small arrays of words in frames of the arena.
//!
//! All that is known of a frame's arrays stands in its own first cache line, so a heap grows by frames and by nothing
//! else. Frames with room are in a list through those lines; a frame without arrays goes back at once.

use super::{Arena, Source, WORDS};

/// No frame.
const NONE: u32 = u32::MAX;
/// Words of a frame that describe it.
const HEAD: usize = 16;
/// Where they stand: the class and the arrays in use, the neighbours in the list, the owner's tag, the map of arrays.
const CLASS: usize = 0;
const USED: usize = 1;
const BEFORE: usize = 2;
const AFTER: usize = 3;
const TAG: usize = 4;
const MAP: usize = 5;

/// Arrays of so many words in a frame.
pub(crate) const fn arrays_a_frame(words: usize) -> usize {
    (WORDS - HEAD) / words
}

/// The smallest array: more would not fit in the map.
const LEAST: usize = 3;
const _: () = assert!(arrays_a_frame(LEAST) <= (HEAD - MAP) * 32);

/// Where an array is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) frame: u32,
    pub(crate) slot: u16,
}

/// Arrays of `classes[class]` words. Its owner's lock guards it.
pub(crate) struct Heap<const N: usize> {
    classes: [usize; N],
    /// For each class the first frame that has room.
    partial: [u32; N],
    frames: u32,
}

impl<const N: usize> Heap<N> {
    pub(crate) const fn new(classes: [usize; N]) -> Self {
        Self { classes, partial: [NONE; N], frames: 0 }
    }

    /// Frames held.
    #[cfg(test)]
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Words in an array of the class.
    fn words(&self, class: u8) -> usize {
        *self.classes.get(usize::from(class)).expect("classes are named by constants of the owner")
    }

    /// Bytes of memory that an array of the class takes, with its part of what its frame wastes.
    pub(crate) fn bytes(&self, class: u8) -> u64 {
        (WORDS * 4).div_ceil(arrays_a_frame(self.words(class))) as u64
    }

    /// Takes an array; its content is whatever was there before. A new frame, from `more`, is given the tag that `tag`
    /// makes of it.
    pub(crate) fn alloc_tagged(
        &mut self,
        arena: &Arena,
        class: u8,
        more: Source<'_>,
        tag: impl FnOnce(u32) -> Option<u32>,
    ) -> Option<At> {
        let first = *self.partial.get(usize::from(class))?;
        let frame = if first == NONE {
            let frame = more()?;
            let Some(tag) = tag(frame) else {
                arena.free_block(frame);
                return None;
            };
            let head = head_mut(arena, frame);
            *head = [0; HEAD];
            head[CLASS] = u32::from(class);
            head[TAG] = tag;
            self.frames += 1;
            self.push(arena, class, frame);
            frame
        } else {
            first
        };
        let arrays = arrays_a_frame(self.words(class));
        let head = head_mut(arena, frame);
        let (word, map) = head.iter_mut().enumerate().skip(MAP).find(|(_, map)| **map != u32::MAX)?;
        let bit = map.trailing_ones();
        *map |= 1 << bit;
        head[USED] += 1;
        if head[USED] as usize == arrays {
            self.unlink(arena, class, frame);
        }
        Some(At { frame, slot: ((word - MAP) as u32 * 32 + bit) as u16 })
    }

    /// Takes an array; its content is whatever was there before.
    pub(crate) fn alloc(&mut self, arena: &Arena, class: u8, more: Source<'_>) -> Option<At> {
        self.alloc_tagged(arena, class, more, |_| Some(0))
    }

    /// Frees an array. A frame with none left goes back to the arena, and its tag to the caller.
    pub(crate) fn free(&mut self, arena: &Arena, at: At, class: u8) -> Option<u32> {
        let arrays = arrays_a_frame(self.words(class));
        let head = head_mut(arena, at.frame);
        let map = head.get_mut(MAP + usize::from(at.slot) / 32).expect("only taken arrays are freed");
        debug_assert!(*map >> (at.slot % 32) & 1 == 1, "array {at:?} was freed twice");
        *map &= !(1 << (at.slot % 32));
        let was_full = head[USED] as usize == arrays;
        head[USED] -= 1;
        let (used, tag) = (head[USED], head[TAG]);
        if used == 0 {
            if !was_full {
                self.unlink(arena, class, at.frame);
            }
            self.frames -= 1;
            arena.free_block(at.frame);
            return Some(tag);
        }
        if was_full {
            self.push(arena, class, at.frame);
        }
        None
    }

    /// The words of an array.
    pub(crate) fn get<'a>(&'a self, arena: &'a Arena, at: At, class: u8) -> &'a [u32] {
        let words = self.words(class);
        let start = HEAD + usize::from(at.slot) * words;
        // SAFETY: the heap owns the frame, and whoever writes to it has borrowed the heap exclusively.
        let frame = unsafe { arena.words(at.frame) };
        frame.get(start..start + words).expect("only taken arrays are read")
    }

    /// The words of an array, to be changed.
    pub(crate) fn get_mut<'a>(&'a mut self, arena: &'a Arena, at: At, class: u8) -> &'a mut [u32] {
        let words = self.words(class);
        let start = HEAD + usize::from(at.slot) * words;
        // SAFETY: as in get, and the exclusive borrow of the heap rules out other references.
        let frame = unsafe { arena.words_mut(at.frame) };
        frame.get_mut(start..start + words).expect("only taken arrays are written")
    }

    /// The tag of an array's frame.
    pub(crate) fn tag(&self, arena: &Arena, at: At) -> u32 {
        head(arena, at.frame)[TAG]
    }

    /// Whether an array of a frame of this heap is taken.
    pub(crate) fn is_taken(&self, arena: &Arena, at: At) -> bool {
        head(arena, at.frame)
            .get(MAP + usize::from(at.slot) / 32)
            .is_some_and(|map| map >> (at.slot % 32) & 1 == 1)
    }

    /// Whether an array would be better off elsewhere: its frame is used by less than a quarter, and is not the one that new
    /// arrays come to.
    pub(crate) fn is_sparse(&self, arena: &Arena, at: At, class: u8) -> bool {
        let used = head(arena, at.frame)[USED] as usize;
        self.partial.get(usize::from(class)).is_some_and(|first| *first != at.frame && *first != NONE)
            && used * 4 < arrays_a_frame(self.words(class))
    }

    /// Puts a frame first in its class's list.
    fn push(&mut self, arena: &Arena, class: u8, frame: u32) {
        let Some(first) = self.partial.get_mut(usize::from(class)) else { return };
        let after = std::mem::replace(first, frame);
        let head = head_mut(arena, frame);
        head[BEFORE] = NONE;
        head[AFTER] = after;
        if after != NONE {
            head_mut(arena, after)[BEFORE] = frame;
        }
    }

    fn unlink(&mut self, arena: &Arena, class: u8, frame: u32) {
        let [before, after] = [head(arena, frame)[BEFORE], head(arena, frame)[AFTER]];
        if after != NONE {
            head_mut(arena, after)[BEFORE] = before;
        }
        if before != NONE {
            head_mut(arena, before)[AFTER] = after;
        } else if let Some(first) = self.partial.get_mut(usize::from(class)) {
            *first = after;
        }
    }
}

fn head(arena: &Arena, frame: u32) -> &[u32; HEAD] {
    // SAFETY: heaps ask for frames of their own only, under the lock or the exclusive borrow that guards the heap.
    unsafe { arena.words(frame) }.first_chunk().expect("a frame is longer than its head")
}

#[expect(clippy::mut_from_ref, reason = "the frame is the heap's, and its lock rules out other references")]
fn head_mut(arena: &Arena, frame: u32) -> &mut [u32; HEAD] {
    // SAFETY: as above; every caller has borrowed the heap exclusively and keeps no other reference into the frame.
    unsafe { arena.words_mut(frame) }.first_chunk_mut().expect("a frame is longer than its head")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_disjoint_and_frames_come_back() {
        let arena = Arena::new(64, 0).unwrap();
        let before = arena.count_free();
        let more = || arena.alloc_block();
        let mut heap = Heap::new([3, 320]);
        let taken: Vec<(At, u8)> = (0..700)
            .map(|n| {
                let class = u8::from(n % 100 == 0);
                let at = heap.alloc(&arena, class, &more).unwrap();
                heap.get_mut(&arena, at, class).fill(n);
                (at, class)
            })
            .collect();
        for (n, (at, class)) in taken.iter().enumerate() {
            assert!(heap.is_taken(&arena, *at));
            assert!(heap.get(&arena, *at, *class).iter().all(|w| *w == n as u32));
        }
        for (n, (at, class)) in taken.iter().enumerate() {
            if n % 3 == 0 {
                heap.free(&arena, *at, *class);
            }
        }
        let frames = heap.frames();
        assert!((0..200).all(|_| heap.alloc(&arena, 0, &more).is_some()));
        assert_eq!(heap.frames(), frames, "freed arrays are used again");
        assert!(frames < 10 && arena.count_free() == before - frames);
    }

    #[test]
    fn a_frame_without_arrays_goes_back_with_its_tag() {
        let arena = Arena::new(64, 0).unwrap();
        let before = arena.count_free();
        let mut heap = Heap::new([16]);
        let more = || arena.alloc_block();
        let taken: Vec<At> =
            (0..64).map(|n| heap.alloc_tagged(&arena, 0, &more, |_| Some(n)).unwrap()).collect();
        assert_eq!((heap.frames(), arrays_a_frame(16)), (2, 63));
        assert_eq!(heap.free(&arena, taken[63], 0), Some(63));
        let tags: Vec<_> = taken[..63].iter().filter_map(|at| heap.free(&arena, *at, 0)).collect();
        assert_eq!((tags, arena.count_free()), (vec![0], before));
    }

    #[test]
    fn no_memory_is_an_answer() {
        let arena = Arena::new(16, 0).unwrap();
        let before = arena.count_free();
        let mut heap = Heap::new([16]);
        assert_eq!(heap.alloc(&arena, 0, &|| None), None);
        assert_eq!(heap.alloc_tagged(&arena, 0, &|| arena.alloc_block(), |_| None), None);
        assert_eq!((heap.frames(), arena.count_free()), (0, before));
    }
}
