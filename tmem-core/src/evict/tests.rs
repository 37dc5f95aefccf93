//! Every policy against the same rules, on nodes in a plain vector.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::collections::BTreeSet;

use super::*;

#[derive(Default)]
struct Slots(Vec<([u32; 2], u32)>);

impl Nodes for Slots {
    fn links(&self, token: u32) -> [u32; 2] {
        self.0[token as usize].0
    }

    fn set_links(&mut self, token: u32, links: [u32; 2]) {
        self.0[token as usize].0 = links;
    }

    fn marks(&self, token: u32) -> u32 {
        self.0[token as usize].1
    }

    fn set_marks(&mut self, token: u32, marks: u32) {
        assert!(marks < 8);
        self.0[token as usize].1 = marks;
    }

    fn name(&self, token: u32) -> u64 {
        u64::from(token) << 20
    }
}

const ALL: [Eviction; 5] =
    [Eviction::Fifo, Eviction::Lru, Eviction::S3Fifo, Eviction::Sieve, Eviction::Victim];

fn slots(count: usize) -> Slots {
    Slots(vec![([0; 2], 0); count])
}

fn drain(policy: &mut dyn Policy, nodes: &mut Slots) -> Vec<u32> {
    std::iter::from_fn(|| policy.victim(nodes)).collect()
}

proptest::proptest! {
    #[test]
    fn a_policy_knows_exactly_the_pages_that_are_there(ops in proptest::collection::vec((0..4u8, 0..40u32), 1..400)) {
        for which in ALL {
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
                        let victim = policy.victim(&mut nodes);
                        proptest::prop_assert_eq!(victim.is_some(), !there.is_empty());
                        victim.iter().for_each(|v| assert!(there.remove(v), "{:?} evicted {}", which, v));
                    }
                    _ => {}
                }
            }
            let left: BTreeSet<u32> = drain(&mut *policy, &mut nodes).into_iter().collect();
            proptest::prop_assert_eq!(left, there);
        }
    }
}

#[test]
fn fifo_ignores_hits_and_lru_does_not() {
    for (which, want) in [(Eviction::Fifo, vec![0, 1, 2]), (Eviction::Lru, vec![1, 2, 0])] {
        let (mut policy, mut nodes) = (policy(which), slots(3));
        (0..3).for_each(|t| policy.insert(&mut nodes, t));
        policy.hit(&mut nodes, 0);
        assert_eq!(drain(&mut *policy, &mut nodes), want);
    }
}

#[test]
fn sieve_spares_a_visited_page_and_keeps_its_place() {
    let (mut policy, mut nodes) = (policy(Eviction::Sieve), slots(4));
    (0..3).for_each(|t| policy.insert(&mut nodes, t));
    policy.hit(&mut nodes, 0);
    assert_eq!(policy.victim(&mut nodes), Some(1));
    policy.insert(&mut nodes, 3);
    assert_eq!(drain(&mut *policy, &mut nodes), [2, 3, 0]);
}

#[test]
fn a_page_that_came_back_outlives_new_ones() {
    let (mut policy, mut nodes) = (policy(Eviction::Victim), slots(100));
    (0..40).for_each(|t| policy.insert(&mut nodes, t));
    policy.remove(&mut nodes, 5, true);
    policy.insert(&mut nodes, 5);
    (40..100).for_each(|t| policy.insert(&mut nodes, t));
    let order = drain(&mut *policy, &mut nodes);
    assert!(order.iter().position(|t| *t == 5) > Some(80), "{order:?}");
}
