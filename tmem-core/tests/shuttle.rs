//! Schedules of the store's own locks and atomics, under the model checker:
//! `cargo test -p tmem-core --features shuttle --test shuttle`.
#![cfg(feature = "shuttle")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::sync::Arc;

use shuttle::scheduler::RandomScheduler;
use shuttle::thread;
use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, OpError, PAGE_SIZE, Page, PoolId, PoolKind, SharedUuid, Store,
    StoreConfig,
};

/// Schedules tried of each test.
const SCHEDULES: usize = 2000;

/// Tries schedules. Threads hold several pages on their stacks, more than the checker gives them by default.
fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut config = shuttle::Config::default();
    config.stack_size = 512 << 10;
    shuttle::Runner::new(RandomScheduler::new(SCHEDULES), config).run(test);
}

/// A page that compresses, and whose every row tells its value.
fn page(value: u8) -> Page {
    let mut page = [value; PAGE_SIZE];
    page.iter_mut().step_by(64).enumerate().for_each(|(n, byte)| *byte = n as u8);
    page
}

fn value(page: &Page) -> u8 {
    assert!(page.iter().skip(1).step_by(64).all(|byte| *byte == page[1]), "a page is torn");
    page[1]
}

fn store(shards: usize) -> Arc<Store> {
    let config = StoreConfig {
        capacity_bytes: 1 << 20,
        codec: Codec::Lz4,
        shards,
        verify_every_read: true,
        ..Default::default()
    };
    Store::new(config).unwrap()
}

fn guest(store: &Arc<Store>, kind: PoolKind) -> (Client, PoolId) {
    let client = store.add_client(ClientConfig { shared: vec![SharedUuid([1, 1])], ..Default::default() });
    let client = client.unwrap();
    let pool = client.new_pool(kind).unwrap();
    (client, pool)
}

fn settle(store: &Store) {
    while store.maintain(Budget::at_once()).more {}
}

#[test]
fn shard_a_get_sees_one_put_or_another_while_pages_are_compressed() {
    explore(|| {
        let store = store(2);
        let (guest, pool) = guest(&store, PoolKind::Persistent);
        let key = Key::new(1.into(), 70);
        guest.put(pool, &key, &page(1)).unwrap();
        let putter = guest.clone();
        let put = thread::spawn(move || {
            putter.put(pool, &key, &page(2)).unwrap();
            putter.put(pool, &key, &page(3)).unwrap();
        });
        let keeper = Arc::clone(&store);
        let keep = thread::spawn(move || {
            keeper.maintain(Budget::at_once());
        });
        let mut got = [0; PAGE_SIZE];
        let mut last = 1;
        for _ in 0..3 {
            assert!(guest.get(pool, &key, &mut got).unwrap());
            assert!((last..=3).contains(&value(&got)), "an older page came back");
            last = value(&got);
        }
        put.join().unwrap();
        keep.join().unwrap();
        assert!(guest.get(pool, &key, &mut got).unwrap());
        assert_eq!(value(&got), 3);
        guest.close();
        settle(&store);
        assert_eq!(store.stats().raw_pages + store.stats().compressed_pages, 0);
    });
}

#[test]
fn arena_frames_are_handed_out_once_and_come_back() {
    explore(|| {
        let store = store(1);
        let (guest, pool) = guest(&store, PoolKind::Persistent);
        let before = store.stats().used_bytes;
        let threads: Vec<_> = (0..3u64)
            .map(|n| {
                let guest = guest.clone();
                thread::spawn(move || {
                    let mut got = [0; PAGE_SIZE];
                    for round in 0..4 {
                        let key = Key::new(n.into(), round);
                        guest.put(pool, &key, &page(n as u8)).unwrap();
                        assert!(guest.get(pool, &key, &mut got).unwrap());
                        assert_eq!(value(&got), n as u8);
                        assert_eq!(guest.flush_page(pool, &key), Ok(1));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(store.stats().used_bytes, before);
    });
}

#[test]
fn eviction_takes_whole_pages_while_they_are_got_and_flushed() {
    explore(|| {
        let store = store(2);
        let (guest, pool) = guest(&store, PoolKind::Ephemeral);
        for n in 0..4 {
            guest.put(pool, &Key::new(1.into(), n), &page(n as u8)).unwrap();
        }
        let (shrinker, flusher) = (guest.clone(), guest.clone());
        let shrink = thread::spawn(move || shrinker.shrink(2));
        let flush = thread::spawn(move || flusher.flush_page(pool, &Key::new(1.into(), 0)).unwrap());
        let mut taken = 0;
        for n in 1..3 {
            let mut got = [0; PAGE_SIZE];
            if guest.get(pool, &Key::new(1.into(), n), &mut got).unwrap() {
                assert_eq!(value(&got), n as u8);
                taken += 1;
            }
        }
        let gone = u64::from(shrink.join().unwrap()) + flush.join().unwrap() + taken;
        assert_eq!(guest.usage().ephemeral_pages, 4 - gone, "every page leaves once");
    });
}

#[test]
fn teardown_leaves_nothing_whoever_still_puts() {
    explore(|| {
        let store = store(2);
        let (guest, pool) = guest(&store, PoolKind::Shared(SharedUuid([1, 1])));
        let (other, others) = self::guest(&store, PoolKind::Shared(SharedUuid([1, 1])));
        let putter = guest.clone();
        let put = thread::spawn(move || {
            for n in 0..3 {
                match putter.put(pool, &Key::new(1.into(), n * 64), &page(7)) {
                    Ok(()) | Err(OpError::Closed | OpError::NoSuchPool) => {}
                    Err(why) => panic!("{why}"),
                }
            }
        });
        let keeper = Arc::clone(&store);
        let keep = thread::spawn(move || {
            keeper.maintain(Budget { pages: 2, ..Budget::at_once() });
        });
        guest.close();
        put.join().unwrap();
        keep.join().unwrap();
        other.destroy_pool(others).unwrap();
        other.close();
        settle(&store);
        let stats = store.stats();
        assert_eq!((stats.clients, stats.pools, stats.ephemeral_pages), (0, 0, 0));
        assert_eq!(stats.raw_pages + stats.compressed_pages, 0);
    });
}
