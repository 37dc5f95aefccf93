//! The rules of every operation, one by one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::sync::Arc;

use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, OpError, PAGE_SIZE, Page, PageRange, PoolKind, SharedUuid,
    Store, StoreConfig, StoreError,
};

/// More than any flush here takes.
const STEPS: u32 = 4096;

const UUID: SharedUuid = SharedUuid([1, 2]);

fn store(codec: Codec) -> Arc<Store> {
    Store::new(StoreConfig {
        capacity_bytes: 16 << 20,
        codec,
        shards: 4,
        verify_every_read: true,
        ..Default::default()
    })
    .unwrap()
}

fn client(store: &Arc<Store>, cap_bytes: u64) -> Client {
    store.add_client(ClientConfig { cap_bytes, shared: vec![UUID], ..Default::default() }).unwrap()
}

fn key(object: u64, index: u32) -> Key {
    Key::new(object.into(), index)
}

/// A page that compresses, but is not of one word.
fn page(seed: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    page.chunks_exact_mut(8)
        .enumerate()
        .for_each(|(n, w)| w.copy_from_slice(&(seed + n as u64 / 8).to_le_bytes()));
    page
}

fn settle(store: &Store) {
    while store.maintain(Budget::at_once()).more {}
}

#[test]
fn a_persistent_page_stays_until_flushed() {
    let store = store(Codec::Lz4);
    let guest = client(&store, u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    guest.put(pool, &key(1, 5), &page(9)).unwrap();
    for _ in 0..3 {
        let mut got = [0; PAGE_SIZE];
        assert_eq!(guest.get(pool, &key(1, 5), &mut got), Ok(true));
        assert_eq!(got, page(9));
        settle(&store);
    }
    assert_eq!(guest.flush_page(pool, &key(1, 5)), Ok(1));
    assert_eq!(guest.flush_page(pool, &key(1, 5)), Ok(0));
    assert_eq!(guest.get(pool, &key(1, 5), &mut [0; PAGE_SIZE]), Ok(false));
}

#[test]
fn a_get_from_a_private_ephemeral_pool_takes_the_page() {
    let store = store(Codec::Lz4);
    let guest = client(&store, u64::MAX);
    let pool = guest.new_pool(PoolKind::Ephemeral).unwrap();
    guest.put(pool, &key(1, 5), &page(9)).unwrap();
    let mut got = [0; PAGE_SIZE];
    assert_eq!(guest.read(pool, &key(1, 5), PageRange::FULL, &mut got), Ok(true), "a read keeps it");
    assert_eq!(guest.get(pool, &key(1, 5), &mut got), Ok(true));
    assert_eq!(got, page(9));
    assert_eq!(guest.get(pool, &key(1, 5), &mut got), Ok(false), "get-get: a miss stays a miss");
}

#[test]
fn a_missing_page_leaves_the_buffer_alone() {
    let guest = client(&store(Codec::Raw), u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let mut got = page(3);
    assert_eq!(guest.get(pool, &key(1, 1), &mut got), Ok(false));
    assert_eq!(got, page(3));
}

#[test]
fn pages_of_every_form_come_back_after_compression() {
    let store = store(Codec::Lz4);
    let guest = client(&store, u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let mut noise = [0; PAGE_SIZE];
    let mut state = 7u64;
    noise.iter_mut().for_each(|b| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *b = (state >> 56) as u8;
    });
    let forms = [page(1), [0; PAGE_SIZE], noise];
    for (n, form) in forms.iter().enumerate() {
        guest.put(pool, &key(n as u64, 0), form).unwrap();
    }
    settle(&store);
    let stats = store.stats();
    assert_eq!((stats.raw_pages, stats.compressed_pages, stats.same_pages), (1, 1, 1));
    for (n, form) in forms.iter().enumerate() {
        let mut got = [1; PAGE_SIZE];
        assert_eq!(guest.get(pool, &key(n as u64, 0), &mut got), Ok(true));
        assert_eq!(&got, form);
    }
}

#[test]
fn a_put_over_a_page_replaces_it_in_every_form() {
    let store = store(Codec::Lz4);
    let guest = client(&store, u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    for round in 0..4 {
        let new = if round % 2 == 0 { page(round) } else { [round as u8; PAGE_SIZE] };
        guest.put(pool, &key(1, 1), &new).unwrap();
        settle(&store);
        let mut got = [0; PAGE_SIZE];
        assert_eq!(guest.get(pool, &key(1, 1), &mut got), Ok(true));
        assert_eq!(got, new);
    }
    assert_eq!(guest.usage().persistent_pages, 1);
}

#[test]
fn flushes_of_ranges_and_objects_take_exactly_their_pages() {
    let store = store(Codec::Raw);
    let guest = client(&store, u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let indexes = [0, 1, 63, 64, 100, 4095, 4096, 1 << 20, u32::MAX];
    let fill = || indexes.iter().for_each(|i| guest.put(pool, &key(1, *i), &page(1)).unwrap());
    fill();
    guest.put(pool, &key(2, 64), &page(2)).unwrap();
    assert_eq!(guest.flush_range(pool, 1.into(), 1, 63, STEPS).unwrap().pages, 2);
    assert_eq!(guest.flush_range(pool, 1.into(), 64, 0, STEPS).unwrap().pages, 0);
    assert_eq!(guest.flush_range(pool, 1.into(), 4095, u64::MAX, STEPS).unwrap().pages, 4);
    assert_eq!(guest.flush_object(pool, 1.into(), STEPS).unwrap().pages, 3);
    assert_eq!(guest.flush_object(pool, 1.into(), STEPS).unwrap().pages, 0);
    assert_eq!(guest.get(pool, &key(2, 64), &mut [0; PAGE_SIZE]), Ok(true), "another object is not touched");
    fill();
    assert_eq!(guest.flush_object(pool, 1.into(), STEPS).unwrap().pages, indexes.len() as u64);
    assert_eq!(guest.flush_page(pool, &key(2, 64)), Ok(1));
    let usage = guest.usage();
    assert_eq!(usage.persistent_pages, 0);
    let pool_only = usage.bytes;
    guest.destroy_pool(pool).unwrap();
    assert!(pool_only > 0 && guest.usage().bytes == 0, "nothing is charged for pages that are gone");
}

#[test]
fn a_write_changes_its_range_and_zero_fills_an_absent_page() {
    let guest = client(&store(Codec::Lz4), u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let range = PageRange::new(100, 50).unwrap();
    guest.write(pool, &key(1, 1), range, &[7; PAGE_SIZE]).unwrap();
    let mut want = [0; PAGE_SIZE];
    want[100..150].fill(7);
    let mut got = [9; PAGE_SIZE];
    assert_eq!(guest.get(pool, &key(1, 1), &mut got), Ok(true));
    assert_eq!(got, want);
    guest.write(pool, &key(1, 1), PageRange::new(120, 4).unwrap(), &[8; PAGE_SIZE]).unwrap();
    want[120..124].fill(8);
    let mut part = [9; PAGE_SIZE];
    assert_eq!(guest.read(pool, &key(1, 1), range, &mut part), Ok(true));
    assert_eq!(part[100..150], want[100..150]);
    assert!(part[..100].iter().chain(&part[150..]).all(|b| *b == 9), "a read touches only its range");
}

#[test]
fn an_exchange_swaps_or_stores() {
    let guest = client(&store(Codec::Lz4), u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let mut mine = page(1);
    assert_eq!(guest.xchg(pool, &key(1, 1), &mut mine), Ok(false));
    assert_eq!(mine, page(1));
    mine = page(2);
    assert_eq!(guest.xchg(pool, &key(1, 1), &mut mine), Ok(true));
    assert_eq!(mine, page(1));
    assert_eq!(guest.get(pool, &key(1, 1), &mut mine), Ok(true));
    assert_eq!(mine, page(2));
}

#[test]
fn a_frozen_client_is_refused_and_loses_the_old_page() {
    let guest = client(&store(Codec::Lz4), u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    (0..4).for_each(|n| guest.put(pool, &key(1, n), &page(1)).unwrap());
    guest.freeze();
    assert_eq!(guest.put(pool, &key(1, 0), &page(2)), Err(OpError::Frozen));
    assert_eq!(guest.write(pool, &key(1, 1), PageRange::FULL, &page(2)), Err(OpError::Frozen));
    let mut mine = page(3);
    assert_eq!(guest.xchg(pool, &key(1, 2), &mut mine), Err(OpError::Frozen));
    assert_eq!(mine, page(3));
    let found: Vec<bool> = (0..4).map(|n| guest.get(pool, &key(1, n), &mut mine).unwrap()).collect();
    assert_eq!(found, [false, false, true, true], "a refused exchange changes nothing");
    assert_eq!(guest.flush_page(pool, &key(1, 3)), Ok(1), "flushes work");
    guest.thaw();
    guest.put(pool, &key(1, 0), &page(2)).unwrap();
}

#[test]
fn a_persistent_put_beyond_the_cap_is_refused_and_drops_the_old_page() {
    let store = store(Codec::Raw);
    let guest = client(&store, 100 << 10);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    guest.put(pool, &key(1, 0), &[0; PAGE_SIZE]).unwrap();
    let stored = (1..).take_while(|n| guest.put(pool, &key(1, *n), &page(1)).is_ok()).count();
    assert!((20..25).contains(&stored), "100 KiB hold {stored} pages");
    assert_eq!(guest.put(pool, &key(1, 0), &page(2)), Err(OpError::NoMemory), "a word became a page");
    assert_eq!(guest.get(pool, &key(1, 0), &mut [0; PAGE_SIZE]), Ok(false));
    assert!(guest.usage().bytes <= 100 << 10);
    let mut mine = page(7);
    guest.put(pool, &key(1, 0), &[0; PAGE_SIZE]).unwrap();
    assert_eq!(guest.xchg(pool, &key(1, 0), &mut mine), Err(OpError::NoMemory));
    assert_eq!(guest.get(pool, &key(1, 0), &mut mine), Ok(true), "a refused exchange changes nothing");
    guest.put(pool, &key(1, 3), &page(3)).unwrap();
}

#[test]
fn ephemeral_puts_at_the_cap_push_out_older_ones() {
    let guest = client(&store(Codec::Raw), 100 << 10);
    let pool = guest.new_pool(PoolKind::Ephemeral).unwrap();
    (0..200).for_each(|n| guest.put(pool, &key(1, n), &page(n.into())).unwrap());
    let usage = guest.usage();
    assert!(usage.bytes <= 100 << 10 && usage.ephemeral_pages >= 20, "{usage:?}");
    assert_eq!(guest.counters().evicted, 200 - usage.ephemeral_pages);
    let mut got = [0; PAGE_SIZE];
    assert_eq!(guest.get(pool, &key(1, 199), &mut got), Ok(true));
    assert_eq!(got, page(199));
}

#[test]
fn a_full_store_evicts_ephemeral_pages_and_keeps_persistent_ones() {
    let store = store(Codec::Raw);
    let (keeper, filler) = (client(&store, u64::MAX), client(&store, u64::MAX));
    let keep = keeper.new_pool(PoolKind::Persistent).unwrap();
    let fill = filler.new_pool(PoolKind::Ephemeral).unwrap();
    (0..500).for_each(|n| keeper.put(keep, &key(1, n), &page(n.into())).unwrap());
    (0..8000).for_each(|n| filler.put(fill, &key(1, n), &page(n.into())).unwrap());
    assert!(filler.counters().evicted > 3000);
    for n in 0..500 {
        let mut got = [0; PAGE_SIZE];
        assert_eq!(keeper.get(keep, &key(1, n), &mut got), Ok(true));
        assert_eq!(got, page(n.into()));
    }
    let stored = (500..).take_while(|n| keeper.put(keep, &key(1, *n), &page(1)).is_ok()).count();
    assert!(
        (1300..1600).contains(&stored),
        "persistent puts push out ephemeral pages up to a share, {stored}"
    );
    assert!(filler.usage().ephemeral_pages > 1700, "and no others: {:?}", filler.usage());
}

#[test]
fn a_full_store_compresses_in_line() {
    let store = store(Codec::Lz4);
    let guest = client(&store, u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    for n in 0..8000 {
        let put = guest.put(pool, &key(1, n), &page(n.into()));
        assert_eq!(put, Ok(()), "{n} {:?} {:?}", guest.usage(), store.stats());
    }
    for n in 0..8000 {
        let mut got = [0; PAGE_SIZE];
        assert_eq!(guest.get(pool, &key(1, n), &mut got), Ok(true));
        assert_eq!(got, page(n.into()), "page {n}");
    }
}

#[test]
fn a_destroyed_pool_is_gone_at_once_and_released_by_maintenance() {
    let store = store(Codec::Lz4);
    let guest = client(&store, u64::MAX);
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    (0..1000).for_each(|n| guest.put(pool, &key(n, 0), &page(n)).unwrap());
    guest.destroy_pool(pool).unwrap();
    assert_eq!(guest.get(pool, &key(1, 0), &mut [0; PAGE_SIZE]), Err(OpError::NoSuchPool));
    assert_eq!(guest.destroy_pool(pool), Err(OpError::NoSuchPool));
    let again = guest.new_pool(PoolKind::Persistent).unwrap();
    assert_eq!(again, pool, "the number is free at once");
    assert_eq!(guest.get(again, &key(1, 0), &mut [0; PAGE_SIZE]), Ok(false));
    let step = store.maintain(Budget { pages: 100, ..Budget::at_once() });
    assert!(step.released >= 100 && step.released < 400 && step.more, "bounded steps: {step:?}");
    settle(&store);
    assert_eq!(store.stats().persistent_pages, 0);
    guest.destroy_pool(again).unwrap();
    settle(&store);
    assert_eq!((guest.usage().bytes, store.stats().raw_pages), (0, 0));
}

#[test]
fn pools_are_limited_and_named_per_client() {
    let store = store(Codec::Raw);
    let one =
        store.add_client(ClientConfig { max_pools: 2, ephemeral: false, ..Default::default() }).unwrap();
    let two = client(&store, u64::MAX);
    let pool = one.new_pool(PoolKind::Persistent).unwrap();
    let same = two.new_pool(PoolKind::Persistent).unwrap();
    assert_eq!(pool, same);
    one.put(pool, &key(1, 1), &page(1)).unwrap();
    assert_eq!(two.get(same, &key(1, 1), &mut [0; PAGE_SIZE]), Ok(false), "clients do not see each other");
    assert_eq!(one.new_pool(PoolKind::Ephemeral), Err(OpError::NotPermitted));
    assert_eq!(one.new_pool(PoolKind::Shared(UUID)), Err(OpError::NotPermitted));
    one.new_pool(PoolKind::Persistent).unwrap();
    assert_eq!(one.new_pool(PoolKind::Persistent), Err(OpError::NoFreePool));
    for raw in [2, 15, 1 << 20, u32::MAX] {
        assert_eq!(one.put(tmem_core::PoolId::new(raw), &key(1, 1), &page(1)), Err(OpError::NoSuchPool));
    }
}

#[test]
fn a_shared_pool_is_one_for_its_members_and_charged_to_the_putter() {
    let store = store(Codec::Raw);
    let (one, two) = (client(&store, u64::MAX), client(&store, u64::MAX));
    let (a, b) =
        (one.new_pool(PoolKind::Shared(UUID)).unwrap(), two.new_pool(PoolKind::Shared(UUID)).unwrap());
    one.put(a, &key(1, 1), &page(1)).unwrap();
    let mut got = [0; PAGE_SIZE];
    assert_eq!(two.get(b, &key(1, 1), &mut got), Ok(true));
    assert_eq!(two.get(b, &key(1, 1), &mut got), Ok(true), "a get keeps the page");
    assert_eq!((one.usage().ephemeral_pages, two.usage().ephemeral_pages), (1, 0));
    two.put(b, &key(1, 1), &page(2)).unwrap();
    assert_eq!((one.usage().ephemeral_pages, two.usage().ephemeral_pages), (0, 1));
    assert_eq!(one.get(a, &key(1, 1), &mut got), Ok(true));
    assert_eq!(got, page(2));
    assert_eq!(one.flush_page(a, &key(1, 1)), Ok(1));
    assert_eq!(two.get(b, &key(1, 1), &mut got), Ok(false));
}

#[test]
fn a_revoked_member_is_expelled_and_its_pages_go() {
    let store = store(Codec::Raw);
    let (one, two) = (client(&store, u64::MAX), client(&store, u64::MAX));
    let (a, b) =
        (one.new_pool(PoolKind::Shared(UUID)).unwrap(), two.new_pool(PoolKind::Shared(UUID)).unwrap());
    (0..100).for_each(|n| one.put(a, &key(n, 1), &page(n)).unwrap());
    (50..200).for_each(|n| two.put(b, &key(n, 2), &page(n)).unwrap());
    one.revoke_shared(UUID);
    assert_eq!(one.get(a, &key(1, 1), &mut [0; PAGE_SIZE]), Err(OpError::NoSuchPool));
    assert_eq!(one.new_pool(PoolKind::Shared(UUID)), Err(OpError::NotPermitted));
    settle(&store);
    assert_eq!(one.usage().bytes, 0, "what it created was handed over or removed");
    assert_eq!(two.usage().ephemeral_pages, 150);
    assert_eq!(two.get(b, &key(60, 2), &mut [0; PAGE_SIZE]), Ok(true));
    one.allow_shared(UUID);
    one.new_pool(PoolKind::Shared(UUID)).unwrap();
}

#[test]
fn a_closed_client_is_gone_and_its_slot_is_used_again() {
    let store = store(Codec::Lz4);
    for round in 0..3 {
        let guest = client(&store, u64::MAX);
        let pool = guest.new_pool(PoolKind::Persistent).unwrap();
        let shared = guest.new_pool(PoolKind::Shared(UUID)).unwrap();
        (0..300).for_each(|n| guest.put(pool, &key(n, round), &page(n)).unwrap());
        (0..300).for_each(|n| guest.put(shared, &key(n, round), &page(n)).unwrap());
        let other = guest.clone();
        guest.close();
        assert_eq!(other.put(pool, &key(1, 1), &page(1)), Err(OpError::Closed));
        assert_eq!(other.new_pool(PoolKind::Persistent), Err(OpError::Closed));
        assert_eq!(other.usage(), Default::default());
        settle(&store);
        let stats = store.stats();
        assert_eq!((stats.clients, stats.pools, stats.persistent_pages, stats.ephemeral_pages), (0, 0, 0, 0));
    }
}

#[test]
fn one_page_in_each_of_a_million_objects_runs_into_its_own_cap_only() {
    let config = StoreConfig { capacity_bytes: 256 << 20, codec: Codec::Raw, ..Default::default() };
    let store = Store::new(config).unwrap();
    let (hostile, other) = (client(&store, 32 << 20), client(&store, u64::MAX));
    let pool = hostile.new_pool(PoolKind::Persistent).unwrap();
    let stored =
        (0..1_000_000).take_while(|n| hostile.put(pool, &key(*n, 0), &[0; PAGE_SIZE]).is_ok()).count();
    let usage = hostile.usage();
    assert!(
        stored < 1_000_000 && usage.bytes <= 32 << 20,
        "metadata alone reached the cap: {stored} {usage:?}"
    );
    assert!(
        usage.metadata_bytes / stored as u64 <= 96,
        "bytes a page: {}",
        usage.metadata_bytes / stored as u64
    );
    let held = store.stats().metadata_bytes;
    assert!(held <= usage.metadata_bytes + usage.metadata_bytes / 10, "{held} held, {usage:?} charged");
    let theirs = other.new_pool(PoolKind::Persistent).unwrap();
    (0..10_000).for_each(|n| other.put(theirs, &key(n, 0), &page(n)).unwrap());
}

#[test]
fn a_full_page_costs_little_metadata_in_dense_objects() {
    let config = StoreConfig { capacity_bytes: 64 << 20, codec: Codec::Raw, ..Default::default() };
    let store = Store::new(config).unwrap();
    let guest = client(&store, u64::MAX);
    for (kind, most) in [(PoolKind::Persistent, 16), (PoolKind::Ephemeral, 24)] {
        let before = guest.usage().metadata_bytes;
        let pool = guest.new_pool(kind).unwrap();
        let bare = guest.usage().metadata_bytes;
        (0..100_000).for_each(|n| guest.put(pool, &key(1, n), &[n as u8; PAGE_SIZE]).unwrap());
        let each = (guest.usage().metadata_bytes - bare) / 100_000;
        assert!(each <= most, "{kind:?}: {each} bytes a page");
        guest.destroy_pool(pool).unwrap();
        settle(&store);
        assert_eq!(guest.usage().metadata_bytes, before);
    }
}

#[test]
fn impossible_shapes_are_refused_by_name() {
    let bad = |config| match Store::new(config) {
        Err(StoreError::Config { field, .. }) => field,
        _ => "accepted",
    };
    assert_eq!(bad(StoreConfig { capacity_bytes: 0, ..Default::default() }), "capacity_bytes");
    assert_eq!(bad(StoreConfig { capacity_bytes: u64::MAX, ..Default::default() }), "capacity_bytes");
    assert_eq!(bad(StoreConfig { shards: 3, ..Default::default() }), "shards");
    let max_pools =
        |max_pools| store(Codec::Raw).add_client(ClientConfig { max_pools, ..Default::default() }).err();
    assert!(matches!(max_pools(0), Some(StoreError::Config { field: "max_pools", .. })));
    assert!(matches!(max_pools(5000), Some(StoreError::Config { field: "max_pools", .. })));
}

#[test]
fn pools_that_are_made_and_destroyed_without_end_are_refused_until_they_are_released() {
    let store = store(Codec::Raw);
    let (guest, other) = (client(&store, u64::MAX), client(&store, u64::MAX));
    other.new_pool(PoolKind::Shared(UUID)).unwrap();
    for kind in [PoolKind::Persistent, PoolKind::Shared(UUID)] {
        let mut made = 0;
        while let Ok(pool) = guest.new_pool(kind) {
            guest.put(pool, &key(made, 0), &page(1)).unwrap();
            guest.destroy_pool(pool).unwrap();
            made += 1;
            assert!(made < 100_000);
        }
        assert_eq!(guest.new_pool(kind), Err(OpError::NoFreePool));
        // Nobody else is held back.
        let pool = other.new_pool(PoolKind::Persistent).unwrap();
        other.destroy_pool(pool).unwrap();
        settle(&store);
        let pool = guest.new_pool(kind).unwrap();
        assert_eq!(guest.get(pool, &key(0, 0), &mut [0; PAGE_SIZE]), Ok(false));
        guest.destroy_pool(pool).unwrap();
        settle(&store);
    }
}

/// What policies remember of pages that are gone is memory like any other.
#[test]
fn a_client_that_evicts_stays_below_its_cap_with_all_that_its_policy_remembers() {
    for eviction in tmem_core::Eviction::ALL {
        let config =
            StoreConfig { capacity_bytes: 64 << 20, codec: Codec::Raw, eviction, ..Default::default() };
        let store = Store::new(config).unwrap();
        let cap_bytes = 8 << 20;
        let guest = store.add_client(ClientConfig { cap_bytes, ..Default::default() }).unwrap();
        let pool = guest.new_pool(PoolKind::Ephemeral).unwrap();
        for n in 0..12_000u32 {
            let mut page = [3; PAGE_SIZE];
            page[..4].copy_from_slice(&n.to_le_bytes());
            guest.put(pool, &Key::new(1.into(), n), &page).unwrap();
            if n % 1000 == 999 {
                assert!(guest.usage().bytes <= cap_bytes, "{eviction}: {:?}", guest.usage());
            }
        }
        let usage = guest.usage();
        let real = store.stats().metadata_bytes;
        assert!(guest.counters().evicted > 0 && usage.ephemeral_pages > 1500, "{eviction}: {usage:?}");
        // Blocks and tables are taken ahead of need, a few for each shard.
        assert!(usage.metadata_bytes + (1 << 20) > real, "{eviction}: {usage:?}, {real} held");
        guest.close();
        while store.maintain(Budget::at_once()).more {}
        assert_eq!(store.stats().clients, 0);
        let again = store.add_client(ClientConfig::default()).unwrap();
        assert_eq!(again.usage().bytes, 0);
    }
}
