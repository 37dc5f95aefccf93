//! What a host that is short of memory gets. A process of its own, because it looks at all of its memory.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, PAGE_SIZE, PoolId, PoolKind, Share, Store, StoreConfig,
};

fn put(client: &Client, pool: PoolId, count: u32) {
    for n in 0..count {
        let mut page = [1; PAGE_SIZE];
        page.first_chunk_mut().map(|word| *word = n.to_le_bytes()).unwrap();
        client.put(pool, &Key::new(1.into(), n), &page).unwrap();
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * PAGE_SIZE as u64
}

#[test]
fn a_host_that_is_short_of_memory_gets_ephemeral_pages_of_whoever_is_most_over_its_share_and_their_memory() {
    let config = StoreConfig { capacity_bytes: 32 << 20, codec: Codec::Raw, ..Default::default() };
    let store = Store::new(config).unwrap();
    let client = |reservation_bytes| {
        let share = Share { reservation_bytes, weight: 100 };
        store.add_client(ClientConfig { share, ..Default::default() }).unwrap()
    };
    let (small, large) = (client(4 << 20), client(0));
    let [ours, theirs] = [&small, &large].map(|client| client.new_pool(PoolKind::Ephemeral).unwrap());
    let persistent = large.new_pool(PoolKind::Persistent).unwrap();
    put(&small, ours, 300);
    put(&large, persistent, 100);
    put(&large, theirs, 5000);
    let before = resident();
    for _ in 0..16 {
        store.maintain(Budget::short_of_memory());
    }
    assert!(large.usage().ephemeral_pages < 1000, "{:?}", large.usage());
    assert_eq!(small.counters().evicted, 0, "who is inside its reservation comes last");
    assert!(resident() + (12 << 20) < before, "{} of {before} bytes are left", resident());
    while store.maintain(Budget::short_of_memory()).evicted > 0 {}
    assert_eq!((store.stats().ephemeral_pages, large.usage().persistent_pages), (0, 100));
}
