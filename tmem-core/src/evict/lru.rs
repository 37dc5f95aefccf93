//! Least recently used: a hit moves the page to the young end.

use super::list::List;
use super::{Nodes, Policy};

/// LRU.
pub(super) struct Lru(List);

impl Lru {
    pub(super) const fn new() -> Self {
        Self(List::new())
    }
}

impl Policy for Lru {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.0.push(nodes, token);
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.0.unlink(nodes, token);
        self.0.push(nodes, token);
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, _: bool) {
        self.0.unlink(nodes, token);
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, _: bool) -> Option<u32> {
        self.0.pop(nodes)
    }
}
