//! What the process holds, whatever guests do: the store's size, 32 MiB and 64 KiB a client. And what happens when it gets
//! no more: an answer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, OpError, PAGE_SIZE, Page, PageRange, PoolId, PoolKind,
    SharedUuid, Store, StoreConfig,
};

/// The system's allocator, which counts, and refuses what it is told to.
struct Counting;

static HEAP: AtomicIsize = AtomicIsize::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Allocations of this thread that still succeed; none are refused when it is negative.
    static LEFT: Cell<i64> = const { Cell::new(-1) };
}

fn may() -> bool {
    LEFT.with(|left| {
        let now = left.get();
        if now > 0 {
            left.set(now - 1);
        }
        now != 0
    })
}

// SAFETY: every call goes to the system's allocator as it came, or is refused as an allocator may.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        if !may() {
            return std::ptr::null_mut();
        }
        HEAP.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of alloc, which is this one's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of dealloc, and alloc above is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: what is counted is the whole process's.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const MIB: u64 = 1 << 20;
const UUIDS: u64 = 64;

fn store(mib: u64) -> Arc<Store> {
    Store::new(StoreConfig { capacity_bytes: mib * MIB, codec: Codec::Lz4, ..Default::default() }).unwrap()
}

fn client(store: &Arc<Store>) -> Client {
    let shared = (0..UUIDS).map(|n| SharedUuid([n + 1, 1])).collect();
    store.add_client(ClientConfig { max_pools: 128, shared, ..Default::default() }).unwrap()
}

fn settle(store: &Store) {
    while store.maintain(Budget::at_once()).more {}
}

/// Heap that is in use, in bytes.
fn heap() -> u64 {
    HEAP.load(Ordering::Relaxed).max(0) as u64
}

/// Puts pages of one word until none is taken in a row of a thousand, and tells how many were.
fn fill(client: &Client, pools: &[PoolId], keys: impl Iterator<Item = Key>) -> u64 {
    let (mut stored, mut refused) = (0, 0);
    for (n, key) in keys.enumerate() {
        match client.put(pools[n % pools.len()], &key, &[n as u8; PAGE_SIZE]) {
            Ok(()) => (stored, refused) = (stored + 1, 0),
            Err(why) => {
                assert_eq!(why, OpError::NoMemory);
                refused += 1;
            }
        }
        if refused == 1000 {
            break;
        }
    }
    stored
}

/// Attacks a store, and looks at the heap beside the arena, which is never larger than the store's size: at the end of the
/// attack, and after everything was destroyed.
fn attack(name: &str, clients: u64, work: impl FnOnce(&Arc<Store>) -> Vec<Client>) {
    let _alone = alone();
    let before = heap();
    let store = store(64);
    let held = work(&store);
    let stats = store.stats();
    assert!(stats.used_bytes <= stats.capacity_bytes, "{name}: {stats:?}");
    let beside = heap() - before;
    assert!(beside <= 32 * MIB + clients * (64 << 10), "{name}: {beside} bytes beside a store of 64 MiB");
    drop(held);
    settle(&store);
    let stats = store.stats();
    assert_eq!((stats.used_bytes, stats.metadata_bytes), (0, 0), "{name}: after everything was destroyed");
    let left = heap() - before;
    assert!(left <= 8 * MIB, "{name}: {left} bytes of heap are left");
}

#[test]
fn one_page_at_index_64_of_each_of_many_objects_stays_in_the_stores_size() {
    for kind in [PoolKind::Persistent, PoolKind::Ephemeral, PoolKind::Shared(SharedUuid([1, 1]))] {
        attack("sparse objects", 1, |store| {
            let guest = client(store);
            let pool = guest.new_pool(kind).unwrap();
            let stored = fill(&guest, &[pool], (0..600_000).map(|n| Key::new(n.into(), 64)));
            assert!(stored > 100_000, "{stored}");
            vec![guest]
        });
    }
}

#[test]
fn chunks_that_are_far_apart_stay_in_the_stores_size() {
    attack("far apart", 1, |store| {
        let guest = client(store);
        let pool = guest.new_pool(PoolKind::Persistent).unwrap();
        fill(&guest, &[pool], (0..400_000u32).map(|n| Key::new(1.into(), n.wrapping_mul(0x9e37_79b1))));
        vec![guest]
    });
}

