//! SIEVE (Zhang et al., NSDI 2024): one queue, a mark for pages that were hit, and a hand that spares them once.

use super::history::{Fate, History};
use super::list::List;
use super::{Nodes, Policy};

/// Mark of a page that was hit.
const HIT: u32 = 1;
/// Most pages spared for one victim, so that an eviction's work is bounded.
const SPARED: u32 = 64;

/// SIEVE.
pub(super) struct Sieve {
    list: List,
    /// Where the search goes on; the oldest page when there is none.
    hand: Option<u32>,
    /// A get takes the page with its mark. What it takes is remembered, so that it is marked when it comes back.
    history: Option<History>,
}

impl Sieve {
    pub(super) const fn new() -> Self {
        Self { list: List::new(), hand: None, history: None }
    }

    fn unlink(&mut self, nodes: &mut dyn Nodes, token: u32) {
        if self.hand == Some(token) {
            self.hand = self.list.younger(nodes, token);
        }
        self.list.unlink(nodes, token);
    }
}

impl Policy for Sieve {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        let past = self.history.as_mut().and_then(|history| history.put(nodes.name(token)));
        let taken = past.is_some_and(|past| !matches!(past.fate, Fate::Gone | Fate::Here));
        nodes.set_marks(token, if taken { HIT } else { 0 });
        self.list.push(nodes, token);
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        nodes.set_marks(token, HIT);
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        self.unlink(nodes, token);
        if let Some(history) = &mut self.history {
            history.mark(nodes.name(token), if taken { Fate::Taken } else { Fate::Gone });
        }
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool) -> Option<u32> {
        let pages = self.list.len();
        if grow {
            self.history.get_or_insert_with(|| History::new(2 * pages as usize, pages));
        }
        let mut token = self.hand.or(self.list.oldest())?;
        for _ in 0..SPARED {
            if nodes.marks(token) & HIT == 0 {
                break;
            }
            nodes.set_marks(token, 0);
            token = self.list.younger(nodes, token).or(self.list.oldest())?;
        }
        self.hand = self.list.younger(nodes, token);
        self.list.unlink(nodes, token);
        if let Some(history) = &mut self.history {
            history.mark(nodes.name(token), Fate::Gone);
        }
        Some(token)
    }

    fn bytes(&self) -> usize {
        self.history.as_ref().map_or(0, History::bytes)
    }

    fn wants(&self) -> usize {
        self.history.as_ref().map_or(History::bytes_of(2 * self.list.len() as usize), History::bytes)
    }
}
