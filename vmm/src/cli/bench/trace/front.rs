//! A guest's own page cache: an LRU of block numbers.

const NONE: u32 = u32::MAX;

/// The blocks that a guest keeps, in the order of their last use.
pub(super) struct Front {
    /// Neighbours of each block, older and younger; a block that is not kept has none and is not `kept`.
    links: Vec<[u32; 2]>,
    kept: Vec<bool>,
    oldest: u32,
    youngest: u32,
    count: usize,
    pages: usize,
}

impl Front {
    /// A cache of `pages` out of `blocks` blocks.
    pub(super) fn new(blocks: usize, pages: usize) -> Self {
        let (links, kept) = (vec![[NONE; 2]; blocks], vec![false; blocks]);
        Self { links, kept, oldest: NONE, youngest: NONE, count: 0, pages }
    }

    /// Uses a block; true when it was kept.
    pub(super) fn uses(&mut self, block: u32) -> bool {
        let kept = self.kept.get(block as usize).copied().unwrap_or(false);
        if kept {
            self.unlink(block);
            self.push(block);
        }
        kept
    }

    /// Keeps a block that was not kept, and tells which one has to go for it.
    pub(super) fn keep(&mut self, block: u32) -> Option<u32> {
        if self.pages == 0 {
            return Some(block);
        }
        let out = (self.count == self.pages).then_some(self.oldest);
        if let Some(out) = out {
            self.unlink(out);
        }
        self.push(block);
        out
    }

    fn relink(&mut self, block: u32, which: usize, to: u32) {
        if let Some(link) = self.links.get_mut(block as usize).and_then(|links| links.get_mut(which)) {
            *link = to;
        }
    }

    fn push(&mut self, block: u32) {
        if let Some(links) = self.links.get_mut(block as usize) {
            *links = [self.youngest, NONE];
        }
        if self.youngest == NONE {
            self.oldest = block;
        } else {
            self.relink(self.youngest, 1, block);
        }
        self.youngest = block;
        self.count += 1;
        if let Some(kept) = self.kept.get_mut(block as usize) {
            *kept = true;
        }
    }

    fn unlink(&mut self, block: u32) {
        let [older, younger] = self.links.get(block as usize).copied().unwrap_or([NONE; 2]);
        if older == NONE {
            self.oldest = younger;
        } else {
            self.relink(older, 1, younger);
        }
        if younger == NONE {
            self.youngest = older;
        } else {
            self.relink(younger, 0, older);
        }
        self.count -= 1;
        if let Some(kept) = self.kept.get_mut(block as usize) {
            *kept = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_block_goes() {
        let mut front = Front::new(4, 2);
        assert_eq!([front.keep(0), front.keep(1)], [None, None]);
        assert!(front.uses(0));
        assert_eq!(front.keep(2), Some(1));
        assert!(!front.uses(1) && front.uses(0) && front.uses(2));
        assert_eq!(front.keep(3), Some(0));
    }

    #[test]
    fn a_front_of_no_pages_gives_every_block_back_at_once() {
        let mut front = Front::new(2, 0);
        assert_eq!(front.keep(1), Some(1));
        assert!(!front.uses(1));
    }
}
