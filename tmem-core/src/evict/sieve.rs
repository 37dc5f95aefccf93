//! SIEVE (Zhang et al., NSDI 2024): a FIFO and a hand. A hit sets a bit; the hand clears bits from old to young and
//! evicts the first page without one, leaving the others where they are.

use super::list::List;
use super::{Nodes, Policy};

const VISITED: u32 = 1;

/// SIEVE.
pub(crate) struct Sieve {
    list: List,
    hand: Option<u32>,
}

impl Sieve {
    pub(crate) const fn new() -> Self {
        Self { list: List::new(), hand: None }
    }
}

impl Policy for Sieve {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        nodes.set_marks(token, 0);
        self.list.push(nodes, token);
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        nodes.set_marks(token, VISITED);
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, _: bool) {
        if self.hand == Some(token) {
            self.hand = self.list.younger(nodes, token);
        }
        self.list.unlink(nodes, token);
    }

    fn victim(&mut self, nodes: &mut dyn Nodes) -> Option<u32> {
        // After one round every bit is clear, so this ends.
        loop {
            let token = self.hand.or_else(|| self.list.oldest())?;
            self.hand = self.list.younger(nodes, token);
            if nodes.marks(token) != VISITED {
                self.list.unlink(nodes, token);
                return Some(token);
            }
            nodes.set_marks(token, 0);
        }
    }
}
