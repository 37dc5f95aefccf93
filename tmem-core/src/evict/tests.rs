//! Every policy against the same rules, on nodes in a plain vector that counts how often it is touched.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::cell::Cell;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::*;
use crate::arena::Arena;

#[derive(Default)]
struct Slots {
    nodes: Vec<([u32; 2], u32)>,
    touched: Cell<u32>,
}

impl Slots {
    fn touch(&self) {
        self.touched.set(self.touched.get() + 1);
    }
}

impl Nodes for Slots {
    fn links(&self, token: u32) -> [u32; 2] {
        self.touch();
        self.nodes[token as usize].0
    }

    fn set_links(&mut self, token: u32, links: [u32; 2]) {
        self.touch();
        self.nodes[token as usize].0 = links;
    }

    fn marks(&self, token: u32) -> u32 {
        self.touch();
        self.nodes[token as usize].1
    }

    fn set_marks(&mut self, token: u32, marks: u32) {
        assert!(marks < 8);
        self.touch();
        self.nodes[token as usize].1 = marks;
    }

    fn name(&self, token: u32) -> u64 {
        self.touch();
        let mixed = u128::from(token + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (mixed >> 64) as u64 ^ mixed as u64
    }
}

fn policies(which: Eviction, shards: usize) -> Policies {
    Policies::new(which, shards, Arc::new(Arena::new(16 << 10, 0).unwrap()))
}

fn policy(which: Eviction) -> AnyPolicy {
    policies(which, 1).make(0)
}

fn slots(count: usize) -> Slots {
    Slots { nodes: vec![([0; 2], 0); count], touched: Cell::new(0) }
}

fn drain(policy: &mut dyn Policy, nodes: &mut Slots) -> Vec<u32> {
    std::iter::from_fn(|| policy.victim(nodes, true, true)).collect()
}

/// An exclusive cache as the bench of traces uses the store.
struct Cache {
    policy: AnyPolicy,
    nodes: Slots,
    here: Vec<bool>,
    held: usize,
    capacity: usize,
}

impl Cache {
    fn new(which: Eviction, names: usize, capacity: usize) -> Self {
        Self { policy: policy(which), nodes: slots(names), here: vec![false; names], held: 0, capacity }
    }

    /// A get, and a put of what it got or missed; true for a hit.
    fn access(&mut self, token: u32) -> bool {
        let hit = self.here[token as usize];
        if hit {
            self.policy.remove(&mut self.nodes, token, true);
            self.held -= 1;
        }
        if self.held == self.capacity {
            let victim = self.policy.victim(&mut self.nodes, true, true).unwrap();
            assert!(std::mem::take(&mut self.here[victim as usize]));
            self.held -= 1;
        }
        self.policy.insert(&mut self.nodes, token);
        self.here[token as usize] = true;
        self.held += 1;
        hit
    }

    fn hits(&mut self, trace: impl IntoIterator<Item = u32>) -> usize {
        trace.into_iter().filter(|token| self.access(*token)).count()
    }
}

/// Numbers below `below`, small ones more often.
fn skewed(seed: u64, below: u32) -> impl Iterator<Item = u32> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = f64::from((state >> 40) as u32) / f64::from(1 << 24);
        (x * x * x * f64::from(below)) as u32
    })
}

