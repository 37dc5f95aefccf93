//! S3-FIFO (Yang et al., SOSP 2023): a small queue for what is new, a main queue for what came back, and a memory of
//! what the small queue evicted. All hits cost a few bits.
//!
//! In a victim cache a get takes the page, and what comes back is put again. So with `remember_taken` a taken page is
//! remembered like one that was evicted: when it is put again it is one that came back, and goes to the main queue.

use super::ghost::Ghost;
use super::list::List;
use super::{Nodes, Policy};

/// The small queue's share of the pages: a tenth, as in the paper.
const SMALL_SHARE: u32 = 10;
const FREQUENCY: u32 = 3;
const MAIN: u32 = 4;

/// S3-FIFO.
pub(crate) struct S3Fifo {
    small: List,
    main: List,
    ghost: Ghost,
    remember_taken: bool,
}

impl S3Fifo {
    pub(crate) const fn new(remember_taken: bool) -> Self {
        Self { small: List::new(), main: List::new(), ghost: Ghost::new(), remember_taken }
    }

    fn remember(&mut self, nodes: &dyn Nodes, token: u32) {
        let most = self.main.len() + self.small.len();
        self.ghost.add(nodes.name(token), most as usize);
    }

    fn pop_small(&mut self, nodes: &mut dyn Nodes) -> Option<u32> {
        while let Some(token) = self.small.pop(nodes) {
            if nodes.marks(token) & FREQUENCY == 0 {
                self.remember(nodes, token);
                return Some(token);
            }
            nodes.set_marks(token, MAIN);
            self.main.push(nodes, token);
        }
        None
    }

    fn pop_main(&mut self, nodes: &mut dyn Nodes) -> Option<u32> {
        // A page goes round at most three times before it is evicted.
        while let Some(token) = self.main.pop(nodes) {
            let marks = nodes.marks(token);
            if marks & FREQUENCY == 0 {
                return Some(token);
            }
            nodes.set_marks(token, marks - 1);
            self.main.push(nodes, token);
        }
        None
    }
}

impl Policy for S3Fifo {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        if self.ghost.take(nodes.name(token)) {
            nodes.set_marks(token, MAIN);
            self.main.push(nodes, token);
        } else {
            nodes.set_marks(token, 0);
            self.small.push(nodes, token);
        }
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        let marks = nodes.marks(token);
        if marks & FREQUENCY < FREQUENCY {
            nodes.set_marks(token, marks + 1);
        }
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        let list = if nodes.marks(token) & MAIN != 0 { &mut self.main } else { &mut self.small };
        list.unlink(nodes, token);
        if taken && self.remember_taken {
            self.remember(nodes, token);
        }
    }

    fn victim(&mut self, nodes: &mut dyn Nodes) -> Option<u32> {
        let total = self.small.len() + self.main.len();
        if self.small.len() * SMALL_SHARE >= total {
            self.pop_small(nodes).or_else(|| self.pop_main(nodes))
        } else {
            self.pop_main(nodes).or_else(|| self.pop_small(nodes))
        }
    }
}
