//! Three queues and a history, run by one rule at a time. Rules share all state, so that changing one moves no page.
//!
//! How full the queues are, and what time it is, is the [`Census`]'s business, so that the queues of a client's shards
//! work together.

use std::sync::Arc;

use super::Nodes;
use super::census::{Census, QUEUES, Seat, TICKS};
use super::history::{Fate, History, Past, Plan};
use super::list::List;
use super::rule::{Promote, Rule};

/// Pages on trial, pages that won once, pages that have proven themselves; each in the order of their last put.
const TRIAL: u32 = 0;
const WON: u32 = 1;
const PROVEN: u32 = 2;
/// Mark of a page on trial that was hit once.
const HIT: u32 = 4;
const QUEUE: u32 = 3;

/// Percent of the room outside the trial queue that proven pages may take when pages come to it by their count
/// (W-TinyLFU's SLRU).
const PROTECTED: u64 = 80;

/// Names remembered per page, at most, and the number above which there are at least [`FEWEST`] a page. LIRS needs to
/// know a page when a loop longer than the cache comes round; 256 Ki cells take 1 MiB.
const MOST_NAMES: usize = 8;
const NAMES: usize = 1 << 18;
const FEWEST: usize = 2;

/// Pages that a new history is told of at an eviction.
const TOLD: u32 = 8;

/// Pages in a shard below which it goes by what is usual in all.
const FEW: u32 = 64;

/// Names remembered by a cache of so many pages.
fn names(capacity: u32) -> usize {
    let pages = capacity as usize;
    (pages * MOST_NAMES).min(NAMES).max(pages * FEWEST)
}

pub(super) struct Queues {
    lists: [List; QUEUES],
    pub(super) rule: Rule,
    census: Arc<Census>,
    seat: Seat,
    history: Option<History>,
    /// The history that is to take its place.
    plan: Option<Plan>,
    /// Whether there is to be a history: some rule that may be followed asks for it.
    remembers: bool,
    /// Capacity that the history was made for.
    planned: u32,
    /// Next page, from the oldest, that the history has not been told of since it was made.
    untold: Option<u32>,
}

impl Queues {
    /// The queues of shard number `shard`.
    pub(super) fn new(rule: Rule, remembers: bool, census: Arc<Census>, shard: usize) -> Self {
        let lists = [List::new(), List::new(), List::new()];
        Self {
            lists,
            rule,
            census,
            seat: Seat::new(shard),
            history: None,
            plan: None,
            remembers,
            planned: 0,
            untold: None,
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.lengths().iter().sum()
    }

    fn lengths(&self) -> [u32; QUEUES] {
        self.lists.each_ref().map(List::len)
    }

    /// Bytes held beside the pages' links and marks.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.history.as_ref().map_or(0, History::bytes) + self.plan.as_ref().map_or(0, Plan::bytes)
    }

    fn list(&mut self, queue: u32) -> &mut List {
        let [trial, won, proven] = &mut self.lists;
        match queue & QUEUE {
            TRIAL => trial,
            WON => won,
            _ => proven,
        }
    }

    fn tell(&mut self) {
        let lengths = self.lengths();
        self.census.tell(&mut self.seat, lengths);
    }

    fn push(&mut self, nodes: &mut dyn Nodes, token: u32, marks: u32) {
        nodes.set_marks(token, marks);
        self.list(marks).push(nodes, token);
    }

    /// Moves the oldest page of a queue to the young end of another.
    fn demote(&mut self, nodes: &mut dyn Nodes, from: u32, to: u32) {
        if let Some(token) = self.list(from).oldest() {
            self.unlink(nodes, token, from);
            self.push(nodes, token, to);
        }
    }