#[test]
fn sixty_four_shared_pools_of_a_hundred_clients_stay_in_the_stores_size() {
    attack("shared pools", 100, |store| {
        let guests: Vec<Client> = (0..100).map(|_| client(store)).collect();
        for guest in &guests {
            let pool = |n| guest.new_pool(PoolKind::Shared(SharedUuid([n + 1, 1]))).unwrap();
            let pools: Vec<PoolId> = (0..UUIDS).map(pool).collect();
            fill(guest, &pools, (0..4000).map(|n| Key::new((n / 64).into(), n as u32)));
        }
        guests
    });
}

#[test]
fn a_thousand_clients_stay_in_the_stores_size() {
    attack("clients", 1000, |store| {
        let guests: Vec<Client> = (0..1000).map(|_| client(store)).collect();
        for round in 0..4 {
            for guest in &guests {
                let pool = guest.new_pool(PoolKind::Ephemeral).unwrap();
                for n in 0..20u32 {
                    let mut page: Page = [round; PAGE_SIZE];
                    page[..4].copy_from_slice(&n.to_le_bytes());
                    let _ = guest.put(pool, &Key::new(1.into(), n * 64), &page);
                }
            }
        }
        guests
    });
}

#[test]
fn a_process_that_gets_no_more_memory_answers_and_loses_nothing() {
    let _alone = alone();
    let store = store(8);
    let guests: Vec<Client> = (0..4).map(|_| client(&store)).collect();
    // The thread's own buffers, and the lock's, are made by the first operations.
    let warm = guests[0].new_pool(PoolKind::Persistent).unwrap();
    fill(&guests[0], &[warm], (0..2000).map(|n| Key::new(n.into(), 9)));
    settle(&store);
    let mut refusals = 0;
    for left in 0..40 {
        let mut model = std::collections::BTreeMap::new();
        let guest = &guests[1];
        LEFT.set(left);
        let pool = guest.new_pool(PoolKind::Persistent);
        LEFT.set(-1);
        let Ok(pool) = pool else {
            refusals += 1;
            continue;
        };
        for n in 0..3000u64 {
            let key = Key::new((n % 700).into(), (n * 64) as u32);
            let page = [n as u8; PAGE_SIZE];
            LEFT.set(left.min(3));
            let put = match n % 3 {
                0 => guest.write(pool, &key, PageRange::FULL, &page),
                _ => guest.put(pool, &key, &page),
            };
            let flushed = guest.flush_range(pool, (n % 600).into(), (n * 32) as u32, 64, 64);
            if n % 100 == 0 {
                store.maintain(Budget::at_once());
            }
            LEFT.set(-1);
            if put.is_ok() {
                model.insert(key, page);
            } else {
                model.remove(&key);
            }
            assert!(!flushed.unwrap().more);
            let range = n * 32..n * 32 + 64;
            model.retain(|key, _| key.object != (n % 600).into() || !range.contains(&key.index.into()));
        }
        for (key, page) in &model {
            let mut got = [0; PAGE_SIZE];
            assert_eq!((guest.get(pool, key, &mut got), got), (Ok(true), *page));
        }
        assert_eq!(guest.usage().persistent_pages, model.len() as u64);
        LEFT.set(0);
        guest.destroy_pool(pool).unwrap();
        settle(&store);
        LEFT.set(-1);
    }
    assert!(refusals < 40);
}

#[test]
fn a_million_operations_in_a_steady_state_allocate_nothing() {
    let _alone = alone();
    let store = store(64);
    let guest = client(&store);
    let pools = [PoolKind::Persistent, PoolKind::Ephemeral].map(|kind| guest.new_pool(kind).unwrap());
    let mut page: Page = [3; PAGE_SIZE];
    let mut round = |count: u32| {
        for n in 0..count {
            let key = Key::new(u64::from(n % 1000 / 100).into(), n.wrapping_mul(0x9e37_79b1) % 3000);
            let pool = pools[(n / 7 % 2) as usize];
            page[..4].copy_from_slice(&n.to_le_bytes());
            match n % 3 {
                0 => guest.put(pool, &key, &page).unwrap(),
                1 => drop(guest.get(pool, &key, &mut page).unwrap()),
                _ => drop(guest.flush_page(pool, &key).unwrap()),
            }
        }
    };
    round(1_000_000);
    let before = CALLS.load(Ordering::Relaxed);
    round(1_000_000);
    assert_eq!(CALLS.load(Ordering::Relaxed) - before, 0);
}
