//! What a store costs when nobody uses it: no memory but what is committed, and no work.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::sync::Arc;

use tmem_core::{Budget, ClientConfig, Codec, Key, PAGE_SIZE, PoolKind, Progress, Store, StoreConfig};

/// Rounds of maintenance after which a store must have nothing to do: as many as give back 1 GiB, and the calm before.
const ROUNDS: u32 = 2_000;
/// What the process may grow by for other reasons, in bytes: its own tables, a huge page that is used in part.
const SLACK: u64 = 6 << 20;

/// Memory of this process that the kernel has backed, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * PAGE_SIZE as u64
}

/// Works until nothing is left to do, however long to rest in between.
fn settle(store: &Arc<Store>) -> Progress {
    (0..ROUNDS)
        .map(|_| store.maintain(Budget::default()))
        .find(|progress| !progress.more && progress.rest.is_none())
        .expect("an idle store comes to rest")
}

/// One test, because it looks at the memory of the whole process.
#[test]
fn a_store_that_nobody_uses_takes_what_is_committed_and_no_time() {
    let start = resident();
    let committed = 4 << 20;
    let store = Store::new(StoreConfig {
        capacity_bytes: 8 << 30,
        committed_bytes: committed,
        codec: Codec::Raw,
        ..Default::default()
    })
    .unwrap();
    let most = start + committed + SLACK;
    assert!(resident() >= start + committed, "committed memory is there from the start");
    settle(&store);
    assert!(resident() < most, "new: {} bytes", resident() - start);

    let guest = store.add_client(ClientConfig::default()).unwrap();
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let mut page = [0; PAGE_SIZE];
    for index in 0..50_000u32 {
        page.first_chunk_mut().map(|word| *word = index.to_le_bytes()).unwrap();
        guest.put(pool, &Key::new(1.into(), index), &page).unwrap();
    }
    assert!(resident() > start + 50_000 * PAGE_SIZE as u64);
    guest.flush_object(pool, 1.into(), u32::MAX).unwrap();
    settle(&store);
    assert!(resident() < most, "after use: {} bytes", resident() - start);
    assert_eq!(store.stats().raw_pages, 0);
}