    pub(super) fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        let now = self.census.pass(&mut self.seat);
        let past = self.history.as_mut().and_then(|history| history.put(nodes.name(token), now));
        let marks = self.place(nodes, past);
        self.push(nodes, token, marks);
        self.tell();
        if self.census.capacity() == 0 {
            return;
        }
        let [trial, won, proven] = self.census.sums();
        let on_trial = self.census.on_trial();
        let room = self.census.capacity().saturating_sub(on_trial);
        if self.rule.promote == Promote::Sooner && marks == PROVEN && won + proven > room {
            let from = if self.list(WON).len() > 0 { WON } else { PROVEN };
            if self.list(from).oldest() != Some(token) {
                self.demote(nodes, from, TRIAL);
            }
        }
        if self.rule.compares() {
            if u64::from(proven) > u64::from(room) * PROTECTED / 100 {
                self.demote(nodes, PROVEN, WON);
            }
            if trial > on_trial {
                self.demote(nodes, TRIAL, WON);
            }
        }
        self.tell();
    }

    /// The queue, and the marks, for a page of that past.
    fn place(&mut self, nodes: &mut dyn Nodes, past: Option<Past>) -> u32 {
        if self.census.capacity() == 0 {
            // Nothing was evicted yet; whatever the rule will be, the order of puts is what it needs.
            return PROVEN;
        }
        let Some(past) = past else { return TRIAL };
        let proven = match self.rule.promote {
            Promote::Never => false,
            Promote::Sooner => {
                let [_, won, proven] = self.census.sums();
                let room = self.census.capacity().saturating_sub(self.census.on_trial());
                past.fate == Fate::TakenProven
                    || won + proven < room
                    || self.waited(nodes, PROVEN).is_none_or(|oldest| past.age < oldest)
            }
            Promote::Twice => match past.fate {
                Fate::TakenProven | Fate::TakenAgain => true,
                Fate::Gone => past.age < TICKS,
                Fate::Here | Fate::Taken => false,
            },
            Promote::Won => past.fate == Fate::TakenProven,
            Promote::WonOrSooner => {
                past.fate == Fate::TakenProven
                    || past.fate == Fate::Gone && {
                        let next = if self.list(WON).len() > 0 { WON } else { PROVEN };
                        self.waited(nodes, next).is_none_or(|oldest| 2 * past.age < oldest)
                    }
            }
        };
        match past.fate {
            _ if proven => PROVEN,
            Fate::Taken | Fate::TakenAgain | Fate::TakenProven => TRIAL | HIT,
            Fate::Here | Fate::Gone => TRIAL,
        }
    }

    /// Ticks that the oldest page of a queue has waited, as far as known.
    fn waited(&mut self, nodes: &mut dyn Nodes, queue: u32) -> Option<u32> {
        let oldest = self.list(queue).oldest();
        let past =
            oldest.and_then(|oldest| self.history.as_mut()?.recall(nodes.name(oldest), self.census.now()));
        let usual = self.census.age(queue as usize, past.map(|past| past.age));
        if self.few() { usual } else { past.map(|past| past.age) }
    }

    /// So few pages in the shard that its own oldest one tells little of the others'.
    fn few(&self) -> bool {
        self.len() < self.census.pages() && self.len() < FEW
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
        self.tell();
    }

    fn unlink(&mut self, nodes: &mut dyn Nodes, token: u32, queue: u32) {
        if self.untold == Some(token) {
            self.untold = self.list(PROVEN).younger(nodes, token);
        }
        self.list(queue).unlink(nodes, token);
    }

    /// Forgets all pages: their nodes are gone.
    pub(super) fn forget_all(&mut self) {
        self.lists = [List::new(), List::new(), List::new()];
        self.untold = None;
        self.tell();
    }

    /// Chooses the page to evict and forgets it. None when it holds no page, or when another shard's page should go
    /// first; with `must` only when it holds no page.
    pub(super) fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool, must: bool) -> Option<u32> {
        let pages = self.len();
        if pages == 0 {
            return None;
        }
        self.census.evicts();
        if grow {
            self.plan(pages);
        }
        self.tell_history(nodes);
        let [trial, won, proven] = self.lengths();
        let rivals = if won > 0 { WON } else { PROVEN };
        let from = match (self.census.takes_trial(), trial, won + proven) {
            (true, 1.., _) => TRIAL,
            (false, _, 1..) => rivals,
            _ if !must => return None,
            (_, 0, _) => rivals,
            _ => TRIAL,
        };
        let mut victim = (self.list(from).oldest()?, from);
        let [_, all_won, all_proven] = self.census.sums();
        if from == TRIAL && self.rule.compares() && all_won + all_proven > 0 {
            let (page, _) = victim;
            let rival = self.list(rivals).oldest();
            let count = rival.map(|rival| self.count(nodes, rival));
            let usual = self.census.count(count);
            let least = if self.few() { usual } else { count.unwrap_or(usual) };
            if self.count(nodes, page) > least {
                if let Some(rival) = rival {
                    self.demote(nodes, TRIAL, WON);
                    victim = (rival, rivals);
                } else if !must {
                    self.demote(nodes, TRIAL, WON);
                    self.tell();
                    return None;
                }
            }
        }
        let (victim, queue) = victim;
        self.unlink(nodes, victim, queue);
        if let Some(history) = &mut self.history {
            history.mark(nodes.name(victim), Fate::Gone);
        }
        self.tell();
        Some(victim)
    }

    fn count(&mut self, nodes: &mut dyn Nodes, token: u32) -> u32 {
        let now = self.census.now();
        let past = self.history.as_mut().and_then(|history| history.recall(nodes.name(token), now));
        past.map_or(0, |past| past.count)
    }

    /// Whether the history is still to be made, or the capacity is no longer of the same order.
    fn is_outgrown(&self, capacity: u32) -> bool {
        let made = self.history.is_some();
        if made { capacity / 2 > self.planned || self.planned / 8 > capacity } else { self.remembers }
    }

    /// Bytes that the history will take from the next eviction on, and the old one until it is there.
    pub(super) fn wants(&self) -> usize {
        let old = self.history.as_ref().map_or(0, History::bytes);
        if self.plan.is_some() || self.is_outgrown(self.len()) {
            old + History::bytes_of(names(self.plan.as_ref().map_or(self.len(), Plan::capacity)))
        } else {
            old
        }
    }

    /// Goes on making a history, which begins at the first eviction that may and whenever it is outgrown.
    fn plan(&mut self, capacity: u32) {
        if self.plan.is_none() && self.is_outgrown(capacity) {
            self.plan = Plan::new(self.census.arena(), names(capacity), capacity);
        }
        if self.plan.as_mut().is_some_and(Plan::go_on)
            && let Some(plan) = self.plan.take()
        {
            self.planned = plan.capacity();
            self.history = Some(plan.finish());
            self.untold = self.list(PROVEN).oldest();
        }
    }

    /// Tells a new history of a few pages that were there before it, oldest first.
    fn tell_history(&mut self, nodes: &mut dyn Nodes) {
        for _ in 0..TOLD {
            let Some(token) = self.untold else { return };
            let now = self.census.now();
            if let Some(history) = &mut self.history {
                let name = nodes.name(token);
                if history.recall(name, now).is_none() {
                    history.put(name, now);
                }
            }
            self.untold = self.list(PROVEN).younger(nodes, token);
        }
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.census.tell(&mut self.seat, [0; QUEUES]);
    }
}