proptest::proptest! {
    #[test]
    fn a_policy_knows_exactly_the_pages_that_are_there(ops in proptest::collection::vec((0..4u8, 0..40u32), 1..400)) {
        for which in Eviction::ALL {
            let (mut policy, mut nodes, mut there) = (policy(which), slots(40), BTreeSet::new());
            for (op, token) in &ops {
                match (op, there.contains(token)) {
                    (0 | 1, false) => {
                        policy.insert(&mut nodes, *token);
                        there.insert(*token);
                    }
                    (0, true) => policy.hit(&mut nodes, *token),
                    (1 | 2, true) => {
                        policy.remove(&mut nodes, *token, *op == 2);
                        there.remove(token);
                    }
                    (3, _) => {
                        let victim = policy.victim(&mut nodes, true, true);
                        proptest::prop_assert_eq!(victim.is_some(), !there.is_empty());
                        victim.iter().for_each(|v| assert!(there.remove(v), "{which} evicted {v}"));
                    }
                    _ => {}
                }
            }
            let left: BTreeSet<u32> = drain(&mut policy, &mut nodes).into_iter().collect();
            proptest::prop_assert_eq!(left, there);
        }
    }

    #[test]
    fn lru_evicts_as_a_plain_queue_does(ops in proptest::collection::vec((0..4u8, 0..20u32), 1..300)) {
        let (mut policy, mut nodes, mut queue) = (policy(Eviction::Lru), slots(20), VecDeque::new());
        for (op, token) in &ops {
            let at = queue.iter().position(|t| t == token);
            match (op, at) {
                (3, _) => proptest::prop_assert_eq!(policy.victim(&mut nodes, true, true), queue.pop_front()),
                (2, Some(at)) => {
                    policy.remove(&mut nodes, *token, true);
                    queue.remove(at);
                }
                (_, Some(at)) => {
                    policy.hit(&mut nodes, *token);
                    queue.remove(at);
                    queue.push_back(*token);
                }
                (2, None) => {}
                (_, None) => {
                    policy.insert(&mut nodes, *token);
                    queue.push_back(*token);
                }
            }
        }
    }
}

#[test]
fn a_page_that_gets_took_outlives_new_ones_under_every_policy_that_remembers() {
    for which in [Eviction::S3Fifo, Eviction::Adaptive] {
        let mut cache = Cache::new(which, 1000, 100);
        cache.hits(0..200);
        cache.hits([150, 150, 150]);
        cache.hits(200..390);
        assert!(cache.access(150), "{which}");
    }
}

#[test]
fn no_call_touches_more_pages_than_its_bound() {
    // An eviction tells the history of 8 pages and moves one; a put moves three.
    const BOUND: u32 = 100;
    for which in Eviction::ALL {
        let mut cache = Cache::new(which, 4000, 2000);
        // All pages are hit, so that as many as possible would be spared.
        let trace =
            (0..2000).chain(0..2000).chain(0..2000).chain(2000..4000).chain(skewed(1, 4000).take(20_000));
        for token in trace {
            cache.nodes.touched.set(0);
            cache.access(token);
            assert!(cache.nodes.touched.get() <= BOUND, "{which}: {}", cache.nodes.touched.get());
        }
    }
}

#[test]
fn a_policy_holds_at_most_its_stated_bytes_a_page() {
    const PAGES: usize = 1 << 18;
    for which in Eviction::ALL {
        let all = policies(which, 1);
        let (mut policy, mut nodes) = (all.make(0), slots(PAGES + 1));
        (0..PAGES as u32).for_each(|token| policy.insert(&mut nodes, token));
        assert_eq!(policy.bytes(), 0, "{which} holds nothing before it evicts");
        policy.victim(&mut nodes, true, true);
        policy.insert(&mut nodes, PAGES as u32);
        assert!(policy.bytes() <= 8 * PAGES, "{which}: {}", policy.bytes());
    }
}

