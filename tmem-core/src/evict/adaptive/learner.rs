//! Chooses the rule: all rules run side by side on a sample of one client's pages, and the one with most hits is
//! followed. A miniature of a cache, fed with the keys whose hashes fall in a range, has the miss ratio of the whole
//! (Waldspurger et al., SHARDS, 2015, and "Cache modeling and optimization using miniature simulations", 2017).

use super::rule::{RULES, Rule};
use super::shadow::Shadow;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// Most names in a shadow. With 500 the choice was wrong now and then; beyond 1,000 nothing was gained.
const MINIATURE: u32 = 1024;
/// With fewer pages nothing is learned: it would take a seventh of them.
const FEW: u32 = 64;
/// Bytes that a name takes in a shadow, at most: a node of 24 and its place among unused ones in vectors that may be half
/// empty, 10 in the hash table, 32 in the history.
const NAME_BYTES: usize = 2 * 24 + 2 * 4 + 10 + 32;
/// Hits are remembered over so many capacities of sampled puts.
const MEMORY: u32 = 20;
/// A rule is followed when it leads by two hits in a thousand puts, and by one in 8 pages of the capacity: what a
/// change costs in pages that the other rule would have kept. With one in 64 a single loop that fitted was followed, and
/// the pages that rule 0 had kept were lost for the loops that came after.
const LEAD: u64 = 500;
const COST: u64 = 8;
/// Bits of a name that decide whether it is in the sample; the history uses the others.
const SAMPLE: u32 = 17;
/// Hits are counted in 1/65536, so that forgetting is an exact shift.
const ONE: u64 = 1 << 16;

/// What one client's policies have learned, shared by its shards.
pub(in crate::evict) struct Learner {
    /// Pages of the client, as its shards reported.
    total: AtomicU32,
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

struct Trials {
    shadows: Vec<(Shadow, u64)>,
    puts: u64,
    /// Sampled puts until rules are compared again.
    wait: u32,
}

impl Learner {
    pub(in crate::evict) fn new() -> Self {
        let trials = Trials { shadows: Vec::new(), puts: 0, wait: 0 };
        Self {
            total: AtomicU32::new(0),
            mask: AtomicU32::new(0),
            rule: AtomicU32::new(0),
            claimed: AtomicBool::new(false),
            funds: AtomicUsize::new(0),
            trials: Mutex::new(trials),
        }
    }

    /// The rule that does best.
    pub(super) fn rule(&self) -> Rule {
        *RULES.get(self.rule.load(Ordering::Relaxed) as usize).unwrap_or(&RULES[0])
    }

    /// A shard has so many pages more, or fewer.
    pub(super) fn count(&self, change: i32) {
        self.total.fetch_add(change as u32, Ordering::Relaxed);
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
        let total = self.total.load(Ordering::Relaxed);
        if total < FEW {
            return 0;
        }
        let names = total.min(2 * MINIATURE).next_power_of_two();
        names as usize * RULES.len() * NAME_BYTES
    }

    /// Shows a put of a sampled name. It is passed over while another shard is showing one, and until the client has been
    /// charged for what is learned.
    pub(super) fn show(&self, name: u64) {
        let wants = self.wants();
        if wants == 0 || self.funds.load(Ordering::Relaxed) < wants {
            return;
        }
        let Some(mut trials) = self.trials.try_lock() else { return };
        let total = self.total.load(Ordering::Relaxed);
        let rate = total.div_ceil(MINIATURE).next_power_of_two();
        let mask = self.mask.load(Ordering::Relaxed);
        // A sample is thinned when it has grown to twice its size, and not thickened before it has shrunk to a quarter.
        if rate > mask + 1 || rate * 4 <= mask + 1 {
            self.mask.store(rate - 1, Ordering::Relaxed);
            for (shadow, _) in &mut trials.shadows {
                shadow.retain(|name| (name >> SAMPLE) as u32 & (rate - 1) == 0);
            }
        }
        let rate = self.mask.load(Ordering::Relaxed) + 1;
        if trials.shadows.is_empty() {
            trials.shadows = RULES.iter().map(|rule| (Shadow::new(*rule), 0)).collect();
        }
        let followed = self.rule.load(Ordering::Relaxed);
        let best = trials.put(name, (total / rate).max(2), followed);
        if best != followed {
            self.rule.store(best, Ordering::Relaxed);
        }
    }

    /// Bytes held.
    pub(in crate::evict) fn bytes(&self) -> usize {
        self.trials.lock().shadows.iter().map(|(shadow, _)| shadow.bytes()).sum()
    }
}

impl Trials {
    /// Puts a name in every shadow, and tells the number of the rule to follow.
    fn put(&mut self, name: u64, capacity: u32, followed: u32) -> u32 {
        let forget = (MEMORY * capacity).ilog2();
        for (shadow, score) in &mut self.shadows {
            *score -= *score >> forget;
            if shadow.put(name, capacity) {
                *score += ONE;
            }
        }
        self.puts = self.puts - (self.puts >> forget) + ONE;
        if self.wait > 0 {
            self.wait -= 1;
            return followed;
        }
        self.wait = (capacity / 8).max(16);
        let score = |rule: u32| self.shadows.get(rule as usize).map_or(0, |(_, score)| *score);
        let best = (0..RULES.len() as u32).max_by_key(|rule| score(*rule)).unwrap_or(followed);
        let lead = self.puts / LEAD + u64::from(capacity) * ONE / COST;
        if score(best) > score(followed) + lead { best } else { followed }
    }
}
