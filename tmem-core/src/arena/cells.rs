//! A long array of words in frames of the arena: what an eviction policy remembers.

use std::ptr::NonNull;
use std::sync::Arc;

use super::heap::At;
use super::{Arena, WORDS};
use crate::page::PAGE_SIZE;

/// Words in a bucket, which is one cache line.
pub(crate) const BUCKET: usize = 16;
const BUCKETS: usize = PAGE_SIZE / 4 / BUCKET;

/// Words of a piece of a frame, by class. More words take whole frames.
pub(super) const PIECES: [usize; 5] = [BUCKET, 2 * BUCKET, 5 * BUCKET, 12 * BUCKET, 31 * BUCKET];

/// Words in frames, zero at first. They count into the store's size, and go back when this is dropped.
pub(crate) struct Cells {
    memory: Memory,
    arena: Arc<Arena>,
}

enum Memory {
    /// A part of one frame.
    Piece { at: At, class: u8 },
    /// Whole frames, as many as there are to be in the end.
    Frames { frames: Vec<u32>, want: usize },
}

/// The class of the smallest piece that has so many words.
fn piece(words: usize) -> Option<(u8, usize)> {
    let class = PIECES.iter().position(|piece| *piece >= words)?;
    Some((class as u8, *PIECES.get(class)?))
}

impl Cells {
    /// Bytes that an array of so many words takes.
    pub(crate) fn bytes_of(words: usize) -> usize {
        match piece(words) {
            Some((_, words)) => PAGE_SIZE / super::heap::arrays_a_frame(words),
            None => words.div_ceil(WORDS) * PAGE_SIZE,
        }
    }

    /// An array of at least `words` words, all of it at once.
    #[cfg(test)]
    pub(crate) fn new(arena: &Arc<Arena>, words: usize) -> Option<Self> {
        let mut cells = Self::begin(arena, words)?;
        while !cells.is_whole() {
            cells.grow()?;
        }
        Some(cells)
    }

    /// An array that is to have at least `words` words, of which there may be none yet.
    pub(crate) fn begin(arena: &Arc<Arena>, words: usize) -> Option<Self> {
        let memory = match piece(words) {
            Some((class, _)) => Memory::Piece { at: arena.alloc_piece(class)?, class },
            None => {
                let want = words.div_ceil(WORDS);
                let mut frames = Vec::new();
                frames.try_reserve_exact(want).ok()?;
                Memory::Frames { frames, want }
            }
        };
        let mut cells = Self { memory, arena: Arc::clone(arena) };
        for bucket in 0..cells.words() / BUCKET {
            cells.bucket_mut(bucket)?.fill(0);
        }
        Some(cells)
    }

    /// Whether all words are there.
    pub(crate) fn is_whole(&self) -> bool {
        match &self.memory {
            Memory::Piece { .. } => true,
            Memory::Frames { frames, want } => frames.len() == *want,
        }
    }

    /// Adds one frame's words if some are missing, unless the arena has none.
    pub(crate) fn grow(&mut self) -> Option<()> {
        if let Memory::Frames { frames, want } = &mut self.memory
            && frames.len() < *want
        {
            let frame = self.arena.alloc_cells()?;
            // SAFETY: the frame was just allocated, and nobody else knows it.
            unsafe { self.arena.page_mut(frame) }.fill(0);
            frames.push(frame);
        }
        Some(())
    }

    /// Words there are.
    pub(crate) fn words(&self) -> usize {
        match &self.memory {
            Memory::Piece { class, .. } => PIECES.get(usize::from(*class)).copied().unwrap_or_default(),
            Memory::Frames { frames, .. } => frames.len() * WORDS,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        match &self.memory {
            Memory::Piece { .. } => Self::bytes_of(self.words()),
            Memory::Frames { frames, .. } => frames.len() * PAGE_SIZE,
        }
    }

    fn at(&self, bucket: usize) -> Option<NonNull<[u32; BUCKET]>> {
        let (frame, bucket) = match &self.memory {
            Memory::Piece { at, .. } => {
                let from = usize::from(at.slot) * self.words() / BUCKET;
                (at.frame, (bucket < self.words() / BUCKET).then_some(1 + from + bucket)?)
            }
            Memory::Frames { frames, .. } => (*frames.get(bucket / BUCKETS)?, bucket % BUCKETS),
        };
        let page = self.arena.map.frame(frame).cast::<[u32; BUCKET]>();
        // SAFETY: a piece lies inside its frame behind its first line, and otherwise the bucket was taken modulo the buckets
        // of a frame.
        Some(unsafe { page.add(bucket) })
    }

    /// A bucket of words, if there are so many.
    pub(crate) fn bucket(&self, bucket: usize) -> Option<&[u32; BUCKET]> {
        // SAFETY: the frame is owned by this array, aligned and mapped as long as the arena, which is kept alive; every bit
        // pattern is a word, and writers need this array exclusively.
        self.at(bucket).map(|bucket| unsafe { bucket.as_ref() })
    }

    /// A bucket of words, to be changed.
    pub(crate) fn bucket_mut(&mut self, bucket: usize) -> Option<&mut [u32; BUCKET]> {
        // SAFETY: as in bucket, and the exclusive borrow of the only owner rules out other references.
        self.at(bucket).map(|mut bucket| unsafe { bucket.as_mut() })
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        match &self.memory {
            Memory::Piece { at, class } => self.arena.free_piece(*at, *class),
            Memory::Frames { frames, .. } => frames.iter().for_each(|frame| self.arena.free_block(*frame)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_zero_keep_what_is_written_and_go_back_to_the_arena() {
        let arena = Arc::new(Arena::new(64, 0).unwrap());
        let before = arena.count_free();
        let mut cells = Cells::new(&arena, 3000).unwrap();
        assert_eq!((cells.words(), cells.bytes()), (3072, 3 * PAGE_SIZE));
        for bucket in 0..192 {
            assert_eq!(cells.bucket(bucket), Some(&[0; BUCKET]));
            cells.bucket_mut(bucket).unwrap().fill(bucket as u32);
        }
        assert!((0..192).all(|bucket| cells.bucket(bucket) == Some(&[bucket as u32; BUCKET])));
        assert_eq!(cells.bucket(192), None);
        drop(cells);
        assert_eq!(arena.count_free(), before);
    }

    #[test]
    fn small_arrays_share_frames() {
        let arena = Arc::new(Arena::new(64, 0).unwrap());
        let before = arena.count_free();
        let mut all: Vec<Cells> = (0..90).map(|n| Cells::new(&arena, 16 + n).unwrap()).collect();
        for (n, cells) in all.iter_mut().enumerate() {
            assert!(cells.words() >= 16 + n && cells.bytes() >= cells.words() * 4);
            for bucket in 0..cells.words() / BUCKET {
                assert_eq!(cells.bucket(bucket), Some(&[0; BUCKET]));
                cells.bucket_mut(bucket).unwrap().fill(n as u32);
            }
        }
        for (n, cells) in all.iter().enumerate() {
            assert!((0..cells.words() / BUCKET).all(|b| cells.bucket(b) == Some(&[n as u32; BUCKET])));
            assert_eq!(cells.bucket(cells.words() / BUCKET), None);
        }
        assert!(before - arena.count_free() < 20);
        drop(all);
        assert_eq!(arena.count_free(), before);
    }

    #[test]
    fn an_arena_without_frames_is_an_answer() {
        let arena = Arc::new(Arena::new(16, 0).unwrap());
        assert!(Cells::new(&arena, 17 << 10).is_none());
        assert_eq!(arena.count_free(), 16);
    }
}
