//! Three queues and a history, run by one rule at a time. Rules share all state, so that changing one moves no page.

use super::super::Nodes;
use super::super::history::{Fate, History, Past};
use super::super::list::List;
use super::rule::{Promote, Rule};

/// Pages on trial, pages that won once, pages that have proven themselves; each in the order of their last put.
const TRIAL: u32 = 0;
const WON: u32 = 1;
const PROVEN: u32 = 2;
/// Mark of a page on trial that was hit once.
const HIT: u32 = 4;
const QUEUE: u32 = 3;

/// Percent of the room outside the trial queue that proven pages may take under [`Promote::Wins`] (W-TinyLFU's SLRU).
const PROTECTED: u64 = 80;

/// Names remembered per page, at most, and the number above which there are at least [`FEWEST`] a page. LIRS needs to
/// know a page when a loop longer than the cache comes round; 256 Ki cells take 1 MiB.
const MOST_NAMES: usize = 8;
const NAMES: usize = 1 << 18;
const FEWEST: usize = 2;

/// Pages that a new history is told of at an eviction.
const TOLD: u32 = 8;

/// Names remembered by a cache of so many pages.
fn names(capacity: u32) -> usize {
    let pages = capacity as usize;
    (pages * MOST_NAMES).min(NAMES).max(pages * FEWEST)
}

pub(super) struct Queues {
    trial: List,
    won: List,
    proven: List,
    pub(super) rule: Rule,
    history: Option<History>,
    /// Pages held when one was last evicted; 0 before.
    capacity: u32,
    /// Capacity that the history was made for.
    planned: u32,
    /// Next page, from the oldest, that the history has not been told of since it was made.
    untold: Option<u32>,
}

impl Queues {
    pub(super) const fn new(rule: Rule) -> Self {
        let (trial, won, proven) = (List::new(), List::new(), List::new());
        Self { trial, won, proven, rule, history: None, capacity: 0, planned: 0, untold: None }
    }

    pub(super) fn len(&self) -> u32 {
        self.trial.len() + self.won.len() + self.proven.len()
    }

    /// Bytes held beside the pages' links and marks.
    pub(super) fn bytes(&self) -> usize {
        self.history.as_ref().map_or(0, History::bytes)
    }

    fn list(&mut self, queue: u32) -> &mut List {
        match queue & QUEUE {
            TRIAL => &mut self.trial,
            WON => &mut self.won,
            _ => &mut self.proven,
        }
    }

    /// Pages that may be on trial.
    fn on_trial(&self) -> u32 {
        let percent = u64::from(self.rule.trial);
        ((u64::from(self.capacity) * percent / 100) as u32).max(1)
    }

    fn push(&mut self, nodes: &mut dyn Nodes, token: u32, marks: u32) {
        nodes.set_marks(token, marks);
        self.list(marks).push(nodes, token);
    }

    /// Moves the oldest page of a queue to the young end of another.
    fn demote(&mut self, nodes: &mut dyn Nodes, from: u32, to: u32) {
        if let Some(token) = self.list(from).pop(nodes) {
            self.push(nodes, token, to);
        }
    }

