//! The store as a peer.

use std::sync::Arc;
use std::time::Duration;

use tmem_core::{
    Budget, Client, ClientConfig, Codec, Key, PAGE_SIZE, Page, PoolId, PoolKind, Store, StoreConfig,
};

use crate::peers::Peer;

/// How long background work rests when it has nothing to wait for.
const REST: Duration = Duration::from_millis(50);

/// A store with its memory committed, as by a host that sets memory aside.
pub(crate) struct Ours {
    store: Arc<Store>,
    /// Clients, each with its persistent pool.
    guests: Vec<(Client, PoolId)>,
    objects: u64,
}

impl Ours {
    /// With room for so many pages, spread over objects, and those over clients: page k is in object k mod M at index k div M,
    /// object o is client o mod N's.
    pub(crate) fn new(codec: Codec, pages: u32, objects: u32, clients: u32) -> Self {
        // As `tmem bench core`: every page raw, a quarter for metadata of lone pages, and what magazines hold.
        let capacity_bytes = u64::from(pages) * PAGE_SIZE as u64 / 4 * 5 + (64 << 20);
        let config =
            StoreConfig { capacity_bytes, committed_bytes: capacity_bytes, codec, ..Default::default() };
        let store = Store::new(config)
            .unwrap_or_else(|why| panic!("a store for {pages} pages: {why}; give fewer with --pages"));
        let guests = (0..clients.max(1)).map(|_| {
            let guest = store.add_client(ClientConfig::default()).expect("a store has room for its clients");
            let pool = guest.new_pool(PoolKind::Persistent).expect("a client may have a pool");
            (guest, pool)
        });
        let guests = guests.collect();
        Self { store, guests, objects: objects.max(1).into() }
    }

    fn key(&self, name: u64) -> (&Client, PoolId, Key) {
        let (object, index) = (name % self.objects, name / self.objects);
        let (guest, pool) = &self.guests[object as usize % self.guests.len()];
        (guest, *pool, Key::new(object.into(), index as u32))
    }
}

impl Peer for Ours {
    fn put(&self, name: u64, page: &Page) {
        let (guest, pool, key) = self.key(name);
        guest.put(pool, &key, page).expect("the store has room for all pages");
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        let (guest, pool, key) = self.key(name);
        guest.get(pool, &key, page).expect("the pool is there")
    }

    fn flush(&self, name: u64) -> bool {
        let (guest, pool, key) = self.key(name);
        guest.flush_page(pool, &key).expect("the pool is there") == 1
    }

    fn maintain(&self) -> Option<Duration> {
        let progress = self.store.maintain(Budget::default());
        Some(if progress.more { Duration::ZERO } else { progress.rest.unwrap_or(REST) })
    }

    fn compressed(&self) -> Option<(u64, u64)> {
        let stats = self.store.stats();
        Some((stats.compressed_pages, stats.raw_pages + stats.compressed_pages + stats.same_pages))
    }
}
