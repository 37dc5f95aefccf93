//! Random sequences of every operation against a small sequential model.
//!
//! A persistent page must be what was put last; an ephemeral one that, or absent. A client at its cap may be refused, and
//! then the key must be empty (an exchange: unchanged).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

#[path = "model/mod.rs"]
mod model;

use std::sync::Arc;

use model::{Kind, Model, Place};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tmem_core::{
    Budget, Client, ClientConfig, Codec, Flushed, Key, OpError, PAGE_SIZE, Page, PageRange, PoolId, PoolKind,
    SharedUuid, Store, StoreConfig,
};

const UUID: SharedUuid = SharedUuid([7, 8]);
const CLIENTS: usize = 3;
const POOLS: usize = 4;
/// The last client's cap, in bytes: a dozen pages.
const SMALL_CAP: u64 = 64 << 10;

#[derive(Clone, Debug)]
enum Op {
    NewPool(usize, Kind),
    DestroyPool(usize, usize),
    Put(usize, usize, Place, u8),
    Get(usize, usize, Place),
    Read(usize, usize, Place),
    Write(usize, usize, Place, u8, u8),
    Xchg(usize, usize, Place, u8),
    FlushPage(usize, usize, Place),
    FlushObject(usize, usize, u64),
    FlushRange(usize, usize, u64, u32, u64),
    Freeze(usize, bool),
    Revoke(usize),
    Allow(usize),
    Close(usize),
    Maintain(u32),
}

/// A page whose every byte tells its value: odd values are one repeated word, others compress.
fn page(value: u8) -> Page {
    let mut page = [value; PAGE_SIZE];
    if value.is_multiple_of(2) {
        page.iter_mut()
            .skip(1)
            .step_by(5)
            .enumerate()
            .for_each(|(n, b)| *b = value.wrapping_add((n / 9) as u8));
    }
    page
}

