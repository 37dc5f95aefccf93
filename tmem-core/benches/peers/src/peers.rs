//! The store and its peers, behind three operations.

use std::sync::Arc;

use crate::first_core::{FirstCore, Name};
use tmem_core::{Client, ClientConfig, Codec, Key, PAGE_SIZE, Page, PoolId, PoolKind, Store, StoreConfig};

/// Objects that the store's pages are spread over; the others have one space of names.
const OBJECTS: u64 = 1000;
/// Shards of the maps and caches that let one choose: as many as the store has.
const SHARDS: usize = 64;

/// Pages by name.
pub(crate) trait Peer: Sync {
    fn put(&self, name: u64, page: &Page);
    fn get(&self, name: u64, page: &mut Page) -> bool;
    fn flush(&self, name: u64);
}

/// Makes a peer with room for so many pages.
type Make = fn(u32) -> Box<dyn Peer>;

impl dyn Peer {
    /// All of them, by name.
    pub(crate) const ALL: [(&'static str, Make); 6] = [
        ("tmem-core", |pages| Box::new(Tmem::new(pages))),
        ("first core (C)", |_| Box::new(FirstCore::new(false))),
        ("scc::HashMap", |pages| Box::new(scc::HashMap::<u64, Box<Page>>::with_capacity(pages as usize))),
        ("dashmap", |pages| {
            Box::new(dashmap::DashMap::<u64, Box<Page>>::with_capacity_and_shard_amount(
                pages as usize,
                SHARDS,
            ))
        }),
        ("quick_cache", |pages| Box::new(quick_cache::sync::Cache::<u64, Arc<Page>>::new(pages as usize))),
        ("foyer (memory)", |pages| {
            let cache: foyer::Cache<u64, Box<Page>> =
                foyer::CacheBuilder::new(pages as usize).with_shards(SHARDS).build();
            Box::new(cache)
        }),
    ];
}

struct Tmem {
    guest: Client,
    pool: PoolId,
}

impl Tmem {
    /// With its memory committed, as a host does.
    fn new(pages: u32) -> Self {
        let capacity_bytes = u64::from(pages) * PAGE_SIZE as u64 / 4 * 5 + (64 << 20);
        let config = StoreConfig {
            capacity_bytes,
            committed_bytes: capacity_bytes,
            codec: Codec::Raw,
            ..Default::default()
        };
        let store = Store::new(config).expect("a store of this size fits the machine");
        let guest = store.add_client(ClientConfig::default()).expect("a store has room for a client");
        let pool = guest.new_pool(PoolKind::Persistent).expect("a client may have a pool");
        Self { guest, pool }
    }
}

fn key(name: u64) -> Key {
    Key::new((name % OBJECTS).into(), (name / OBJECTS) as u32)
}

impl Peer for Tmem {
    fn put(&self, name: u64, page: &Page) {
        self.guest.put(self.pool, &key(name), page).expect("the store has room for all pages");
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.guest.get(self.pool, &key(name), page).expect("the pool is there")
    }

    fn flush(&self, name: u64) {
        self.guest.flush_page(self.pool, &key(name)).expect("the pool is there");
    }
}

fn name_of(name: u64) -> Name {
    ([name % OBJECTS, 0, 0], (name / OBJECTS) as u32)
}

impl Peer for FirstCore {
    fn put(&self, name: u64, page: &Page) {
        assert!(self.put(&name_of(name), page), "there is no memory for all pages: give fewer with --pages");
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.get(&name_of(name), page)
    }

    fn flush(&self, name: u64) {
        self.flush(&name_of(name));
    }
}

impl Peer for scc::HashMap<u64, Box<Page>> {
    fn put(&self, name: u64, page: &Page) {
        drop(self.upsert_sync(name, Box::new(*page)));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.read_sync(&name, |_, held| page.copy_from_slice(&**held)).is_some()
    }

    fn flush(&self, name: u64) {
        drop(self.remove_sync(&name));
    }
}

impl Peer for dashmap::DashMap<u64, Box<Page>> {
    fn put(&self, name: u64, page: &Page) {
        drop(self.insert(name, Box::new(*page)));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.view(&name, |_, held| page.copy_from_slice(&**held)).is_some()
    }

    fn flush(&self, name: u64) {
        drop(self.remove(&name));
    }
}

impl Peer for quick_cache::sync::Cache<u64, Arc<Page>> {
    fn put(&self, name: u64, page: &Page) {
        self.insert(name, Arc::new(*page));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.get(&name).map(|held| page.copy_from_slice(&*held)).is_some()
    }

    fn flush(&self, name: u64) {
        drop(self.remove(&name));
    }
}

impl Peer for foyer::Cache<u64, Box<Page>> {
    fn put(&self, name: u64, page: &Page) {
        drop(self.insert(name, Box::new(*page)));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.get(&name).map(|held| page.copy_from_slice(&**held.value())).is_some()
    }

    fn flush(&self, name: u64) {
        drop(self.remove(&name));
    }
}