    pub(super) fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        let past = self.history.as_mut().and_then(|history| history.put(nodes.name(token)));
        let marks = self.place(nodes, past);
        self.push(nodes, token, marks);
        if self.capacity == 0 {
            return;
        }
        let room = self.capacity.saturating_sub(self.on_trial());
        match self.rule.promote {
            Promote::Sooner if marks == PROVEN && self.won.len() + self.proven.len() > room => {
                let from = if self.won.len() > 0 { WON } else { PROVEN };
                self.demote(nodes, from, TRIAL);
            }
            Promote::Wins => {
                if u64::from(self.proven.len()) > u64::from(room) * PROTECTED / 100 {
                    self.demote(nodes, PROVEN, WON);
                }
                if self.trial.len() > self.on_trial() {
                    self.demote(nodes, TRIAL, WON);
                }
            }
            _ => {}
        }
    }

    /// The queue, and the marks, for a page of that past.
    fn place(&mut self, nodes: &mut dyn Nodes, past: Option<Past>) -> u32 {
        if self.capacity == 0 {
            // Nothing was evicted yet; whatever the rule will be, the order of puts is what it needs.
            return PROVEN;
        }
        let Some(past) = past else { return TRIAL };
        let proven = match self.rule.promote {
            Promote::Never => false,
            Promote::Sooner => {
                let room = self.capacity.saturating_sub(self.on_trial());
                past.fate == Fate::TakenProven
                    || self.won.len() + self.proven.len() < room
                    || self.oldest_proven(nodes).is_none_or(|oldest| past.age < oldest)
            }
            Promote::Seen => true,
            Promote::Twice => past.fate != Fate::Taken,
            Promote::Wins => past.fate == Fate::TakenProven,
        };
        match past.fate {
            _ if proven => PROVEN,
            Fate::Taken | Fate::TakenAgain | Fate::TakenProven => TRIAL | HIT,
            Fate::Here | Fate::Gone => TRIAL,
        }
    }

    /// Ticks since the oldest proven page was put, if that is still known.
    fn oldest_proven(&mut self, nodes: &mut dyn Nodes) -> Option<u32> {
        let oldest = self.proven.oldest()?;
        Some(self.history.as_mut()?.recall(nodes.name(oldest))?.age)
    }

    pub(super) fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        let marks = nodes.marks(token);
        self.unlink(nodes, token, marks);
        let fate = match marks {
            _ if !taken => Fate::Gone,
            TRIAL => Fate::Taken,
            WON | PROVEN => Fate::TakenProven,
            _ => Fate::TakenAgain,
        };
        if let Some(history) = &mut self.history {
            history.mark(nodes.name(token), fate);
        }
    }

    fn unlink(&mut self, nodes: &mut dyn Nodes, token: u32, queue: u32) {
        if self.untold == Some(token) {
            self.untold = self.proven.younger(nodes, token);
        }
        self.list(queue).unlink(nodes, token);
    }

    /// Chooses the page to evict and forgets it.
    pub(super) fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool) -> Option<u32> {
        let total = self.len();
        if total == 0 {
            return None;
        }
        self.capacity = total;
        if grow && self.is_outgrown(total) {
            self.plan(total);
        }
        self.tell(nodes);
        let (held, full) = (self.won.len() + self.proven.len(), self.trial.len() >= self.on_trial());
        let from = if self.trial.len() > 0 && (full || held == 0) {
            TRIAL
        } else if self.won.len() > 0 {
            WON
        } else {
            PROVEN
        };
        let mut victim = self.list(from).oldest()?;
        let mut queue = from;
        if from == TRIAL && self.rule.promote == Promote::Wins && held > 0 {
            let rivals = if self.won.len() > 0 { WON } else { PROVEN };
            let rival = self.list(rivals).oldest()?;
            if self.count(nodes, victim) > self.count(nodes, rival) {
                self.demote(nodes, TRIAL, WON);
                (victim, queue) = (rival, rivals);
            }
        }
        self.unlink(nodes, victim, queue);
        if let Some(history) = &mut self.history {
            history.mark(nodes.name(victim), Fate::Gone);
        }
        Some(victim)
    }

    fn count(&mut self, nodes: &mut dyn Nodes, token: u32) -> u32 {
        let past = self.history.as_mut().and_then(|history| history.recall(nodes.name(token)));
        past.map_or(0, |past| past.count)
    }

    /// Whether the history is still to be made, or the capacity is no longer of the same order.
    fn is_outgrown(&self, capacity: u32) -> bool {
        self.history.is_none() || capacity / 2 > self.planned || self.planned / 8 > capacity
    }

    /// Bytes that the history will take from the next eviction on.
    pub(super) fn wants(&self) -> usize {
        if self.is_outgrown(self.len()) { History::bytes_of(names(self.len())) } else { self.bytes() }
    }

    /// Makes the history, at the first eviction that may and whenever it is outgrown.
    fn plan(&mut self, capacity: u32) {
        self.history = Some(History::new(names(capacity), capacity));
        self.planned = capacity;
        self.untold = self.proven.oldest();
    }

    /// Tells a new history of a few pages that were there before it, oldest first.
    fn tell(&mut self, nodes: &mut dyn Nodes) {
        for _ in 0..TOLD {
            let Some(token) = self.untold else { return };
            if let Some(history) = &mut self.history {
                let name = nodes.name(token);
                if history.recall(name).is_none() {
                    history.put(name);
                }
            }
            self.untold = self.proven.younger(nodes, token);
        }
    }
}
