//! A frame that holds metadata, as words.

use std::ptr::NonNull;
use std::sync::Arc;

use super::Arena;
use crate::page::PAGE_SIZE;

/// Words in a block.
pub(crate) const WORDS: usize = PAGE_SIZE / 4;

/// One frame of the arena, owned, seen as 1,024 words. Dropping it frees the frame.
pub(crate) struct Block {
    words: NonNull<[u32; WORDS]>,
    frame: u32,
    arena: Arc<Arena>,
}

// SAFETY: a block owns its frame as a Box owns its memory; words may move between threads.
unsafe impl Send for Block {}
// SAFETY: shared access is read-only.
unsafe impl Sync for Block {}

impl Block {
    /// Takes a frame; its words hold whatever was there before.
    pub(crate) fn new(arena: &Arc<Arena>) -> Option<Self> {
        let frame = arena.alloc_block()?;
        Some(Self { words: arena.map.frame(frame).cast(), frame, arena: Arc::clone(arena) })
    }

    pub(crate) fn words(&self) -> &[u32; WORDS] {
        // SAFETY: the frame is ours until drop, page-aligned, and mapped as long as the arena, which we keep alive;
        // mapped memory is initialised, and every bit pattern is a word.
        unsafe { self.words.as_ref() }
    }

    pub(crate) fn words_mut(&mut self) -> &mut [u32; WORDS] {
        // SAFETY: as in words, and the exclusive borrow of the only owner rules out other references.
        unsafe { self.words.as_mut() }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.arena.free_block(self.frame);
    }
}
