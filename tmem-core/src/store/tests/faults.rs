//! Every step that can fail, made to fail: the page store and the books say no at random, and the rules still hold.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use super::super::release::Job;
use super::*;
use crate::LivePage;
use crate::account::Account;
use crate::pages::{Damaged, Fetched, Held, NoRoom, Packing, Record, Stored};
use crate::{Budget, Client, Key, OpError, Page, PageRange, PoolId, PoolKind};

/// Says no once in so many calls; 0 is never.
#[derive(Default)]
struct Fault {
    one_in: AtomicU32,
    state: AtomicU32,
}

impl Fault {
    fn set(&self, one_in: u32) {
        self.one_in.store(one_in, Ordering::Relaxed);
    }

    fn strikes(&self) -> bool {
        let one_in = self.one_in.load(Ordering::Relaxed);
        // A linear congruence (Numerical Recipes), so that a run repeats itself.
        let next = |s: u32| Some(s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
        let state = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap();
        one_in != 0 && (state >> 8).is_multiple_of(one_in)
    }
}

#[derive(Default)]
struct Faults {
    create: Fault,
    pack: Fault,
    finish: Fault,
    grant: Fault,
    grant_kept: Fault,
    frame: Fault,
    /// The next page that is fetched has a flipped bit.
    damage: AtomicBool,
    store: OnceLock<Weak<Store>>,
    /// What another thread does whenever a page is created and no shard is locked.
    rival: OnceLock<Box<dyn Fn() + Send + Sync>>,
    rival_is_at_it: AtomicBool,
    no_room_under_locks: AtomicBool,
}

impl Faults {
    /// Whether no shard is locked. These tests have one thread each.
    fn unlocked(&self) -> bool {
        let store = self.store.get().and_then(Weak::upgrade);
        store.is_none_or(|store| store.shards.iter().all(|shard| shard.try_lock().is_some()))
    }

    fn let_rival_in(&self) {
        if let Some(rival) = self.rival.get()
            && self.unlocked()
            && !self.rival_is_at_it.swap(true, Ordering::Relaxed)
        {
            rival();
            self.rival_is_at_it.store(false, Ordering::Relaxed);
        }
    }
}

struct FaultyPages(ArenaPages, Arc<Faults>);

impl PageStore for FaultyPages {
    fn create(&self, page: LivePage<'_>) -> Result<Stored, NoRoom> {
        self.1.let_rival_in();
        if self.1.no_room_under_locks.load(Ordering::Relaxed) && !self.1.unlocked() {
            return Err(NoRoom);
        }
        if self.1.create.strikes() { Err(NoRoom) } else { self.0.create(page) }
    }

    fn pack(&self, page: &Page, packing: Packing) -> Result<Option<Stored>, NoRoom> {
        assert!(self.1.unlocked(), "a page is compressed under a lock");
        if self.1.pack.strikes() { Err(NoRoom) } else { self.0.pack(page, packing) }
    }

    fn fetch(&self, stored: &Stored, page: &mut Page) -> Fetched {
        if self.1.damage.swap(false, Ordering::Relaxed) {
            self.0.damage(stored);
        }
        self.0.fetch(stored, page)
    }

    fn finish(&self, fetched: Fetched, page: &mut Page) -> Result<(), Damaged> {
        self.0.finish(fetched, page)?;
        if self.1.finish.strikes() { Err(Damaged) } else { Ok(()) }
    }

    fn free(&self, stored: Stored) {
        assert!(self.1.unlocked(), "a page is freed under a lock");
        self.0.free(stored);
    }

    fn held(&self) -> Held {
        self.0.held()
    }

    fn sparse(&self, one_in: u32) -> Option<u32> {
        self.0.sparse(one_in)
    }

    fn record(&self, segment: u32, last: Option<&Record>) -> Option<Record> {
        self.0.record(segment, last)
    }

    fn relocate(&self, record: &Record, page: &mut Page) -> Option<u32> {
        if self.1.pack.strikes() { None } else { self.0.relocate(record, page) }
    }

    fn leave(&self, segment: u32) {
        self.0.leave(segment);
    }
}

struct FaultyShares(Arc<Shares>, Arc<Faults>);

impl Grants for FaultyShares {
    fn grant(&self, account: &Account, need: u64) -> u64 {
        if self.1.grant.strikes() { 0 } else { self.0.grant(account, need) }
    }

    fn give_back(&self, account: &Account, bytes: u64) {
        self.0.give_back(account, bytes);
    }

    fn grant_kept(&self, account: &Account, need: u64) -> u64 {
        if self.1.grant_kept.strikes() { 0 } else { self.0.grant_kept(account, need) }
    }

    fn give_back_kept(&self, account: &Account, bytes: u64) {
        self.0.give_back_kept(account, bytes);
    }

    fn idle(&self) -> u64 {
        self.0.idle()
    }

