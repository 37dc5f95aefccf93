//! A long array of words that are mostly zero, in frames of the arena: a frame is there as long as one of its words is not.

use super::{Arena, NoFrame, Source, WORDS};

/// The array. Its owner's lock guards it.
pub(crate) struct Sparse {
    leaves: Box<[Leaf]>,
}

#[derive(Clone, Copy, Default)]
struct Leaf {
    /// Number of the frame, when a word is used.
    frame: u32,
    /// Words that are not zero.
    used: u32,
}

impl Sparse {
    /// An array of at least `words` words. What it holds for ever is 8 bytes for 1,024 of them.
    pub(crate) fn new(words: usize) -> Self {
        Self { leaves: vec![Leaf::default(); words.div_ceil(WORDS)].into_boxed_slice() }
    }

    /// Words there may be.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.leaves.len() * WORDS
    }

    /// A word, zero if it was never set.
    pub(crate) fn get(&self, arena: &Arena, at: u32) -> u32 {
        let Some(leaf) = self.leaves.get(at as usize / WORDS).filter(|leaf| leaf.used > 0) else { return 0 };
        // SAFETY: a leaf that is used owns its frame, and writers have borrowed the array exclusively.
        let words = unsafe { arena.words(leaf.frame) };
        words.get(at as usize % WORDS).copied().unwrap_or_default()
    }

    /// Sets a word, which cannot fail when it is set to zero or was set before.
    pub(crate) fn set(
        &mut self,
        arena: &Arena,
        at: u32,
        value: u32,
        more: Source<'_>,
    ) -> Result<(), NoFrame> {
        let leaf = self.leaves.get_mut(at as usize / WORDS).ok_or(NoFrame)?;
        if leaf.used == 0 {
            if value == 0 {
                return Ok(());
            }
            leaf.frame = more().ok_or(NoFrame)?;
            // SAFETY: the frame was just allocated, and nobody else knows it.
            *unsafe { arena.words_mut(leaf.frame) } = [0; WORDS];
        }
        // SAFETY: the leaf owns its frame, and this array is borrowed exclusively.
        let words = unsafe { arena.words_mut(leaf.frame) };
        let word = words.get_mut(at as usize % WORDS).ok_or(NoFrame)?;
        leaf.used += u32::from(value != 0);
        leaf.used -= u32::from(*word != 0);
        *word = value;
        if leaf.used == 0 {
            arena.free_block(leaf.frame);
        }
        Ok(())
    }

    /// The first word that is zero, in a frame that is there if possible.
    pub(crate) fn first_zero(&self, arena: &Arena) -> Option<u32> {
        let open = |leaf: &Leaf| leaf.used > 0 && (leaf.used as usize) < WORDS;
        let leaf =
            self.leaves.iter().position(open).or_else(|| self.leaves.iter().position(|l| l.used == 0))?;
        let word = match self.leaves.get(leaf).filter(|leaf| leaf.used > 0) {
            // SAFETY: as in get.
            Some(leaf) => unsafe { arena.words(leaf.frame) }.iter().position(|word| *word == 0)?,
            None => 0,
        };
        Some((leaf * WORDS + word) as u32)
    }

    /// All words from here on are zero.
    #[cfg(test)]
    pub(crate) fn end(&self) -> u32 {
        self.leaves.iter().rposition(|leaf| leaf.used > 0).map_or(0, |leaf| ((leaf + 1) * WORDS) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_and_frames_are_there_only_for_words_that_are_not_zero() {
        let arena = Arena::new(64, 0).unwrap();
        let before = arena.count_free();
        let more = || arena.alloc_block();
        let mut sparse = Sparse::new(5000);
        assert_eq!((sparse.first_zero(&arena), sparse.end()), (Some(0), 0));
        for at in [0, 1, 2, 4999] {
            sparse.set(&arena, at, at + 7, &more).unwrap();
        }
        assert_eq!((sparse.first_zero(&arena), sparse.end()), (Some(3), 5 * WORDS as u32));
        assert_eq!((sparse.get(&arena, 1), sparse.get(&arena, 4999), sparse.get(&arena, 3000)), (8, 5006, 0));
        assert_eq!(arena.count_free(), before - 2);
        assert!(sparse.set(&arena, 2000, 1, &|| None).is_err());
        assert!(sparse.set(&arena, 6000, 1, &more).is_err(), "beyond its end");
        sparse.set(&arena, 2000, 0, &|| None).unwrap();
        for at in [0, 1, 2, 4999] {
            sparse.set(&arena, at, 0, &|| None).unwrap();
        }
        assert_eq!(arena.count_free(), before);
    }
}
