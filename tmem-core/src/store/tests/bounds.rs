//! The work that is done under one lock and in one call, counted in chunks, names and clients that are touched.

use super::*;
use crate::steps::{self, Steps};
use crate::{Budget, Client, Key, Lending, ObjectId, OpError, PoolId, PoolKind, SharedUuid};

/// Most that is touched under one lock.
const A_LOCK: u64 = 256;
/// Most that is touched by a put that is refused: looks for pages to compress, a few times over.
const A_REFUSAL: u64 = 2500;
/// Most that is touched in one call of a guest.
const A_CALL: u64 = 4096;

fn store(mib: u64, shards: usize) -> Arc<Store> {
    let capacity_bytes = mib << 20;
    Store::new(StoreConfig { capacity_bytes, shards, codec: crate::Codec::Lz4, ..Default::default() })
        .unwrap()
}

fn guest(store: &Arc<Store>, kind: PoolKind) -> (Client, PoolId) {
    let shared = vec![SharedUuid([1, 2])];
    let guest = store.add_client(ClientConfig { shared, ..Default::default() }).unwrap();
    let pool = guest.new_pool(kind).unwrap();
    (guest, pool)
}

/// The largest counts of many calls.
#[derive(Default)]
struct Most {
    lock: u64,
    call: u64,
}

impl Most {
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (done, Steps { all, most, .. }) = steps::count(work);
        self.lock = self.lock.max(most);
        self.call = self.call.max(all);
        done
    }

    #[track_caller]
    fn check(&self) {
        assert!(self.lock <= A_LOCK, "{} touched under one lock", self.lock);
        assert!(self.call <= A_CALL, "{} touched in one call", self.call);
    }
}

const KINDS: [PoolKind; 3] =
    [PoolKind::Persistent, PoolKind::Ephemeral, PoolKind::Shared(SharedUuid([1, 2]))];

#[test]
fn one_call_of_flush_object_and_flush_range_is_bounded_and_the_next_goes_on() {
    for kind in KINDS {
        let store = store(64, 4);
        let (guest, pool) = guest(&store, kind);
        let indexes = || (0..30_000u32).map(|n| n * 4096);
        let object = ObjectId::from(1);
        for range in [false, true] {
            indexes().for_each(|index| guest.put(pool, &Key::new(object, index), &[7; PAGE_SIZE]).unwrap());
            let (mut most, mut pages, mut calls) = (Most::default(), 0, 0);
            loop {
                let flushed = most.of(|| match range {
                    false => guest.flush_object(pool, object, 4096),
                    true => guest.flush_range(pool, object, 0, 1 << 32, 4096),
                });
                let flushed = flushed.unwrap();
                (pages, calls) = (pages + flushed.pages, calls + 1);
                if !flushed.more {
                    break;
                }
            }
            assert_eq!(
                (pages, guest.get(pool, &Key::new(object, 4096), &mut [0; PAGE_SIZE])),
                (30_000, Ok(false))
            );
            assert!(calls >= 8, "{calls}");
            // A chunk is looked for, unlinked from neighbours and reaped with what is above it.
            assert!(most.lock <= A_LOCK && most.call <= 8 * A_CALL, "{} {}", most.lock, most.call);
            assert_eq!(guest.usage().bytes, store.pool_bytes(), "nothing is left of the object");
        }
    }
}

#[test]
fn nothing_is_held_under_a_lock_while_many_objects_come_and_go() {
    for kind in KINDS {
        let store = store(64, 1);
        let (guest, pool) = guest(&store, kind);
        let mut most = Most::default();
        for n in 0..60_000u64 {
            let key = Key::new((n / 2).into(), (n % 2) as u32 * 64);
            most.of(|| guest.put(pool, &key, &[7; PAGE_SIZE])).unwrap();
        }
        for n in 0..20_000u64 {
            let key = Key::new((n / 2).into(), (n % 2) as u32 * 64);
            assert_eq!(most.of(|| guest.flush_page(pool, &key)), Ok(1));
        }
        guest.destroy_pool(pool).unwrap();
        while most.of(|| store.maintain(Budget::default())).more {}
        most.check();
        assert_eq!(store.stats().used_bytes, 0);
    }
}

#[test]
fn a_refused_put_takes_the_same_steps_in_a_store_of_any_size() {
    let refusal = |mib| {
        let store = store(mib, 4);
        let (guest, pool) = guest(&store, PoolKind::Persistent);
        let mut noise = crate::store::tests::page(1);
        let mut state = 1u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut n = 0;
        let mut put = || {
            noise.as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = random().to_le_bytes());
            n += 1;
            guest.put(pool, &Key::new(1.into(), n), &noise)
        };
        while put().is_ok() {}
        let mut most = Most::default();
        // A refusal may compress a page, so that one of the next puts finds room.
        let refused = (0..100).filter(|_| most.of(&mut put) == Err(OpError::NoMemory)).count();
        assert!(refused > 50, "{refused}");
        most.check();
        most.call
    };
    for mib in [8, 32, 96] {
        let steps = refusal(mib);
        assert!(steps <= A_REFUSAL, "{steps} steps in {mib} MiB");
    }
}

#[test]
fn puts_into_a_full_store_of_a_thousand_clients_take_bounded_steps() {
    let config = StoreConfig {
        capacity_bytes: 64 << 20,
        shards: 4,
        lending: Lending::Persistent,
        ..Default::default()
    };
    let store = Store::new(config).unwrap();
    let guests: Vec<_> = (0..1000).map(|_| guest(&store, PoolKind::Ephemeral)).collect();
    let mut most = Most::default();
    for n in 0..40_000u64 {
        let (guest, pool) = &guests[(n % 1000) as usize];
        most.of(|| guest.put(*pool, &Key::new((n / 64000).into(), (n / 1000) as u32), &page(n))).unwrap();
    }
    assert!(store.stats().ephemeral_pages < 40_000);
    most.check();
}

#[test]
fn a_client_that_leaves_a_shared_pool_is_forgotten_in_bounded_steps() {
    let store = store(64, 2);
    let kind = KINDS[2];
    let ((one, its), (two, others)) = (guest(&store, kind), guest(&store, kind));
    for n in 0..20_000u64 {
        let key = |place| Key::new((n / 10).into(), (n % 10) as u32 * 64 + place);
        one.put(its, &key(0), &[7; PAGE_SIZE]).unwrap();
        two.put(others, &key(1), &[7; PAGE_SIZE]).unwrap();
    }
    one.close();
    let mut most = Most::default();
    while most.of(|| store.maintain(Budget::default())).more {}
    most.check();
    assert_eq!((store.stats().ephemeral_pages, two.usage().ephemeral_pages), (20_000, 20_000));
}
