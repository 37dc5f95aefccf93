//! What clients are promised of a store that others fill: SPECIFICATION.md, "Shares".
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::sync::Arc;

use proptest::prelude::*;
use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, Lending, OpError, PAGE_SIZE, Page, PoolId, PoolKind, Share,
    SharedUuid, Store, StoreConfig,
};

const CAPACITY: u64 = 16 << 20;
const UUID: SharedUuid = SharedUuid([1, 2]);

fn store(codec: Codec, lending: Lending) -> Arc<Store> {
    Store::new(StoreConfig { capacity_bytes: CAPACITY, codec, lending, ..Default::default() }).unwrap()
}

struct Guest {
    client: Client,
    persistent: PoolId,
    ephemeral: PoolId,
    next: u32,
}

impl Guest {
    fn new(store: &Arc<Store>, reservation_bytes: u64, cap_bytes: u64) -> Self {
        let share = Share { reservation_bytes, weight: 100 };
        let config = ClientConfig { share, cap_bytes, shared: vec![UUID], ..Default::default() };
        let client = store.add_client(config).unwrap();
        let persistent = client.new_pool(PoolKind::Persistent).unwrap();
        let ephemeral = client.new_pool(PoolKind::Ephemeral).unwrap();
        Self { client, persistent, ephemeral, next: 0 }
    }

    /// A page that compresses, and is of one word in one case of `same`.
    fn page(&self, same: u32) -> Page {
        let mut page: Page = [1; PAGE_SIZE];
        if !self.next.is_multiple_of(same) {
            page.chunks_exact_mut(32).enumerate().for_each(|(n, row)| {
                row[..4].copy_from_slice(&self.next.wrapping_mul(n as u32 + 7).to_le_bytes());
            });
        }
        page
    }

    fn put(&mut self, persistent: bool, step: u32) -> Result<(), OpError> {
        let pool = if persistent { self.persistent } else { self.ephemeral };
        let page = self.page(9);
        self.next += 1;
        self.client.put(
            pool,
            &Key::new(u64::from(self.next / 1000).into(), self.next.wrapping_mul(step)),
            &page,
        )
    }

    /// Puts that may be refused.
    fn try_puts(&mut self, persistent: bool, count: u32) {
        for _ in 0..count {
            let _ = self.put(persistent, 1);
        }
    }

    fn bytes(&self) -> u64 {
        self.client.usage().bytes
    }
}

#[test]
fn a_reservation_can_be_filled_after_another_guest_filled_the_store() {
    for lending in [Lending::Ephemeral, Lending::Persistent] {
        for persistent in [false, true] {
            let store = store(Codec::Raw, lending);
            let mut owner = Guest::new(&store, CAPACITY / 2, u64::MAX);
            let mut other = Guest::new(&store, 0, u64::MAX);
            other.try_puts(persistent, 12_000);
            while owner.bytes() + 8192 < CAPACITY / 2 {
                assert_eq!(owner.put(true, 1), Ok(()), "{lending:?}: at {} bytes", owner.bytes());
            }
        }
    }
}

#[test]
fn persistent_puts_of_a_guest_over_its_share_leave_the_share_of_the_other_alone() {
    for lending in [Lending::Ephemeral, Lending::Persistent] {
        let store = store(Codec::Raw, lending);
        let mut victim = Guest::new(&store, 0, u64::MAX);
        let mut attacker = Guest::new(&store, 0, u64::MAX);
        victim.try_puts(false, 3000);
        while attacker.put(true, 1).is_ok() {}
        // What its policy remembers is the victim's as well.
        let usage = victim.client.usage();
        assert!(usage.bytes >= CAPACITY / 24 * 11 - (CAPACITY >> 5), "{lending:?}: {usage:?}");
        assert!(usage.ephemeral_pages * PAGE_SIZE as u64 >= CAPACITY / 8 * 3, "{lending:?}: {usage:?}");
    }
}

#[test]
fn what_nobody_uses_is_lent_to_ephemeral_pages_and_to_persistent_ones_only_where_the_host_says_so() {
    for (lending, persistent, least, most) in [
        (Lending::Ephemeral, false, 85, 110),
        (Lending::Ephemeral, true, 40, 50),
        (Lending::Persistent, true, 85, 100),
    ] {
        let store = store(Codec::Raw, lending);
        let _idle = Guest::new(&store, 0, u64::MAX);
        let mut busy = Guest::new(&store, 0, u64::MAX);
        busy.try_puts(persistent, 6000);
        let percent = busy.bytes() * 100 / CAPACITY;
        assert!((least..=most).contains(&percent), "{lending:?}, persistent {persistent}: {percent} %");
    }
}