/// The first `half` * 16 bytes of a page.
fn range(half: u8) -> PageRange {
    PageRange::new(0, usize::from(half) * 16).unwrap()
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Model> {
        let client = model::Client { shared_allowed: true, pools: vec![None; POOLS], ..Default::default() };
        Just(Model { clients: vec![client; CLIENTS], ..Default::default() }).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Op> {
        let client = 0..CLIENTS;
        let pool = 0..POOLS;
        let index = prop_oneof![4 => 0..4u32, 2 => 62..66u32, 1 => Just(1 << 16), 1 => Just(u32::MAX)];
        let place = (0..3u64, index.clone());
        let at = (client.clone(), pool, place);
        let kind = prop_oneof![Just(Kind::Persistent), Just(Kind::Ephemeral), Just(Kind::Shared)];
        prop_oneof![
            4 => (client.clone(), kind).prop_map(|(c, k)| Op::NewPool(c, k)),
            1 => at.clone().prop_map(|(c, p, _)| Op::DestroyPool(c, p)),
            24 => (at.clone(), any::<u8>()).prop_map(|((c, p, k), v)| Op::Put(c, p, k, v)),
            12 => at.clone().prop_map(|(c, p, k)| Op::Get(c, p, k)),
            6 => at.clone().prop_map(|(c, p, k)| Op::Read(c, p, k)),
            6 => (at.clone(), any::<u8>(), any::<u8>()).prop_map(|((c, p, k), v, h)| Op::Write(c, p, k, v, h)),
            6 => (at.clone(), any::<u8>()).prop_map(|((c, p, k), v)| Op::Xchg(c, p, k, v)),
            4 => at.clone().prop_map(|(c, p, k)| Op::FlushPage(c, p, k)),
            2 => at.clone().prop_map(|(c, p, k)| Op::FlushObject(c, p, k.0)),
            2 => (at, 0..200u64).prop_map(|((c, p, k), n)| Op::FlushRange(c, p, k.0, k.1, n)),
            2 => (client.clone(), any::<bool>()).prop_map(|(c, f)| Op::Freeze(c, f)),
            1 => client.clone().prop_map(Op::Revoke),
            1 => client.clone().prop_map(Op::Allow),
            1 => client.prop_map(Op::Close),
            4 => (1..50u32).prop_map(Op::Maintain),
        ]
        .boxed()
    }

    /// The model is brought up to date where the store's answer is seen; see `Tested::apply`.
    fn apply(state: Model, _: &Op) -> Model {
        state
    }
}

/// The store under test, beside the model that its answers are compared with.
struct Tested {
    store: Arc<Store>,
    clients: Vec<Client>,
    model: Model,
}

/// Flushes in steps until there is no more, and tells how many pages went.
fn in_steps(mut step: impl FnMut() -> Result<Flushed, OpError>) -> Result<u64, OpError> {
    let mut pages = 0;
    loop {
        let flushed = step()?;
        pages += flushed.pages;
        if !flushed.more {
            return Ok(pages);
        }
    }
}

fn key(place: Place) -> Key {
    Key::new(place.0.into(), place.1)
}

impl Tested {
    fn new() -> Self {
        let config = StoreConfig {
            capacity_bytes: 2 << 20,
            codec: Codec::Lz4,
            shards: 4,
            verify_every_read: true,
            ..Default::default()
        };
        let store = Store::new(config).unwrap();
        let caps = [u64::MAX, u64::MAX, SMALL_CAP];
        let clients = caps.iter().map(|cap| Self::client(&store, *cap)).collect();
        let client = model::Client { shared_allowed: true, pools: vec![None; POOLS], ..Default::default() };
        let model = Model { clients: vec![client; CLIENTS], ..Default::default() };
        Self { store, clients, model }
    }

    fn client(store: &Arc<Store>, cap_bytes: u64) -> Client {
        let config =
            ClientConfig { cap_bytes, max_pools: POOLS as u32, shared: vec![UUID], ..Default::default() };
        store.add_client(config).unwrap()
    }

    fn wanted(&self, client: usize, id: usize, place: Place) -> Option<Page> {
        let (_, pool) = self.model.pool(client, id)?;
        self.model.pools[pool].pages.get(&place).map(|page| **page)
    }

    fn note(&mut self, client: usize, id: usize, place: Place, new: Option<Page>) {
        let Some((_, pool)) = self.model.pool(client, id) else { return };
        match new {
            Some(new) => self.model.pools[pool].pages.insert(place, Box::new(new)),
            None => self.model.pools[pool].pages.remove(&place),
        };
    }

    /// Compares an answer about a page with the model; an ephemeral page may be gone, and then is.
    fn saw(
        &mut self,
        client: usize,
        id: usize,
        place: Place,
        found: Result<bool, OpError>,
        got: &Page,
    ) -> bool {
        let Some((kind, _)) = self.model.pool(client, id) else {
            assert!(matches!(found, Err(OpError::NoSuchPool | OpError::Closed)), "{found:?}");
            return false;
        };
        let want = self.wanted(client, id, place);
        match found.expect("a page is never damaged") {
            true => assert!(want == Some(*got), "{kind:?} page {place:?} has other content"),
            false if kind == Kind::Persistent => assert_eq!(want, None, "a persistent page was lost"),
            false => self.note(client, id, place, None),
        }
        found.unwrap()
    }

    /// What a put may answer.
    fn stored(&mut self, client: usize, id: usize, place: Place, answer: Result<(), OpError>, new: Page) {
        if self.model.pool(client, id).is_none() {
            assert!(matches!(answer, Err(OpError::NoSuchPool | OpError::Closed)), "{answer:?}");
            return;
        }
        match answer {
            Ok(()) => {
                assert!(!self.model.clients[client].frozen);
                self.note(client, id, place, Some(new));
            }
            Err(OpError::Frozen) => {
                assert!(self.model.clients[client].frozen);
                self.note(client, id, place, None);
            }
            Err(OpError::NoMemory) => {
                assert_eq!(client, CLIENTS - 1, "only the client with a small cap has no room");
                self.note(client, id, place, None);
            }
            other => panic!("{other:?}"),
        }
    }

    fn flushed(
        &mut self,
        client: usize,
        id: usize,
        answer: Result<u64, OpError>,
        hit: impl Fn(&Place) -> bool,
    ) {
        let Some((kind, pool)) = self.model.pool(client, id) else {
            assert!(matches!(answer, Err(OpError::NoSuchPool | OpError::Closed)), "{answer:?}");
            return;
        };
        let gone: Vec<Place> = self.model.pools[pool].pages.keys().filter(|p| hit(p)).copied().collect();
        let count = answer.unwrap();
        match kind {
            Kind::Persistent => assert_eq!(count, gone.len() as u64),
            _ => assert!(count <= gone.len() as u64),
        }
        gone.into_iter().for_each(|place| self.note(client, id, place, None));
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::NewPool(c, kind) => self.new_pool(c, kind),
            Op::DestroyPool(c, p) => {
                let answer = self.clients[c].destroy_pool(PoolId::new(p as u32));
                assert_eq!(answer.is_ok(), self.model.pool(c, p).is_some());
                self.leave(c, p);
            }
            Op::Put(c, p, k, v) => {
                let answer = self.clients[c].put(PoolId::new(p as u32), &key(k), &page(v));
                self.stored(c, p, k, answer, page(v));
            }
            Op::Get(c, p, k) => {
                let mut got = [0; PAGE_SIZE];
                let answer = self.clients[c].get(PoolId::new(p as u32), &key(k), &mut got);
                if self.saw(c, p, k, answer, &got) && self.model.pool(c, p).unwrap().0 == Kind::Ephemeral {
                    self.note(c, p, k, None);
                }
            }
            Op::Read(c, p, k) => {
                let mut got = [0; PAGE_SIZE];
                let answer = self.clients[c].read(PoolId::new(p as u32), &key(k), PageRange::FULL, &mut got);
                self.saw(c, p, k, answer, &got);
            }
            Op::Write(c, p, k, v, half) => {
                // Whether an ephemeral page is still there decides what a write leaves.
                let mut old = [0; PAGE_SIZE];
                let there = self.clients[c].read(PoolId::new(p as u32), &key(k), PageRange::FULL, &mut old);
                let there = self.saw(c, p, k, there, &old);
                let answer = self.clients[c].write(PoolId::new(p as u32), &key(k), range(half), &page(v));
                let mut new = if there { old } else { [0; PAGE_SIZE] };
                range(half).copy(&page(v), &mut new);
                self.stored(c, p, k, answer, new);
            }
            Op::Xchg(c, p, k, v) => {
                let mut mine = page(v);
                match self.clients[c].xchg(PoolId::new(p as u32), &key(k), &mut mine) {
                    Ok(found) => {
                        self.saw(c, p, k, Ok(found), &mine);
                        assert!(found || mine == page(v));
                        self.stored(c, p, k, Ok(()), page(v));
                    }
                    Err(why) => {
                        assert_eq!(mine, page(v), "a refused exchange changes nothing: {why}");
                        let frozen = self.model.clients[c].frozen;
                        let pool = self.model.pool(c, p).is_some();
                        match why {
                            OpError::Frozen => assert!(pool && frozen),
                            OpError::NoMemory => assert!(pool && c == CLIENTS - 1),
                            _ => assert!(!pool, "{why}"),
                        }
                    }
                }
            }
            Op::FlushPage(c, p, k) => {
                let answer = self.clients[c].flush_page(PoolId::new(p as u32), &key(k));
                self.flushed(c, p, answer, |place| *place == k);
            }
            Op::FlushObject(c, p, object) => {
                let client = &self.clients[c];
                let answer = in_steps(|| client.flush_object(PoolId::new(p as u32), object.into(), 1));
                self.flushed(c, p, answer, |place| place.0 == object);
            }
            Op::FlushRange(c, p, object, first, count) => {
                let client = &self.clients[c];
                let pool = PoolId::new(p as u32);
                let answer = in_steps(|| client.flush_range(pool, object.into(), first, count, 1));
                let range = u64::from(first)..u64::from(first) + count;
                self.flushed(c, p, answer, |place| place.0 == object && range.contains(&place.1.into()));
            }
            Op::Freeze(c, frozen) => {
                if frozen {
                    self.clients[c].freeze()
                } else {
                    self.clients[c].thaw()
                }
                self.model.clients[c].frozen = frozen;
            }
            Op::Revoke(c) => {
                self.clients[c].revoke_shared(UUID);
                self.model.clients[c].shared_allowed = false;
                let shared = |m: &Model, p| m.pool(c, p).is_some_and(|(kind, _)| kind == Kind::Shared);
                (0..POOLS)
                    .filter(|p| shared(&self.model, *p))
                    .collect::<Vec<_>>()
                    .iter()
                    .for_each(|p| self.leave(c, *p));
            }
            Op::Allow(c) => {
                self.clients[c].allow_shared(UUID);
                self.model.clients[c].shared_allowed = true;
            }
            Op::Close(c) => {
                self.clients[c].close();
                let mut empty = [0; PAGE_SIZE];
                assert_eq!(
                    self.clients[c].get(PoolId::new(0), &key((0, 0)), &mut empty),
                    Err(OpError::Closed)
                );
                (0..POOLS).for_each(|p| self.leave(c, p));
                self.model.clients[c] =
                    model::Client { shared_allowed: true, pools: vec![None; POOLS], ..Default::default() };
                self.clients[c] =
                    Self::client(&self.store, if c == CLIENTS - 1 { SMALL_CAP } else { u64::MAX });
            }
            Op::Maintain(pages) => {
                self.store.maintain(Budget { pages, at_once: pages % 2 == 0, ..Budget::default() });
            }
        }
    }

    fn new_pool(&mut self, c: usize, kind: Kind) {
        let ask = match kind {
            Kind::Persistent => PoolKind::Persistent,
            Kind::Ephemeral => PoolKind::Ephemeral,
            Kind::Shared => PoolKind::Shared(UUID),
        };
        let free = self.model.clients[c].pools.iter().position(Option::is_none);
        match self.clients[c].new_pool(ask) {
            Ok(id) => {
                assert_eq!(Some(id.get() as usize), free, "the lowest free number");
                assert!(kind != Kind::Shared || self.model.clients[c].shared_allowed);
                let joined = self.model.shared.filter(|_| kind == Kind::Shared);
                let pool = joined.unwrap_or_else(|| {
                    self.model.pools.push(model::Pool::default());
                    self.model.pools.len() - 1
                });
                if kind == Kind::Shared {
                    self.model.shared = Some(pool);
                }
                self.model.clients[c].pools[id.get() as usize] = Some((kind, pool));
            }
            Err(OpError::NotPermitted) => {
                assert!(kind == Kind::Shared && !self.model.clients[c].shared_allowed)
            }
            Err(OpError::NoFreePool) => assert_eq!(free, None),
            Err(OpError::NoMemory) => assert_eq!(c, CLIENTS - 1),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, c: usize, p: usize) {
        self.model.leave(c, p);
    }
}

struct Runner;

impl StateMachineTest for Runner {
    type SystemUnderTest = Tested;
    type Reference = Model;

    fn init_test(_: &Model) -> Tested {
        Tested::new()
    }

    fn apply(mut tested: Tested, _: &Model, op: Op) -> Tested {
        tested.step(&op);
        tested
    }

    fn check_invariants(tested: &Tested, _: &Model) {
        for (n, client) in tested.clients.iter().enumerate() {
            let usage = client.usage();
            assert!(usage.bytes <= usage.cap_bytes, "client {n} is above its cap: {usage:?}");
            assert!(usage.metadata_bytes <= usage.bytes, "client {n}: {usage:?}");
            let persistent = |pool: &(Kind, usize)| pool.0 == Kind::Persistent;
            let pools = tested.model.clients[n].pools.iter().flatten().filter(|p| persistent(p));
            let pages: usize = pools.map(|(_, pool)| tested.model.pools[*pool].pages.len()).sum();
            // Pages of destroyed pools are counted until maintenance released them.
            assert!(usage.persistent_pages >= pages as u64, "client {n} keeps {pages} pages: {usage:?}");
        }
    }

    fn teardown(tested: Tested, _: Model) {
        tested.clients.iter().for_each(Client::close);
        while tested.store.maintain(Budget::at_once()).more {}
        let stats = tested.store.stats();
        let left = [stats.raw_pages, stats.compressed_pages, stats.same_pages, stats.pools.into()];
        assert_eq!(left, [0; 4], "everything is released: {stats:?}");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(sequential 1..200 => Runner);
}
