//! Who is evicted from when the store is full: reservations and weights.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::sync::Arc;

use proptest::prelude::*;
use tmem_core::{
    Client, ClientConfig, Codec, Key, PAGE_SIZE, Page, PoolId, PoolKind, Share, Store, StoreConfig,
    StoreError,
};

const CAPACITY: u64 = 16 << 20;
/// What can be reserved of it, for sure.
const PROMISED: u64 = CAPACITY / 12 * 11;
/// What shards may hold ready for a client (a part in 64 of the store), and what is evicted in one go.
const SLACK: u64 = CAPACITY / 32 + (64 << 10);
/// More pages than 16 puts evict.
const FEW: u64 = 64;

struct Guest {
    client: Client,
    pool: PoolId,
    share: Share,
    next: u32,
}

impl Guest {
    /// Puts pages that do not compress and are not one word.
    fn put(&mut self, pages: u32) {
        for _ in 0..pages {
            let mut page: Page = [1; PAGE_SIZE];
            page[..4].copy_from_slice(&self.next.to_le_bytes());
            self.client.put(self.pool, &Key::new(1.into(), self.next), &page).unwrap();
            self.next += 1;
        }
    }

    fn bytes(&self) -> u64 {
        self.client.usage().bytes
    }

    /// Bytes beyond the reservation, by weight.
    fn excess(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.share.reservation_bytes) / u64::from(self.share.weight)
    }
}

fn store() -> Arc<Store> {
    Store::new(StoreConfig { capacity_bytes: CAPACITY, codec: Codec::Raw, ..Default::default() }).unwrap()
}

fn guests(store: &Arc<Store>, shares: &[Share]) -> Vec<Guest> {
    let guest = |share: &Share| {
        let client = store.add_client(ClientConfig { share: *share, ..Default::default() }).unwrap();
        let pool = client.new_pool(PoolKind::Ephemeral).unwrap();
        Guest { client, pool, share: *share, next: 0 }
    };
    shares.iter().map(guest).collect()
}

/// Up to four guests whose reservations together fit in the store.
fn shares() -> impl Strategy<Value = Vec<Share>> {
    let share = (0..CAPACITY / 5, 1..400u32);
    let share = share.prop_map(|(reservation_bytes, weight)| Share { reservation_bytes, weight });
    prop::collection::vec(share, 2..=4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_victim_is_who_is_furthest_over_its_share_and_never_who_is_inside_its_reservation(
        shares in shares(),
        puts in prop::collection::vec((0..4usize, 1..300u32), 60),
    ) {
        let store = store();
        let mut guests = guests(&store, &shares);
        for (who, pages) in puts {
            let who = who % guests.len();
            for _ in 0..pages.div_ceil(16) {
                let seen = |g: &Guest| (g.bytes(), g.client.counters().evicted, g.client.usage().ephemeral_pages);
                let before: Vec<_> = guests.iter().map(seen).collect();
                guests[who].put(16);
                // Between two evictions a guest's policy may come to remember more, which is the guest's as well.
                let least = |(guest, (bytes, ..)): (&Guest, &(u64, u64, u64))| {
                    guest.excess(guest.bytes().min(*bytes).saturating_sub(SLACK))
                };
                // Nothing can be evicted from a guest that is left with what its policy remembers, at any time.
                let has_pages = |(guest, (.., pages)): &(&Guest, &(u64, u64, u64))| {
                    guest.client.usage().ephemeral_pages.min(*pages) > FEW
                };
                let most = guests.iter().zip(&before).filter(has_pages).map(least).max().unwrap_or(0);
                for (number, (guest, (bytes, evicted, _))) in guests.iter().zip(&before).enumerate() {
                    if guest.client.counters().evicted == *evicted {
                        continue;
                    }
                    let bytes = guest.bytes().max(*bytes);
                    prop_assert!(
                        guest.excess(bytes + SLACK) + 1 >= most,
                        "guest {number} lost pages at {bytes} bytes, {:?}; the largest excess was {most}",
                        guest.share
                    );
                    prop_assert!(
                        number == who || bytes + SLACK > guest.share.reservation_bytes,
                        "guest {number} lost pages inside its reservation"
                    );
                }
            }
        }
    }

    #[test]
    fn guests_that_want_all_end_up_with_reservations_and_the_rest_by_weight(shares in shares()) {
        let store = store();
        let mut guests = guests(&store, &shares);
        for _ in 0..400 {
            guests.iter_mut().for_each(|guest| guest.put(32));
        }
        let held: u64 = guests.iter().map(Guest::bytes).sum();
        let reserved: u64 = shares.iter().map(|share| share.reservation_bytes).sum();
        let weights: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        for guest in &guests {
            let rest = held.saturating_sub(reserved) * u64::from(guest.share.weight) / weights;
            let due = guest.share.reservation_bytes + rest;
            prop_assert!(
                guest.bytes().abs_diff(due) <= 2 * SLACK,
                "{:?} holds {} bytes and is due {due}", guest.share, guest.bytes()
            );
        }
    }
}

#[test]
fn a_guest_may_push_out_its_own_pages_inside_its_reservation() {
    let store = store();
    let share = Share { reservation_bytes: PROMISED, weight: 100 };
    let mut guests = guests(&store, &[share]);
    guests[0].put(3 * (CAPACITY / 4096) as u32);
    assert!(guests[0].client.counters().evicted > 0);
}

#[test]
fn impossible_shares_are_refused_with_what_is_wrong() {
    let store = store();
    let with = |reservation_bytes, weight| ClientConfig {
        cap_bytes: CAPACITY,
        share: Share { reservation_bytes, weight },
        ..Default::default()
    };
    let field = |result: Result<Client, StoreError>| match result.err() {
        Some(StoreError::Config { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(store.add_client(with(0, 0))), "weight");
    assert_eq!(field(store.add_client(with(0, 10_001))), "weight");
    assert_eq!(field(store.add_client(with(CAPACITY + 1, 1))), "reservation_bytes");
    let first = store.add_client(with(PROMISED / 2, 1)).unwrap();
    assert_eq!(field(store.add_client(with(CAPACITY / 2 + 1, 1))), "reservation_bytes");
    assert!(first.set_share(Share { reservation_bytes: CAPACITY + 1, weight: 1 }).is_err());
    first.set_share(Share { reservation_bytes: PROMISED, weight: 1 }).unwrap();
    first.close();
    store.add_client(with(PROMISED, 1)).unwrap();
}