#[test]
fn a_cap_of_nothing_takes_nothing_also_when_it_is_set_later() {
    let store = store(Codec::Raw, Lending::Ephemeral);
    let mut guest = Guest::new(&store, 0, u64::MAX);
    (0..50).for_each(|_| guest.put(true, 1).unwrap());
    (0..50).for_each(|_| guest.put(false, 1).unwrap());
    guest.client.set_cap(0);
    let key = Key::new(0.into(), 1);
    for page in [[7; PAGE_SIZE], guest.page(u32::MAX)] {
        assert_eq!(guest.client.put(guest.persistent, &key, &page), Err(OpError::NoMemory));
        assert_eq!(guest.client.put(guest.ephemeral, &key, &page), Err(OpError::NoMemory));
    }
    assert_eq!(guest.client.flush_page(guest.persistent, &Key::new(0.into(), 2)), Ok(1));
    assert_eq!(guest.put(true, 1), Err(OpError::NoMemory), "what was freed is not credit");
    assert_eq!(guest.client.new_pool(PoolKind::Persistent), Err(OpError::NoMemory));
}

#[test]
fn a_cap_lowered_below_use_evicts_in_the_background_until_it_holds() {
    let store = store(Codec::Raw, Lending::Ephemeral);
    let mut guest = Guest::new(&store, 0, u64::MAX);
    (0..2000).for_each(|_| guest.put(false, 1).unwrap());
    guest.client.set_cap(1 << 20);
    while store.maintain(Budget::default()).more {}
    assert!(guest.bytes() <= 1 << 20, "{} bytes", guest.bytes());
    assert!(guest.client.usage().ephemeral_pages > 150, "and no further");
    guest.put(false, 1).unwrap();
}

#[test]
fn a_cap_holds_when_the_member_that_made_a_shared_pools_chunks_leaves() {
    let store = store(Codec::Raw, Lending::Ephemeral);
    let cap = 1 << 20;
    let maker = Guest::new(&store, 0, u64::MAX);
    let other = Guest::new(&store, 0, cap);
    let pools = [&maker, &other].map(|guest| guest.client.new_pool(PoolKind::Shared(UUID)).unwrap());
    for n in 0..6000u64 {
        maker.client.put(pools[0], &Key::new(n.into(), 64), &[1; PAGE_SIZE]).unwrap();
        let _ = other.client.put(pools[1], &Key::new(n.into(), 65), &[1; PAGE_SIZE]);
        assert!(other.bytes() <= cap);
    }
    assert!(other.client.usage().ephemeral_pages > 5000);
    maker.client.close();
    loop {
        let more = store.maintain(Budget { pages: 16, ..Budget::default() }).more;
        assert!(other.bytes() <= cap, "{} bytes at a cap of {cap}", other.bytes());
        if !more {
            break;
        }
    }
    assert_eq!(store.stats().ephemeral_pages, other.client.usage().ephemeral_pages);
    other.client.new_pool(PoolKind::Ephemeral).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    /// Guests put, flush parts of what they put, and change kinds, in any order; then the owner fills its reservation.
    #[test]
    fn a_reservation_can_be_filled_whatever_others_did_before(
        seed in any::<u32>(),
        lending in prop_oneof![Just(Lending::Ephemeral), Just(Lending::Persistent)],
        codec in prop_oneof![Just(Codec::Raw), Just(Codec::Lz4)],
        deeds in prop::collection::vec((0..3usize, any::<bool>(), 1..2000u32, 0..3u32), 30),
    ) {
        let store = store(codec, lending);
        let reservation = CAPACITY / 4;
        let mut owner = Guest::new(&store, reservation, u64::MAX);
        let mut others: Vec<Guest> = (0..3).map(|_| Guest::new(&store, 0, u64::MAX)).collect();
        for (who, persistent, count, kind) in deeds {
            let other = &mut others[who];
            let step = [1, 64, 1 + 64 * (seed % 7)][kind as usize];
            for _ in 0..count {
                let _ = other.put(persistent, step);
            }
            if kind == 2 {
                // All but one page in 50 goes: what is left holds frames that are nearly empty.
                for n in (0..other.next).filter(|n| n % 50 != 0) {
                    let pool = if persistent { other.persistent } else { other.ephemeral };
                    other.client.flush_page(pool, &Key::new(u64::from(n / 1000).into(), n.wrapping_mul(step))).unwrap();
                }
            }
            store.maintain(Budget { pages: seed % 64, ..Budget::default() });
        }
        while owner.bytes() + 8192 < reservation {
            let put = owner.put(true, 1);
            prop_assert_eq!(put, Ok(()), "at {} of {} bytes: {:?}", owner.bytes(), reservation, store.stats());
        }
        for other in &others {
            prop_assert!(other.client.usage().bytes <= CAPACITY - reservation + (CAPACITY >> 4));
        }
    }
}