    fn frame(&self) -> Option<u32> {
        if self.1.frame.strikes() { None } else { self.0.frame() }
    }
}

fn faulty() -> (Arc<Store>, Client, PoolId, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let (for_pages, for_shares) = (Arc::clone(&faults), Arc::clone(&faults));
    let config =
        StoreConfig { capacity_bytes: 8 << 20, shards: 4, verify_every_read: true, ..Default::default() };
    let store = Store::with_parts(
        config,
        |pages| Box::new(FaultyPages(pages, for_pages)),
        |shares| Arc::new(FaultyShares(shares, for_shares)),
    );
    let store = store.unwrap();
    faults.store.set(Arc::downgrade(&store)).unwrap();
    let guest = store.add_client(ClientConfig::default()).unwrap();
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    (store, guest, pool, faults)
}

fn nothing_is_left(store: &Store, guest: &Client) {
    guest.close();
    settle(store);
    let stats = store.stats();
    assert_eq!((stats.raw_pages, stats.compressed_pages, stats.same_pages), (0, 0, 0));
    assert!(store.shards.iter().all(|shard| shard.lock().chunk_count() == 0), "empty chunks stay");
}

/// Puts, writes and exchanges on a few keys under a fault, checked against what each answer promises.
fn storm(set: impl Fn(&Faults, u32)) {
    for one_in in [1, 2, 3, 7] {
        let (store, guest, pool, faults) = faulty();
        let mut held = std::collections::BTreeMap::new();
        for n in 0..3000u64 {
            let key = Key::new((n % 5).into(), (n * 7 % 130) as u32);
            let new = page(n);
            set(&faults, one_in);
            match n % 4 {
                0 | 1 => match guest.put(pool, &key, &new) {
                    Ok(()) => drop(held.insert(key, new)),
                    Err(why) => {
                        assert_eq!(why, OpError::NoMemory);
                        held.remove(&key);
                    }
                },
                2 => match guest.write(pool, &key, PageRange::FULL, &new) {
                    Ok(()) => drop(held.insert(key, new)),
                    Err(_) => drop(held.remove(&key)),
                },
                _ => {
                    let mut mine = new;
                    match guest.xchg(pool, &key, &mut mine) {
                        Ok(found) => {
                            assert_eq!(held.insert(key, new), found.then_some(mine));
                        }
                        Err(_) => assert_eq!(mine, new, "a refused exchange leaves the buffer"),
                    }
                }
            }
            if n % 50 == 0 {
                store.maintain(Budget { pages: 20, ..Budget::at_once() });
            }
            set(&faults, 0);
            let mut got = [0; PAGE_SIZE];
            let found = guest.get(pool, &key, &mut got).unwrap();
            assert_eq!(found.then_some(got), held.get(&key).copied(), "operation {n}, one fault in {one_in}");
        }
        assert_eq!(guest.usage().persistent_pages, held.len() as u64);
        nothing_is_left(&store, &guest);
    }
}

#[test]
fn a_page_store_without_room_leaves_no_old_page() {
    storm(|faults, one_in| faults.create.set(one_in));
}

#[test]
fn shares_that_refuse_leave_no_old_page() {
    storm(|faults, one_in| faults.grant.set(one_in));
    storm(|faults, one_in| faults.grant_kept.set(one_in));
}

#[test]
fn an_index_without_memory_leaves_no_old_page() {
    storm(|faults, one_in| faults.frame.set(one_in));
}

#[test]
fn a_codec_that_fails_loses_nothing() {
    storm(|faults, one_in| faults.pack.set(one_in));
}

#[test]
fn all_at_once() {
    storm(|faults, one_in| {
        for fault in [&faults.create, &faults.pack, &faults.grant, &faults.grant_kept, &faults.frame] {
            fault.set(one_in * 2);
        }
    });
}

#[test]
fn damage_is_told_and_never_returned_as_data() {
    let (store, guest, pool, faults) = faulty();
    let key = Key::new(1.into(), 1);
    guest.put(pool, &key, &page(1)).unwrap();
    faults.finish.set(1);
    assert_eq!(guest.get(pool, &key, &mut [0; PAGE_SIZE]), Err(OpError::Corrupt));
    let mut mine = page(2);
    assert_eq!(guest.xchg(pool, &key, &mut mine), Err(OpError::Corrupt));
    assert_eq!(mine, page(2));
    faults.finish.set(0);
    assert_eq!(guest.get(pool, &key, &mut mine), Ok(true), "neither a get nor an exchange dropped it");
    faults.finish.set(1);
    assert_eq!(guest.write(pool, &key, PageRange::FULL, &page(3)), Err(OpError::Corrupt));
    faults.finish.set(0);
    assert_eq!(guest.get(pool, &key, &mut mine), Ok(false), "a failed write drops the page");
    nothing_is_left(&store, &guest);
}

#[test]
fn a_flipped_bit_in_a_stored_page_is_found() {
    let (store, guest, pool, faults) = faulty();
    let key = Key::new(1.into(), 1);
    for compressed in [false, true] {
        guest.put(pool, &key, &page(1)).unwrap();
        if compressed {
            settle(&store);
        }
        assert_eq!(store.stats().compressed_pages, u64::from(compressed));
        faults.damage.store(true, Ordering::Relaxed);
        let mut got = page(9);
        assert_eq!(guest.get(pool, &key, &mut got), Err(OpError::Corrupt));
        assert_eq!(got, [0; PAGE_SIZE], "damaged bytes are not handed out");
    }
}

#[test]
fn pools_and_clients_are_refused_without_a_trace() {
    let (store, guest, _, faults) = faulty();
    let before = guest.usage();
    faults.grant.set(1);
    assert_eq!(guest.new_pool(PoolKind::Persistent), Err(OpError::NoMemory));
    faults.grant.set(0);
    assert_eq!(guest.usage(), before);
    guest.new_pool(PoolKind::Persistent).unwrap();
    nothing_is_left(&store, &guest);
}

#[test]
fn a_modification_that_always_loses_the_race_is_done_all_the_same() {
    for index in [0, 70] {
        let (store, guest, pool, faults) = faulty();
        let key = Key::new(1.into(), index);
        let other = guest.clone();
        faults.rival.set(Box::new(move || other.put(pool, &key, &page(7)).unwrap())).ok().unwrap();
        guest.write(pool, &key, PageRange::new(8, 8).unwrap(), &[0xee; PAGE_SIZE]).unwrap();
        let mut expected = page(7);
        expected[8..16].fill(0xee);
        let mut got = [0; PAGE_SIZE];
        assert_eq!((guest.get(pool, &key, &mut got), got), (Ok(true), expected));
        let mut mine = page(2);
        assert_eq!((guest.xchg(pool, &key, &mut mine), mine), (Ok(true), page(7)));
        assert_eq!((guest.get(pool, &key, &mut got), got), (Ok(true), page(2)));
        nothing_is_left(&store, &guest);
    }
}

#[test]
fn a_modification_that_loses_every_race_and_then_finds_no_room_is_refused() {
    let (store, guest, pool, faults) = faulty();
    let key = Key::new(1.into(), 70);
    let other = guest.clone();
    faults.rival.set(Box::new(move || other.put(pool, &key, &page(7)).unwrap())).ok().unwrap();
    faults.no_room_under_locks.store(true, Ordering::Relaxed);
    let mut mine = page(2);
    assert_eq!((guest.xchg(pool, &key, &mut mine), mine), (Err(OpError::NoMemory), page(2)));
    let mut got = [0; PAGE_SIZE];
    assert_eq!((guest.get(pool, &key, &mut got), got), (Ok(true), page(7)), "an exchange keeps the page");
    assert_eq!(guest.write(pool, &key, PageRange::FULL, &page(2)), Err(OpError::NoMemory));
    assert_eq!(guest.get(pool, &key, &mut got), Ok(false), "a write drops it");
    nothing_is_left(&store, &guest);
}

#[test]
fn a_member_without_room_drops_anothers_page_by_a_put_and_keeps_it_by_an_exchange() {
    let (store, guest, _, _) = faulty();
    let uuid = crate::SharedUuid([3, 4]);
    let shared = |cap_bytes| ClientConfig { cap_bytes, shared: vec![uuid], ..Default::default() };
    let rich = store.add_client(shared(u64::MAX)).unwrap();
    let poor = store.add_client(shared(4096)).unwrap();
    let (riches, rags) =
        (rich.new_pool(PoolKind::Shared(uuid)).unwrap(), poor.new_pool(PoolKind::Shared(uuid)).unwrap());
    let key = Key::new(1.into(), 1);
    rich.put(riches, &key, &page(1)).unwrap();
    let mut mine = page(2);
    assert_eq!((poor.xchg(rags, &key, &mut mine), mine), (Err(OpError::NoMemory), page(2)));
    let mut got = [0; PAGE_SIZE];
    assert_eq!((rich.get(riches, &key, &mut got), got), (Ok(true), page(1)));
    assert_eq!(poor.put(rags, &key, &page(2)), Err(OpError::NoMemory));
    assert_eq!(rich.get(riches, &key, &mut got), Ok(false));
    // One word costs its metadata only, which changes hands.
    rich.put(riches, &key, &page(1)).unwrap();
    let held = rich.usage();
    poor.put(rags, &key, &[9; PAGE_SIZE]).unwrap();
    assert_eq!((poor.usage().ephemeral_pages, rich.usage().ephemeral_pages), (1, 0));
    assert!(
        rich.usage().bytes <= held.bytes - PAGE_SIZE as u64
            && rich.usage().metadata_bytes < held.metadata_bytes
    );
    rich.close();
    poor.close();
    nothing_is_left(&store, &guest);
}

#[test]
fn a_closed_client_that_waits_for_another_threads_work_asks_for_more() {
    let (store, guest, pool, _) = faulty();
    guest.put(pool, &Key::new(1.into(), 1), &page(1)).unwrap();
    guest.close();
    let drain = store.background.jobs.take().unwrap();
    assert!(matches!(drain, Job::Drain { .. }));
    assert!(store.maintain(Budget::at_once()).more, "its slot is not free yet, and somebody has to free it");
    store.background.jobs.add(drain);
    settle(&store);
    assert!(store.registry.lock().all_clients().next().is_none());
    nothing_is_left(&store, &guest);
}
