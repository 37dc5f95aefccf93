//! A doubly linked list through the pages' links.

use super::Nodes;
use crate::index::NIL;

/// A list; pages enter at the young end.
pub(super) struct List {
    young: u32,
    old: u32,
    length: u32,
}

const TO_OLDER: usize = 0;
const TO_YOUNGER: usize = 1;

impl List {
    pub(super) const fn new() -> Self {
        Self { young: NIL, old: NIL, length: 0 }
    }

    pub(super) fn len(&self) -> u32 {
        self.length
    }

    /// The page that entered first.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.old != NIL).then_some(self.old)
    }

    /// The page that entered after `token`.
    pub(super) fn younger(&self, nodes: &dyn Nodes, token: u32) -> Option<u32> {
        let [_, younger] = nodes.links(token);
        (younger != NIL).then_some(younger)
    }

    pub(super) fn push(&mut self, nodes: &mut dyn Nodes, token: u32) {
        nodes.set_links(token, [self.young, NIL]);
        if self.young == NIL {
            self.old = token;
        } else {
            relink(nodes, self.young, TO_YOUNGER, token);
        }
        self.young = token;
        self.length += 1;
    }

    pub(super) fn unlink(&mut self, nodes: &mut dyn Nodes, token: u32) {
        let [older, younger] = nodes.links(token);
        if older == NIL {
            self.old = younger;
        } else {
            relink(nodes, older, TO_YOUNGER, younger);
        }
        if younger == NIL {
            self.young = older;
        } else {
            relink(nodes, younger, TO_OLDER, older);
        }
        self.length -= 1;
    }
}

fn relink(nodes: &mut dyn Nodes, token: u32, which: usize, to: u32) {
    let mut links = nodes.links(token);
    if let Some(link) = links.get_mut(which) {
        *link = to;
    }
    nodes.set_links(token, links);
}
