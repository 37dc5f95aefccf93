//! A small cache of names alone, run by one rule: what the rule would have done to a sample of the pages. It lies in the
//! arena.

use std::sync::Arc;

use super::Nodes;
use super::census::Census;
use super::queues::Queues;
use super::rule::Rule;
use crate::arena::{Arena, BUCKET, Cells};

/// Words of a node: its name (2), its links (2), its marks, the next node of the same hash or the next unused one, plus 1.
const NODE: usize = 8;
const NAME: usize = 0;
const LINKS: usize = 2;
const MARKS: usize = 4;
const NEXT: usize = 5;
/// Set in the marks of a node that is used.
const USED: u32 = 1 << 31;
/// Least room.
const LEAST: u32 = 128;

/// Nodes for a cache of so many names.
fn room_for(capacity: u32) -> u32 {
    (capacity + capacity / 2).max(LEAST).next_power_of_two()
}

/// Words for nodes, and for the first node of each hash.
fn words(room: u32) -> usize {
    room as usize * (NODE + 1)
}

/// Nodes in the arena.
struct Slab {
    cells: Cells,
    room: u32,
    /// Nodes below this one were used before.
    made: u32,
    /// The first unused one of these, plus 1.
    unused: u32,
}

impl Slab {
    fn new(arena: &Arc<Arena>, capacity: u32) -> Option<Self> {
        let room = room_for(capacity);
        Some(Self { cells: Cells::begin(arena, words(room))?, room, made: 0, unused: 0 })
    }

    fn at(&self, word: usize) -> u32 {
        let bucket = self.cells.bucket(word / BUCKET);
        bucket.and_then(|bucket| bucket.get(word % BUCKET)).copied().unwrap_or_default()
    }

    fn set(&mut self, word: usize, value: u32) {
        if let Some(word) =
            self.cells.bucket_mut(word / BUCKET).and_then(|bucket| bucket.get_mut(word % BUCKET))
        {
            *word = value;
        }
    }

    fn get(&self, token: u32, field: usize) -> u32 {
        self.at(token as usize * NODE + field)
    }

    fn put(&mut self, token: u32, field: usize, value: u32) {
        self.set(token as usize * NODE + field, value);
    }

    /// Where the first node of a name's hash is noted.
    fn head(&self, name: u64) -> usize {
        self.room as usize * NODE + (name >> 20) as usize % self.room as usize
    }

    fn is_used(&self, token: u32) -> bool {
        self.get(token, MARKS) & USED != 0
    }

    fn find(&self, name: u64) -> Option<u32> {
        let mut next = self.at(self.head(name));
        while let Some(token) = next.checked_sub(1) {
            if self.name(token) == name {
                return Some(token);
            }
            next = self.get(token, NEXT);
        }
        None
    }

    /// A node for a name. None when there is none left.
    fn add(&mut self, name: u64) -> Option<u32> {
        let token = match self.unused.checked_sub(1) {
            Some(token) => {
                self.unused = self.get(token, NEXT);
                token
            }
            None if self.made < self.room => {
                self.made += 1;
                self.made - 1
            }
            None => return None,
        };
        let head = self.head(name);
        self.put(token, NAME, name as u32);
        self.put(token, NAME + 1, (name >> 32) as u32);
        self.put(token, MARKS, USED);
        self.put(token, NEXT, self.at(head));
        self.set(head, token + 1);
        Some(token)
    }

    fn remove(&mut self, token: u32) {
        let head = self.head(self.name(token));
        let after = self.get(token, NEXT);
        let mut next = self.at(head);
        if next == token + 1 {
            self.set(head, after);
        }
        while let Some(other) = next.checked_sub(1) {
            next = self.get(other, NEXT);
            if next == token + 1 {
                self.put(other, NEXT, after);
                break;
            }
        }
        self.put(token, MARKS, 0);
        self.put(token, NEXT, self.unused);
        self.unused = token + 1;
    }
}

impl Nodes for Slab {
    fn links(&self, token: u32) -> [u32; 2] {
        [self.get(token, LINKS), self.get(token, LINKS + 1)]
    }

    fn set_links(&mut self, token: u32, [older, younger]: [u32; 2]) {
        self.put(token, LINKS, older);
        self.put(token, LINKS + 1, younger);
    }

    fn marks(&self, token: u32) -> u32 {
        self.get(token, MARKS) & !USED
    }

    fn set_marks(&mut self, token: u32, marks: u32) {
        self.put(token, MARKS, marks | USED);
    }

    fn name(&self, token: u32) -> u64 {
        u64::from(self.get(token, NAME)) | u64::from(self.get(token, NAME + 1)) << 32
    }
}

/// The cache.
pub(super) struct Shadow {
    queues: Queues,
    census: Arc<Census>,
    /// None before it is first used, and while the arena has no memory for it.
    slab: Option<Slab>,
}

impl Shadow {
    pub(super) fn new(rule: Rule, arena: &Arc<Arena>) -> Self {
        let census = Arc::new(Census::new(1, rule, Arc::clone(arena)));
        let queues = Queues::new(rule, true, Arc::clone(&census), 0);
        Self { queues, census, slab: None }
    }

    /// Follows another rule from now on.
    pub(super) fn follow(&mut self, rule: Rule) {
        self.queues.rule = rule;
        self.census.follow(rule);
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.queues.bytes() + self.slab.as_ref().map_or(0, |slab| slab.cells.bytes())
    }

    /// Makes a slab that `capacity` names fit in, a frame of it at a time. It begins with no names when the last one has
    /// become too small. True when it is there.
    fn prepare(&mut self, capacity: u32) -> bool {
        if self.slab.as_ref().is_none_or(|slab| capacity >= slab.room) {
            self.queues.forget_all();
            self.slab = Slab::new(self.census.arena(), capacity);
        }
        self.slab.as_mut().is_some_and(|slab| {
            slab.cells.grow();
            slab.cells.is_whole()
        })
    }

    /// A page was put again, or for the first time; true when the cache still had it. It holds `capacity` names after.
    pub(super) fn put(&mut self, name: u64, capacity: u32) -> bool {
        if !self.prepare(capacity) {
            return false;
        }
        let Some(slab) = &mut self.slab else { return false };
        if let Some(token) = slab.find(name) {
            self.queues.remove(slab, token, true);
            self.queues.insert(slab, token);
            return true;
        }
        // Two evictions a put let the cache shrink to a smaller capacity in bounded steps.
        for _ in 0..2 {
            if self.queues.len() >= capacity
                && let Some(token) = self.queues.victim(slab, true, true)
            {
                slab.remove(token);
            }
        }
        if let Some(token) = slab.add(name) {
            self.queues.insert(slab, token);
        }
        false
    }

    /// Drops names that are in the sample no more.
    pub(super) fn retain(&mut self, sampled: impl Fn(u64) -> bool) {
        let Some(slab) = &mut self.slab else { return };
        for token in 0..slab.made {
            if slab.is_used(token) && !sampled(slab.name(token)) {
                self.queues.remove(slab, token, false);
                slab.remove(token);
            }
        }
    }
}