#[test]
fn the_learner_stays_small_however_many_pages_there_are() {
    let all = policies(Eviction::Adaptive, 1);
    let (mut policy, mut nodes, names) = (all.make(0), slots(60_000), 60_000);
    (0..30_000).for_each(|token| policy.insert(&mut nodes, token));
    for token in 30_000..names {
        policy.victim(&mut nodes, true, true);
        policy.insert(&mut nodes, token);
    }
    let bytes = all.shared_bytes();
    assert!((1..1 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn the_adaptive_policy_keeps_part_of_a_loop_that_lru_loses() {
    let trace = || (0..100_000).map(|n| n % 2000);
    assert_eq!(Cache::new(Eviction::Lru, 2000, 1000).hits(trace()), 0);
    assert!(Cache::new(Eviction::Adaptive, 2000, 1000).hits(trace()) > 45_000);
}

#[test]
fn the_adaptive_policy_follows_a_moving_working_set_as_lru_does() {
    // Each put is of one of the last thousand names; every fourth is new.
    let trace = || skewed(7, 1000).take(200_000).enumerate().map(|(n, back)| (n as u32 / 4 + 1000) - back);
    let lru = Cache::new(Eviction::Lru, 60_000, 500).hits(trace());
    let adaptive = Cache::new(Eviction::Adaptive, 60_000, 500).hits(trace());
    assert!(adaptive * 100 >= lru * 99, "{adaptive} {lru}");
}

#[test]
fn a_scan_does_not_sweep_the_adaptive_policy() {
    let trace = || {
        skewed(3, 3000)
            .take(300_000)
            .enumerate()
            .map(|(n, hot)| if n % 2 == 0 { hot } else { 3000 + n as u32 / 2 })
    };
    let lru = Cache::new(Eviction::Lru, 160_000, 600).hits(trace());
    let adaptive = Cache::new(Eviction::Adaptive, 160_000, 600).hits(trace());
    assert!(adaptive * 100 > lru * 115, "{adaptive} {lru}");
}

#[test]
fn names_of_policies_are_read_back_and_others_refused() {
    for which in Eviction::ALL {
        assert_eq!(which.to_string().parse(), Ok(which));
    }
    let error = "arc".parse::<Eviction>().unwrap_err().to_string();
    assert!(error.contains("arc") && error.contains("s3-fifo"), "{error}");
}

/// A client's pages in many shards, as the store keeps them: 64 neighbours in one shard, and a victim from whichever shard
/// its policies name.
struct Sharded {
    policies: Policies,
    each: Vec<AnyPolicy>,
    nodes: Slots,
    here: Vec<bool>,
    held: usize,
    capacity: usize,
    hand: usize,
}

impl Sharded {
    fn new(which: Eviction, shards: usize, names: usize, capacity: usize) -> Self {
        let policies = policies(which, shards);
        let each = (0..shards).map(|shard| policies.make(shard)).collect();
        let (nodes, here) = (slots(names), vec![false; names]);
        Self { policies, each, nodes, here, held: 0, capacity, hand: 0 }
    }

    fn home(&self, token: u32) -> usize {
        let mixed = (u64::from(token / 64) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize % self.each.len()
    }

    fn evict(&mut self) {
        let asked = (0..8).find_map(|_| self.each[self.policies.next()].victim(&mut self.nodes, true, false));
        let victim = asked.or_else(|| {
            (0..self.each.len()).find_map(|_| {
                self.hand += 1;
                let shard = self.hand % self.each.len();
                self.each[shard].victim(&mut self.nodes, true, true)
            })
        });
        assert!(std::mem::take(&mut self.here[victim.expect("some shard has a page") as usize]));
        self.held -= 1;
    }

    fn access(&mut self, token: u32) -> bool {
        let (home, hit) = (self.home(token), self.here[token as usize]);
        if hit {
            self.each[home].remove(&mut self.nodes, token, true);
            self.held -= 1;
        }
        if self.held == self.capacity {
            self.evict();
        }
        self.each[home].insert(&mut self.nodes, token);
        self.here[token as usize] = true;
        self.held += 1;
        hit
    }

    fn misses(mut self, trace: impl Iterator<Item = u32>) -> usize {
        trace.filter(|token| !self.access(*token)).count()
    }
}

/// Misses of the adaptive policy in one and in 64 shards, and of LRU.
fn misses(names: usize, capacity: usize, trace: impl Fn() -> Vec<u32>) -> [usize; 3] {
    [(Eviction::Adaptive, 1), (Eviction::Adaptive, 64), (Eviction::Lru, 1)]
        .map(|(which, shards)| Sharded::new(which, shards, names, capacity).misses(trace().into_iter()))
}

/// Stack distances with a heavy tail: the nearer, the likelier. LRU is the best that there is.
fn recent(seed: u64, names: u32, length: usize) -> Vec<u32> {
    let mut stack: VecDeque<u32> = (0..names).collect();
    skewed(seed, 1 << 20)
        .take(length)
        .map(|x| {
            let depth = (x as usize / 500).min(names as usize - 1);
            let token = stack.remove(depth).unwrap();
            stack.push_front(token);
            token
        })
        .collect()
}

#[test]
fn many_shards_keep_of_a_loop_what_one_keeps() {
    let [one, many, lru] = misses(4000, 1000, || (0..100_000).map(|n| n % 4000).collect());
    assert_eq!(lru, 100_000);
    assert!(one < 77_500 && many < 77_500, "{one} {many}: 75,000 is the least");
}

#[test]
fn a_scan_sweeps_many_shards_as_little_as_one() {
    let trace = || {
        let hot: Vec<u32> = skewed(5, 3000).take(200_000).collect();
        let burst = |(n, hot): (usize, u32)| if n / 300 % 2 == 0 { hot } else { 3000 + n as u32 };
        hot.into_iter().enumerate().map(burst).collect()
    };
    let [one, many, lru] = misses(203_000, 1000, trace);
    assert!(one * 100 < lru * 95 && many * 100 < lru * 95, "{one} {many} {lru}");
}

#[test]
fn where_lru_is_best_the_adaptive_policy_is_nearly_as_good() {
    // Half a percent, and one cache full of misses before it is known.
    for (seed, capacity) in [(1, 500), (3, 1500)] {
        let [one, many, lru] = misses(4000, capacity, || recent(seed, 4000, 150_000));
        assert!(one <= lru + lru / 200 + capacity, "one shard, {capacity} pages: {one} {lru}");
        assert!(many <= lru + lru / 100 + capacity, "64 shards, {capacity} pages: {many} {lru}");
    }
}

#[test]
fn the_adaptive_policy_changes_with_the_phases() {
    // Turns of a loop, which LRU loses, and of recent pages, which LIRS loses.
    let trace = || {
        let looped = |n: u32| (0..60_000).map(move |i| 4000 + n * 2000 + i % 2000);
        (0..4).flat_map(|n| recent(u64::from(n), 4000, 60_000).into_iter().chain(looped(n % 2))).collect()
    };
    let [one, many, lru] = misses(8000, 1000, trace);
    let lirs = Sharded::new(Eviction::Lirs, 1, 8000, 1000).misses(trace().into_iter());
    assert!(one < lru.min(lirs) && many < lru.min(lirs), "{one} {many}, LRU {lru}, LIRS {lirs}");
}

/// Turns of a program: its blocks skewed, in a loop, among scans, or sliding along.
fn turn(kind: u8, size: u32, number: u32) -> Vec<u32> {
    let steps = skewed(u64::from(number), size).take(6000).zip(0..);
    let block = |(x, n): (u32, u32)| match kind {
        0 => x,
        1 => n % size,
        2 if n / 100 % 2 == 0 => x,
        2 => 4000 + number * 800 + n % 800,
        _ => number * 500 + n / 20 + x / 8,
    };
    steps.map(block).collect()
}

#[test]
fn programs_that_take_turns_miss_little_more_than_under_lru() {
    let mixes: [&[(u8, u32)]; 4] =
        [&[(0, 2000), (2, 1500)], &[(1, 2500), (0, 800)], &[(3, 1000), (0, 3000)], &[(2, 3000), (3, 4000)]];
    for parts in mixes {
        let place = |number: u32| (number as usize % parts.len(), number);
        let trace = || {
            (0..24).map(place).flat_map(|(part, number)| {
                let (kind, size) = parts[part];
                turn(kind, size, number).into_iter().map(move |block| part as u32 * 24_000 + block)
            })
        };
        // What is lost to LRU, in parts of its misses, beside the misses that fill the cache once before it is known what is
        // best.
        for (shards, part) in [(1, 100), (64, 20)] {
            let run = |which, shards| Sharded::new(which, shards, 72_000, 700).misses(trace());
            let (adaptive, lru) = (run(Eviction::Adaptive, shards), run(Eviction::Lru, 1));
            assert!(adaptive <= lru + lru / part + 700, "{parts:?} {shards} shards: {adaptive} {lru}");
        }
    }
}
