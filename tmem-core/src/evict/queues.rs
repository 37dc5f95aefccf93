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

/// A page's turn is when it has waited for all but one part in so many of what the oldest has.
const TURN: u32 = 4;

/// Names remembered per page, at most, and the number above which there are at least [`FEWEST`] a page. LIRS needs to
/// know a page when a loop longer than the cache comes round; 256 Ki cells take 1 MiB.
const MOST_NAMES: usize = 8;
const NAMES: usize = 1 << 18;
const FEWEST: usize = 2;
/// Names remembered in the smallest shard: a chunk's and as many others.
const LEAST_NAMES: usize = 128;

/// Names remembered by a cache of so many pages.
fn names(capacity: u32) -> usize {
    let pages = capacity as usize;
    (pages * MOST_NAMES).clamp(LEAST_NAMES, NAMES).max(pages * FEWEST)
}

pub(super) struct Queues {
    lists: [List; QUEUES],
    pub(super) rule: Rule,
    census: Arc<Census>,
    seat: Seat,
    /// The oldest page of each queue, as the other shards know it.
    shown: [Option<u32>; QUEUES],
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
            shown: [None; QUEUES],
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

    /// Tells the other shards of what has changed.
    fn tell(&mut self, nodes: &dyn Nodes) {
        let lengths = self.lengths();
        self.census.tell(&mut self.seat, lengths);
        if self.history.is_none() || !self.census.is_small() {
            return;
        }
        for (queue, list) in self.lists.iter().enumerate() {
            let oldest = list.oldest();
            let Some(shown) = self.shown.get_mut(queue).filter(|shown| **shown != oldest) else { continue };
            *shown = oldest;
            let past = oldest
                .and_then(|oldest| self.history.as_mut()?.recall(nodes.name(oldest), self.census.now()));
            self.census.tell_oldest(&self.seat, queue, past);
        }
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
        self.tell(nodes);
        if self.census.capacity() == 0 {
            return;
        }
        let [trial, won, proven] = self.census.sums();
        let on_trial = self.census.on_trial();
        let room = self.census.capacity().saturating_sub(on_trial);
        if self.rule.promote == Promote::Sooner && marks == PROVEN && won + proven > room {
            let from = if won > 0 { WON } else { PROVEN };
            if self.list(from).oldest() != Some(token) && self.is_turn(nodes, from) {
                self.demote(nodes, from, TRIAL);
            }
        }
        if self.rule.compares() {
            if u64::from(proven) > u64::from(room) * PROTECTED / 100 && self.is_turn(nodes, PROVEN) {
                self.demote(nodes, PROVEN, WON);
            }
            if trial > on_trial {
                self.demote(nodes, TRIAL, WON);
            }
        }
        self.tell(nodes);
    }

