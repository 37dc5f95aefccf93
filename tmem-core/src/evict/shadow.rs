//! A small cache of names alone, run by one rule: what the rule would have done to a sample of the pages.

use std::sync::Arc;

use hashbrown::HashTable;

use super::Nodes;
use super::census::Census;
use super::queues::Queues;
use super::rule::Rule;
use crate::arena::Arena;

/// A name in the cache, and its links and marks.
#[derive(Clone, Copy, Default)]
struct Node {
    name: u64,
    links: [u32; 2],
    marks: u32,
}

#[derive(Default)]
struct Slab(Vec<Node>);

impl Nodes for Slab {
    fn links(&self, token: u32) -> [u32; 2] {
        self.0.get(token as usize).map_or([0; 2], |node| node.links)
    }

    fn set_links(&mut self, token: u32, links: [u32; 2]) {
        if let Some(node) = self.0.get_mut(token as usize) {
            node.links = links;
        }
    }

    fn marks(&self, token: u32) -> u32 {
        self.0.get(token as usize).map_or(0, |node| node.marks)
    }

    fn set_marks(&mut self, token: u32, marks: u32) {
        if let Some(node) = self.0.get_mut(token as usize) {
            node.marks = marks;
        }
    }

    fn name(&self, token: u32) -> u64 {
        self.0.get(token as usize).map_or(0, |node| node.name)
    }
}

/// The cache.
pub(super) struct Shadow {
    queues: Queues,
    census: Arc<Census>,
    slab: Slab,
    unused: Vec<u32>,
    found: HashTable<u32>,
}

impl Shadow {
    pub(super) fn new(rule: Rule, arena: &Arc<Arena>) -> Self {
        let census = Arc::new(Census::new(1, rule, Arc::clone(arena)));
        let queues = Queues::new(rule, true, Arc::clone(&census), 0);
        Self { queues, census, slab: Slab::default(), unused: Vec::new(), found: HashTable::new() }
    }

    /// Follows another rule from now on.
    pub(super) fn follow(&mut self, rule: Rule) {
        self.queues.rule = rule;
        self.census.follow(rule);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.queues.bytes()
            + self.slab.0.capacity() * size_of::<Node>()
            + self.found.allocation_size()
            + self.unused.capacity() * 4
    }

    /// A page was put again, or for the first time; true when the cache still had it. It holds `capacity` names after.
    pub(super) fn put(&mut self, name: u64, capacity: u32) -> bool {
        let slab = &self.slab;
        let entry = self.found.find_entry(name, |token| slab.name(*token) == name);
        if let Ok(entry) = entry {
            let token = *entry.get();
            self.queues.remove(&mut self.slab, token, true);
            self.queues.insert(&mut self.slab, token);
            return true;
        }
        // Two evictions a put let the cache shrink to a smaller capacity in bounded steps.
        for _ in 0..2 {
            if self.queues.len() >= capacity {
                self.evict();
            }
        }
        let token = self.unused.pop().unwrap_or(self.slab.0.len() as u32);
        let node = Node { name, ..Node::default() };
        match self.slab.0.get_mut(token as usize) {
            Some(old) => *old = node,
            None => self.slab.0.push(node),
        }
        let slab = &self.slab;
        self.found.insert_unique(name, token, |token| slab.name(*token));
        self.queues.insert(&mut self.slab, token);
        false
    }

    fn evict(&mut self) {
        if let Some(token) = self.queues.victim(&mut self.slab, true, true) {
            self.forget(token);
        }
    }

    fn forget(&mut self, token: u32) {
        if let Ok(entry) = self.found.find_entry(self.slab.name(token), |other| *other == token) {
            entry.remove();
        }
        self.unused.push(token);
    }

    /// Drops a name that is in the sample no more.
    pub(super) fn retain(&mut self, sampled: impl Fn(u64) -> bool) {
        let tokens: Vec<u32> = self.found.iter().copied().collect();
        for token in tokens {
            if !sampled(self.slab.name(token)) {
                self.queues.remove(&mut self.slab, token, false);
                self.forget(token);
            }
        }
    }
}
