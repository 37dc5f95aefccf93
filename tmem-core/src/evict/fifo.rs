//! First in, first out: a hit costs nothing.

use super::list::List;
use super::{Nodes, Policy};

/// FIFO.
pub(super) struct Fifo(List);

impl Fifo {
    pub(super) const fn new() -> Self {
        Self(List::new())
    }
}

impl Policy for Fifo {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.0.push(nodes, token);
    }

    fn hit(&mut self, _: &mut dyn Nodes, _: u32) {}

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, _: bool) {
        self.0.unlink(nodes, token);
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, _: bool) -> Option<u32> {
        self.0.pop(nodes)
    }
}