    /// Whether the shard's oldest page of a queue is about as old as that of any shard, so that it is its turn.
    fn is_turn(&mut self, nodes: &dyn Nodes, queue: u32) -> bool {
        if !self.census.is_small() {
            return true;
        }
        let Some(all) = self.census.oldest(queue as usize) else { return true };
        let Some(oldest) = self.list(queue).oldest() else { return false };
        let past =
            self.history.as_mut().and_then(|history| history.recall(nodes.name(oldest), self.census.now()));
        past.is_none_or(|past| past.age + past.age / TURN >= all.age)
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
            Promote::Seen => match past.fate {
                Fate::TakenProven | Fate::TakenAgain | Fate::Taken => true,
                Fate::Gone => past.age < TICKS,
                Fate::Here => false,
            },
            Promote::Twice => match past.fate {
                Fate::TakenProven | Fate::TakenAgain => true,
                Fate::Gone => past.age < TICKS,
                Fate::Here | Fate::Taken => false,
            },
            Promote::Won => past.fate == Fate::TakenProven,
            Promote::WonOrSooner => {
                past.fate == Fate::TakenProven
                    || past.fate == Fate::Gone && {
                        let [_, won, _] = self.census.sums();
                        let next = if won > 0 { WON } else { PROVEN };
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
        if self.census.is_small() {
            return self.census.oldest(queue as usize).map(|oldest| oldest.age);
        }
        let oldest = self.list(queue).oldest()?;
        Some(self.history.as_mut()?.recall(nodes.name(oldest), self.census.now())?.age)
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
        self.tell(nodes);
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
        self.shown = [None; QUEUES];
        self.untold = None;
        self.census.tell(&mut self.seat, [0; QUEUES]);
    }

    /// Chooses the page to evict and forgets it. None when it holds no page, or when another shard's page should go
    /// first; with `must` only when it holds no page.
    pub(super) fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool, must: bool) -> Option<u32> {
        if self.len() == 0 {
            return None;
        }
        self.census.evicts();
        if grow {
            self.plan();
        }
        let [trial, won, proven] = self.lengths();
        let rivals = if won > 0 { WON } else { PROVEN };
        let from = match (self.census.takes_trial(), trial, won + proven) {
            (true, 1.., _) => TRIAL,
            (false, _, 1..) => rivals,
            _ if !must => return None,
            (_, 0, _) => rivals,
            _ => TRIAL,
        };
        let mut victim = self.list(from).oldest()?;
        let mut queue = from;
        if from == TRIAL && self.rule.compares() {
            let count = self.count(nodes, victim);
            match self.rival(nodes, rivals) {
                Some((least, here)) if count > least => {
                    self.demote(nodes, TRIAL, WON);
                    if here {
                        (victim, queue) = (self.list(rivals).oldest()?, rivals);
                    } else if must {
                        (victim, queue) = (self.list(WON).oldest()?, WON);
                    } else {
                        self.tell(nodes);
                        return None;
                    }
                }
                _ => {}
            }
        }
        self.unlink(nodes, victim, queue);
        if let Some(history) = &mut self.history {
            history.mark(nodes.name(victim), Fate::Gone);
        }
        self.tell(nodes);
        Some(victim)
    }

    /// Count of the page that goes if one on trial stays, and whether it is in this shard.
    fn rival(&mut self, nodes: &mut dyn Nodes, queue: u32) -> Option<(u32, bool)> {
        if self.census.is_small() {
            let [_, won, _] = self.census.sums();
            let oldest = self.census.oldest(if won > 0 { WON } else { PROVEN } as usize)?;
            return Some((oldest.count, false));
        }
        let rival = self.list(queue).oldest()?;
        Some((self.count(nodes, rival), true))
    }

    fn count(&mut self, nodes: &mut dyn Nodes, token: u32) -> u32 {
        let now = self.census.now();
        let past = self.history.as_mut().and_then(|history| history.recall(nodes.name(token), now));
        past.map_or(0, |past| past.count)
    }

    /// Pages that the history is made for: the shard's, or what shards have on average, since small ones come and go.
    fn size(&self) -> u32 {
        self.len().max(self.census.average())
    }

    /// Whether the history is still to be made, or the pages are no longer of the same order.
    fn is_outgrown(&self) -> bool {
        if self.history.is_none() {
            return self.remembers;
        }
        let least = self.planned.max((LEAST_NAMES / MOST_NAMES) as u32);
        let grown = self.census.average() / 2 > least || self.len() / MOST_NAMES as u32 > least;
        grown || self.planned / 8 > self.size().max((LEAST_NAMES / MOST_NAMES) as u32)
    }

    /// Bytes that the history will take from the next eviction on, and the old one until it is there.
    pub(super) fn wants(&self) -> usize {
        let old = self.history.as_ref().map_or(0, History::bytes);
        if self.plan.is_some() || self.is_outgrown() {
            old + History::bytes_of(names(self.plan.as_ref().map_or(self.size(), Plan::capacity)))
        } else {
            old
        }
    }

    /// Goes on making a history, which begins at the first eviction that may and whenever it is outgrown.
    fn plan(&mut self) {
        if self.plan.is_none() && self.is_outgrown() {
            let pages = self.size();
            self.plan = Plan::new(self.census.arena(), names(pages), pages);
        }
        if self.plan.as_mut().is_some_and(Plan::go_on)
            && let Some(plan) = self.plan.take()
        {
            self.planned = plan.capacity();
            self.history = Some(plan.finish());
            self.untold = self.list(PROVEN).oldest();
        }
    }

    /// Tells a new history of one of the pages that were there before it, oldest first, and returns its name.
    pub(super) fn introduce(&mut self, nodes: &mut dyn Nodes) -> Option<u64> {
        let token = self.untold?;
        let (now, name) = (self.census.now(), nodes.name(token));
        if let Some(history) = &mut self.history
            && history.recall(name, now).is_none()
        {
            history.put(name, now);
        }
        self.untold = self.list(PROVEN).younger(nodes, token);
        Some(name)
    }

    /// Whether the history was told of all pages that were there before it.
    pub(super) fn is_introduced(&self) -> bool {
        self.history.is_some() && self.untold.is_none()
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        self.census.tell(&mut self.seat, [0; QUEUES]);
    }
}
