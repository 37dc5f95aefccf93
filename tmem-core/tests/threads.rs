//! Many threads on few keys: some order of their operations must explain every answer, key by key.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

#[path = "history/mod.rs"]
mod history;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use history::{Act, Event, linearizable};
use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, OpError, PAGE_SIZE, Page, PoolId, PoolKind, Store, StoreConfig,
};

/// Keys that threads fight for: two in one chunk, one in another, one in another object.
const KEYS: [(u64, u32); 4] = [(1, 0), (1, 1), (1, 70), (2, 0)];

/// A page that carries its value in every word, in a form that compresses or (odd) is one word.
fn page(value: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    let step = 1 - value % 2;
    page.chunks_exact_mut(8)
        .enumerate()
        .for_each(|(n, w)| w.copy_from_slice(&(value << 8 | (n as u64 / 16 * step) & 0xff).to_le_bytes()));
    page
}

/// The value of a page; torn pages have none.
fn value(got: &Page) -> u64 {
    let value = u64::from_le_bytes(*got.first_chunk().unwrap()) >> 8;
    assert!(*got == page(value), "a page of two puts");
    value
}

/// A thread's random numbers (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

/// One random operation on a key, and what it did. `None` when the answer says nothing about the key.
fn operate(guest: &Client, pool: PoolId, key: &Key, exclusive: bool, fresh: u64, random: &mut Random) -> Act {
    let mut buffer = [0; PAGE_SIZE];
    match random.below(16) {
        0..6 => match guest.put(pool, key, &page(fresh)) {
            Ok(()) => Act::Put(fresh),
            Err(OpError::Frozen | OpError::NoMemory) => Act::Clear,
            Err(why) => panic!("{why}"),
        },
        6..11 => {
            let seen = if guest.get(pool, key, &mut buffer).unwrap() { value(&buffer) } else { 0 };
            if exclusive { Act::Take(seen) } else { Act::Get(seen) }
        }
        11..13 => {
            buffer = page(fresh);
            match guest.xchg(pool, key, &mut buffer).unwrap() {
                true => Act::Swap(value(&buffer), fresh),
                false => Act::Swap(0, fresh),
            }
        }
        13 => Act::Flush(guest.flush_page(pool, key).unwrap() == 1),
        14 => Act::Flush(guest.flush_range(pool, key.object, key.index, 1, u32::MAX).unwrap().pages == 1),
        _ => match guest.write(pool, key, tmem_core::PageRange::FULL, &page(fresh)) {
            Ok(()) => Act::Put(fresh),
            Err(why) => panic!("{why}"),
        },
    }
}

fn race(kind: PoolKind, threads: u64, operations: u64) {
    let config = StoreConfig {
        capacity_bytes: 8 << 20,
        codec: Codec::Lz4,
        shards: 4,
        verify_every_read: true,
        ..Default::default()
    };
    let store = Store::new(config).unwrap();
    let guest = store.add_client(ClientConfig::default()).unwrap();
    let pool = guest.new_pool(kind).unwrap();
    let clock = AtomicU64::new(1);
    let fresh = AtomicU64::new(1);
    let over = AtomicBool::new(false);
    let start = Barrier::new(threads as usize);
    let run = |seed: u64| {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
        let mut events = Vec::new();
        start.wait();
        for _ in 0..operations {
            let n = random.below(KEYS.len() as u64) as usize;
            let key = Key::new(KEYS[n].0.into(), KEYS[n].1);
            let value = fresh.fetch_add(1, Ordering::Relaxed);
            let from = clock.fetch_add(1, Ordering::SeqCst);
            let act = operate(&guest, pool, &key, kind == PoolKind::Ephemeral, value, &mut random);
            let to = clock.fetch_add(1, Ordering::SeqCst);
            events.push((n, Event { from, to, act }));
        }
        events
    };
    let events: Vec<_> = thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                store.maintain(Budget { pages: 8, ..Budget::at_once() });
                thread::yield_now();
            }
        });
        let workers: Vec<_> = (1..=threads).map(|seed| scope.spawn(move || run(seed))).collect();
        let events: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::Relaxed);
        keeper.join().unwrap();
        events.into_iter().flat_map(Result::unwrap).collect()
    });
    for (n, name) in KEYS.iter().enumerate() {
        let events: Vec<Event> =
            events.iter().filter(|(key, _)| *key == n).map(|(_, event)| *event).collect();
        assert!(linearizable(&events), "no order explains what happened to key {name:?}");
    }
}

#[test]
fn operations_on_a_persistent_key_are_linearizable() {
    (0..8).for_each(|_| race(PoolKind::Persistent, 4, 2000));
}

#[test]
fn operations_on_an_ephemeral_key_are_linearizable() {
    (0..8).for_each(|_| race(PoolKind::Ephemeral, 4, 2000));
}

/// 64 threads of four clients on two processors, with pools and clients coming and going under them.
#[test]
fn sixty_four_threads_survive_pools_and_clients_that_come_and_go() {
    let config = StoreConfig {
        capacity_bytes: 8 << 20,
        codec: Codec::Lz4,
        verify_every_read: true,
        shards: 8,
        ..Default::default()
    };
    let store = Store::new(config).unwrap();
    let uuid = tmem_core::SharedUuid([1, 1]);
    let add = |n: u64| {
        let cap_bytes = if n.is_multiple_of(2) { u64::MAX } else { 1 << 20 };
        store.add_client(ClientConfig { cap_bytes, shared: vec![uuid], ..Default::default() }).unwrap()
    };
    let clients: Vec<_> = (0..4).map(add).collect();
    let work = |seed: u64| {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
        let guest = clients[seed as usize % 4].clone();
        let mut buffer = [0; PAGE_SIZE];
        for n in 0..600 {
            let pool = PoolId::new(random.below(4) as u32);
            let key = Key::new((random.below(6)).into(), random.below(200) as u32);
            match random.below(64) {
                0 => drop(guest.new_pool(PoolKind::Persistent)),
                1 => drop(guest.new_pool(PoolKind::Ephemeral)),
                2 => drop(guest.new_pool(PoolKind::Shared(uuid))),
                3 => drop(guest.destroy_pool(pool)),
                4 => drop(guest.flush_object(pool, key.object, u32::MAX)),
                5 => {
                    store.maintain(Budget { pages: 16, ..Budget::at_once() });
                }
                6 if seed.is_multiple_of(8) => add(n).close(),
                7..40 => drop(guest.put(pool, &key, &page(key.object.0[0] << 9 | u64::from(key.index)))),
                _ => {
                    if guest.get(pool, &key, &mut buffer) == Ok(true) {
                        assert_eq!(value(&buffer), key.object.0[0] << 9 | u64::from(key.index));
                    }
                }
            }
        }
    };
    thread::scope(|scope| (0..64).for_each(|seed| drop(scope.spawn(move || work(seed)))));
    for client in &clients {
        let usage = client.usage();
        assert!(usage.bytes <= usage.cap_bytes && usage.metadata_bytes <= usage.bytes, "{usage:?}");
        client.close();
    }
    while store.maintain(Budget::at_once()).more {}
    let stats = store.stats();
    assert_eq!((stats.raw_pages, stats.compressed_pages, stats.same_pages, stats.clients), (0, 0, 0, 0));
    let _ = Arc::clone(&store);
}
