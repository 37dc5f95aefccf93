//! Chooses the rule: all rules run side by side on a sample of one client's pages, and the one with most hits is
//! followed. A miniature of a cache, fed with the keys whose hashes fall in a range, has the miss ratio of the whole
//! (Waldspurger et al., SHARDS, 2015, and "Cache modeling and optimization using miniature simulations", 2017).
//!
//! When to change is decided as for any system whose change of state costs something (Borodin, Linial and Saks, 1992):
//! once another rule is ahead, since the two were last even, by what a change costs. So phases are followed, and noise
//! is not. One more miniature follows the same changes. Where it falls behind a rule that never changes, changing costs
//! more than was thought.

use std::sync::Arc;

use super::census::Census;
use super::rule::{Rule, TRIED};
use super::shadow::Shadow;
use crate::arena::Arena;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Most names in a shadow. With 500 the choice was wrong now and then; beyond 1,000 nothing was gained.
const MINIATURE: u32 = 1024;
/// With fewer pages nothing is learned: it would take a seventh of them.
const FEW: u32 = 64;
/// Bytes that a name takes in a shadow, at most: a node of 24 and its place among unused ones in vectors that may be half
/// empty, 10 in the hash table, 32 in the history.
const NAME_BYTES: usize = 2 * 24 + 2 * 4 + 10 + 32;
/// Hits are counted in 1/65536.
const ONE: u64 = 1 << 16;
const WHOLE: u64 = 1 << 32;
/// What a change costs, in hits for each page of the capacity: a cache that has not changed yet is all in the order of its
/// puts, so that the first change costs little; each doubles it up to here.
const FIRST: u64 = ONE / 32;
const COST: u64 = ONE / 2;
/// And where changing is known not to pay.
const MOST_COST: u64 = 2 * ONE;
/// Changing does not pay when its miniature is behind by so many hits for each page of the capacity.
const BEHIND: u64 = ONE;
/// Hits below which nothing is concluded.
const NOISE: u64 = 4 * ONE;
/// The square of the deviations by which a lead differs from chance.
const SURE: u64 = 16;
/// A rule has to be better by three hits in two thousand puts to gain on another.
const DRIFT: u64 = 3 * ONE / 2000;
/// Where fewer than one put in so many is a miss, a change costs less: no more pages are lost than are missed.
const RARE: u64 = 4;
/// The ratio of misses is averaged over so many capacities.
const MEMORY: u64 = 10;
/// Bits of a name that decide whether it is in the sample; the history uses the others.
const SAMPLE: u32 = 17;

/// What one client's policies have learned, shared by its shards.
pub(super) struct Learner {
    census: Arc<Census>,
    /// Names whose sample bits have none of these set are in the sample.
    mask: AtomicU32,
    /// The rule to follow.
    rule: AtomicU32,
    /// A shard charges the client for this.
    claimed: AtomicBool,
    /// Bytes that the client has been charged for.
    funds: AtomicUsize,
    trials: Mutex<Trials>,
}

impl Learner {
    pub(super) fn new(census: Arc<Census>) -> Self {
        let arena = Arc::clone(census.arena());
        Self {
            census,
            mask: AtomicU32::new(0),
            rule: AtomicU32::new(0),
            claimed: AtomicBool::new(false),
            funds: AtomicUsize::new(0),
            trials: Mutex::new(Trials::new(&arena)),
        }
    }

    /// The rule that does best.
    pub(super) fn rule(&self) -> Rule {
        rule(self.rule.load(Ordering::Relaxed) as usize)
    }

    /// Whether puts of this name are to be shown.
    pub(super) fn samples(&self, name: u64) -> bool {
        (name >> SAMPLE) as u32 & self.mask.load(Ordering::Relaxed) == 0
    }

    /// Takes over charging the client; true for the first who does.
    pub(super) fn claim(&self) -> bool {
        !self.claimed.swap(true, Ordering::Relaxed)
    }

    /// The client has been charged for what this wants.
    pub(super) fn fund(&self) {
        self.funds.store(self.wants(), Ordering::Relaxed);
    }

    /// Bytes that this wants to hold.
    pub(super) fn wants(&self) -> usize {
        let total = self.census.pages();
        if total < FEW {
            return 0;
        }
        let names = total.min(2 * MINIATURE).next_power_of_two();
        names as usize * (TRIED.len() + 1) * NAME_BYTES
    }

    /// Shows a put of a sampled name. It is passed over while another shard is showing one, and until the client has been
    /// charged for what is learned.
    pub(super) fn show(&self, name: u64) {
        let wants = self.wants();
        if wants == 0 || self.funds.load(Ordering::Relaxed) < wants {
            return;
        }
        let Some(mut trials) = self.trials.try_lock() else { return };
        let total = self.census.pages();
        let rate = total.div_ceil(MINIATURE).next_power_of_two();
        let mask = self.mask.load(Ordering::Relaxed);
        // A sample is thinned when it has grown to twice its size, and not thickened before it has shrunk to a quarter.
        if rate > mask + 1 || rate * 4 <= mask + 1 {
            self.mask.store(rate - 1, Ordering::Relaxed);
            trials.retain(|name| (name >> SAMPLE) as u32 & (rate - 1) == 0);
        }
        let rate = self.mask.load(Ordering::Relaxed) + 1;
        let best = trials.put(name, (total / rate).max(2));
        if best as u32 != self.rule.load(Ordering::Relaxed) {
            self.rule.store(best as u32, Ordering::Relaxed);
            self.census.follow(rule(best));
        }
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.trials.lock().bytes()
    }
}

