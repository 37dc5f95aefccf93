//! The default: the rules of LRU, LIRS, 2Q, S3-FIFO and W-TinyLFU over one set of queues; whichever does best on a
//! sample of the client's own pages is followed.
//!
//! No rule is good everywhere: LRU loses half of a database's loops to LIRS, and LIRS as much of a desktop's working set
//! to LRU. Rules differ only in which queue a page enters and which queue loses one, so a change of rule moves nothing,
//! and a cache that follows the best of them is about as good as that one (see the benches' README for the table).

mod learner;
mod queues;
mod rule;
mod shadow;

use std::sync::Arc;

use self::queues::Queues;
use super::{Nodes, Policy};

pub(in crate::evict) use self::learner::Learner;

/// Puts between reports of the number of pages to the learner.
const REPORT: u32 = 64;

/// The adaptive policy.
pub(in crate::evict) struct Adaptive {
    queues: Queues,
    learner: Arc<Learner>,
    /// Pages that the learner knows of.
    reported: u32,
    /// Puts until it is told again.
    wait: u32,
    /// A page was evicted; nothing is learned before.
    evicts: bool,
    /// The learner's memory is charged through this shard.
    pays: bool,
}

impl Adaptive {
    pub(in crate::evict) fn new(learner: Arc<Learner>) -> Self {
        Self {
            queues: Queues::new(learner.rule()),
            learner,
            reported: 0,
            wait: REPORT,
            evicts: false,
            pays: false,
        }
    }

    /// Tells the learner how many pages there are.
    fn report(&mut self) {
        let pages = self.queues.len();
        self.learner.count(pages.wrapping_sub(self.reported) as i32);
        self.reported = pages;
        self.wait = REPORT;
    }
}

impl Policy for Adaptive {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        if self.evicts {
            let name = nodes.name(token);
            if self.learner.samples(name) {
                self.learner.show(name);
            }
            self.queues.rule = self.learner.rule();
        }
        self.queues.insert(nodes, token);
        self.wait -= 1;
        if self.wait == 0 {
            self.report();
        }
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.queues.remove(nodes, token, true);
        self.insert(nodes, token);
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        self.queues.remove(nodes, token, taken);
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool) -> Option<u32> {
        if grow && self.pays {
            self.learner.fund();
        }
        if !self.evicts {
            self.evicts = true;
            self.pays = self.learner.claim();
            self.report();
        }
        self.queues.victim(nodes, grow)
    }

    fn bytes(&self) -> usize {
        self.queues.bytes()
    }

    fn wants(&self) -> usize {
        self.queues.wants() + if self.pays { self.learner.wants() } else { 0 }
    }
}

impl Drop for Adaptive {
    fn drop(&mut self) {
        self.learner.count(0_u32.wrapping_sub(self.reported) as i32);
    }
}
