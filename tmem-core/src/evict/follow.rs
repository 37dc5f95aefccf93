//! A policy of one client in one shard: queues that follow a rule, or what the client's [`Learner`] finds best.

use std::sync::Arc;

use super::census::Census;
use super::learner::Learner;
use super::queues::Queues;
use super::rule::Rule;
use super::{Nodes, Policy};

/// Pages that a new history is told of at an eviction.
const TOLD: u32 = 32;

/// Follows one rule.
pub(super) struct Fixed(Queues);

impl Fixed {
    pub(super) fn new(rule: Rule, remembers: bool, census: Arc<Census>, shard: usize) -> Self {
        Self(Queues::new(rule, remembers, census, shard))
    }
}

impl Policy for Fixed {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.0.insert(nodes, token);
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.0.remove(nodes, token, true);
        self.0.insert(nodes, token);
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        self.0.remove(nodes, token, taken);
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool, must: bool) -> Option<u32> {
        let victim = self.0.victim(nodes, grow, must);
        for _ in 0..TOLD {
            if self.0.introduce(nodes).is_none() {
                break;
            }
        }
        victim
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn wants(&self) -> usize {
        self.0.wants()
    }
}

/// Follows the rule that the client's pages are best served by.
pub(super) struct Adaptive {
    queues: Queues,
    learner: Arc<Learner>,
    /// A page was evicted; nothing is learned before.
    evicts: bool,
    /// The learner's memory is charged through this shard.
    pays: bool,
}

impl Adaptive {
    pub(super) fn new(learner: Arc<Learner>, census: Arc<Census>, shard: usize) -> Self {
        let queues = Queues::new(learner.rule(), true, census, shard);
        Self { queues, learner, evicts: false, pays: false }
    }
}

impl Policy for Adaptive {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        if self.queues.is_introduced() {
            let name = nodes.name(token);
            if self.learner.samples(name) {
                self.learner.show(name);
            }
            self.queues.rule = self.learner.rule();
        }
        self.queues.insert(nodes, token);
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.queues.remove(nodes, token, true);
        self.insert(nodes, token);
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        self.queues.remove(nodes, token, taken);
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool, must: bool) -> Option<u32> {
        if grow && self.pays {
            self.learner.fund();
        }
        if !self.evicts {
            self.evicts = true;
            self.pays = self.learner.claim();
        }
        let victim = self.queues.victim(nodes, grow, must);
        for _ in 0..TOLD {
            let Some(name) = self.queues.introduce(nodes) else { break };
            if self.learner.samples(name) {
                self.learner.show(name);
            }
        }
        victim
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.queues.bytes()
    }

    fn wants(&self) -> usize {
        self.queues.wants() + if self.pays { self.learner.wants() } else { 0 }
    }
}