fn rule(number: usize) -> Rule {
    TRIED.get(number).copied().unwrap_or(TRIED[0])
}

/// The miniatures, and what they say.
struct Trials {
    /// A miniature for each rule.
    fixed: Vec<Shadow>,
    /// The one that changes its rule.
    changing: Shadow,
    /// Number of the rule that it follows.
    followed: usize,
    /// Hits by which each rule is ahead of the followed one, since they were last even.
    ahead: [Lead; TRIED.len()],
    /// Hits by which each rule is ahead of the miniature that changes.
    better: [Lead; TRIED.len()],
    /// What a change costs, in hits for each page.
    cost: u64,
    /// Misses a put, in 1/2^32.
    misses: u64,
}

impl Trials {
    /// All made at once, so that a put makes none. They take no memory of the arena before they are used.
    fn new(arena: &Arc<Arena>) -> Self {
        Self {
            fixed: TRIED.into_iter().map(|rule| Shadow::new(rule, arena)).collect(),
            changing: Shadow::new(rule(0), arena),
            followed: 0,
            ahead: [Lead::default(); TRIED.len()],
            better: [Lead::default(); TRIED.len()],
            cost: FIRST,
            misses: WHOLE,
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.fixed.iter().chain([&self.changing]).map(Shadow::bytes).sum()
    }

    fn retain(&mut self, sampled: impl Fn(u64) -> bool) {
        for shadow in self.fixed.iter_mut().chain([&mut self.changing]) {
            shadow.retain(&sampled);
        }
    }

    /// Puts a name in every shadow, and tells the number of the rule to follow.
    fn put(&mut self, name: u64, capacity: u32) -> usize {
        let changing = self.changing.put(name, capacity);
        let mut hits = [false; TRIED.len()];
        for (shadow, hit) in self.fixed.iter_mut().zip(&mut hits) {
            *hit = shadow.put(name, capacity);
        }
        let hit = hits.get(self.followed).is_some_and(|hit| *hit);
        let pages = u64::from(capacity);
        let window = MEMORY * pages;
        self.misses -= self.misses / window;
        self.misses += if hit { 0 } else { WHOLE / window };
        let scale = ((self.misses * RARE) >> 16).min(ONE);
        let drift = (DRIFT * scale) >> 16;
        for ((its, ahead), better) in hits.into_iter().zip(&mut self.ahead).zip(&mut self.better) {
            ahead.gain(its, hit, drift);
            better.gain(its, changing, drift);
        }
        self.choose(pages, scale);
        self.followed
    }

    fn choose(&mut self, pages: u64, scale: u64) {
        let (better, lead) = largest(&self.better);
        let hits = |each: u64| ((each * pages) >> 16) * scale + NOISE;
        let to = if lead > hits(BEHIND) {
            self.cost = (2 * self.cost.max(COST)).min(MOST_COST);
            self.better = [Lead::default(); TRIED.len()];
            self.ahead = [Lead::default(); TRIED.len()];
            better
        } else {
            let (best, lead) = largest(&self.ahead);
            if lead <= hits(self.cost) {
                return;
            }
            for other in &mut self.ahead {
                other.lose(lead);
            }
            self.cost = self.cost.max((2 * self.cost).min(COST));
            best
        };
        self.followed = to;
        self.changing.follow(rule(to));
    }
}

/// How far a rule is ahead of another since they were last even.
#[derive(Clone, Copy, Default)]
struct Lead {
    /// Hits, in 1/65536.
    hits: u64,
    /// Puts that only one of the two had the page of.
    apart: u64,
}

impl Lead {
    fn gain(&mut self, its: bool, other: bool, drift: u64) {
        self.apart += u64::from(its != other);
        self.hits += if its { ONE } else { 0 };
        self.lose(drift + if other { ONE } else { 0 });
    }

    fn lose(&mut self, hits: u64) {
        self.hits = self.hits.saturating_sub(hits);
        if self.hits == 0 {
            self.apart = 0;
        }
    }

    /// Whether it is more than what chance would do to two rules that are equally good.
    fn is_sure(self) -> bool {
        let hits = self.hits >> 16;
        hits * hits > SURE * self.apart
    }
}

/// The first of the largest leads that are no chance, and its place.
fn largest(leads: &[Lead]) -> (usize, u64) {
    let mut found = (0, 0);
    for (place, lead) in leads.iter().enumerate() {
        if lead.hits > found.1 && lead.is_sure() {
            found = (place, lead.hits);
        }
    }
    found
}
