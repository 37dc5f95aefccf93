//! S3-FIFO (Yang et al., SOSP 2023): a small queue that quickly drops what is not hit, a main queue, and a memory of
//! what the small one dropped.

use super::history::{Fate, History};
use super::list::List;
use super::{Nodes, Policy};

/// Mark of a page in the main queue, and the place of the count of hits, 0 to 3.
const MAIN: u32 = 1;
const HITS: u32 = 1;
const MOST: u32 = 3;
/// Share of the small queue, in percent.
const SMALL: u64 = 10;
/// Hits that move a page from the small queue to the main one.
const ENOUGH: u32 = 2;
/// Most pages moved or spared for one victim, so that an eviction's work is bounded.
const SPARED: u32 = 64;

/// S3-FIFO.
pub(super) struct S3Fifo {
    small: List,
    main: List,
    history: Option<History>,
    planned: u32,
}

impl S3Fifo {
    pub(super) const fn new() -> Self {
        Self { small: List::new(), main: List::new(), history: None, planned: 0 }
    }

    fn pages(&self) -> u32 {
        self.small.len() + self.main.len()
    }

    fn list(&mut self, marks: u32) -> &mut List {
        if marks & MAIN == 0 { &mut self.small } else { &mut self.main }
    }

    fn push(&mut self, nodes: &mut dyn Nodes, token: u32, marks: u32) {
        nodes.set_marks(token, marks);
        self.list(marks).push(nodes, token);
    }
}

impl Policy for S3Fifo {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        let past = self.history.as_mut().and_then(|history| history.put(nodes.name(token)));
        let marks = match past.map(|past| past.fate) {
            Some(Fate::Gone | Fate::TakenProven) => MAIN,
            Some(Fate::Taken) => 1 << HITS,
            Some(Fate::TakenAgain) => ENOUGH << HITS,
            Some(Fate::Here) | None => 0,
        };
        self.push(nodes, token, marks);
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        let marks = nodes.marks(token);
        if marks >> HITS < MOST {
            nodes.set_marks(token, marks + (1 << HITS));
        }
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        let marks = nodes.marks(token);
        self.list(marks).unlink(nodes, token);
        let fate = match (taken, marks & MAIN, marks >> HITS) {
            (false, ..) => Fate::Gone,
            (_, MAIN, _) => Fate::TakenProven,
            (_, _, 0) => Fate::Taken,
            _ => Fate::TakenAgain,
        };
        if let Some(history) = &mut self.history {
            history.mark(nodes.name(token), fate);
        }
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool) -> Option<u32> {
        let pages = self.pages();
        if grow && pages > 2 * self.planned {
            self.history = Some(History::new(2 * pages as usize, pages));
            self.planned = pages;
        }
        let mut spared = 0;
        loop {
            let small = u64::from(self.small.len()) * 100 >= u64::from(pages) * SMALL || self.main.len() == 0;
            let token = if small { self.small.pop(nodes) } else { self.main.pop(nodes) }?;
            let marks = nodes.marks(token);
            let (keep, next) = match (marks & MAIN, marks >> HITS) {
                (MAIN, hits) => (hits > 0, MAIN | hits.saturating_sub(1) << HITS),
                (_, hits) => (hits >= ENOUGH, MAIN),
            };
            if keep && spared < SPARED {
                spared += 1;
                self.push(nodes, token, next);
                continue;
            }
            if let Some(history) = &mut self.history {
                history.mark(nodes.name(token), if small { Fate::Gone } else { Fate::Here });
            }
            return Some(token);
        }
    }

    fn bytes(&self) -> usize {
        self.history.as_ref().map_or(0, History::bytes)
    }

    fn wants(&self) -> usize {
        let pages = self.pages();
        if pages > 2 * self.planned { History::bytes_of(2 * pages as usize) } else { self.bytes() }
    }
}
