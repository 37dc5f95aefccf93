//! What is compared, behind three operations.

use std::sync::Arc;
use std::time::Duration;

use tmem_core::{Codec, Page};

use crate::first_core::{FirstCore, Pages};
use crate::ours::Ours;

/// Objects that the table's pages are spread over, where there are objects; the others have one space of names.
const OBJECTS: u32 = 1000;
/// Shards of the maps and caches that let one choose: as many as the store has.
const SHARDS: usize = 64;

/// Pages by name.
pub(crate) trait Peer: Sync {
    fn put(&self, name: u64, page: &Page);
    fn get(&self, name: u64, page: &mut Page) -> bool;
    /// False when there was no such page.
    fn flush(&self, name: u64) -> bool;

    /// Does some background work; how long it may rest then. `None` when the peer has no such work, ever.
    fn maintain(&self) -> Option<Duration> {
        None
    }

    /// Pages that are compressed in the background, of how many.
    fn compressed(&self) -> Option<(u64, u64)> {
        None
    }
}

/// Makes a peer with room for so many pages.
type Make = fn(u32) -> Box<dyn Peer>;

impl dyn Peer {
    /// All of them, by name.
    pub(crate) const ALL: [(&'static str, Make); 7] = [
        ("tmem-core", |pages| Box::new(Ours::new(Codec::Raw, pages, OBJECTS, 1))),
        ("first core (C)", |_| Box::new(FirstCorePeer::new(Pages::Malloc, OBJECTS))),
        ("first core, frames", |_| Box::new(FirstCorePeer::new(Pages::Frames, OBJECTS))),
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

/// The first core, with pages spread over objects as the store's.
pub(crate) struct FirstCorePeer {
    core: FirstCore,
    objects: u64,
}

impl FirstCorePeer {
    /// It knows no clients: all objects are in one pool.
    pub(crate) fn new(pages: Pages, objects: u32) -> Self {
        Self { core: FirstCore::new(pages), objects: objects.max(1).into() }
    }

    fn name(&self, name: u64) -> ([u64; 3], u32) {
        ([name % self.objects, 0, 0], (name / self.objects) as u32)
    }
}

impl Peer for FirstCorePeer {
    fn put(&self, name: u64, page: &Page) {
        let kept = self.core.put(&self.name(name), page);
        assert!(kept, "there is no memory for all pages: give fewer with --pages");
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.core.get(&self.name(name), page)
    }

    fn flush(&self, name: u64) -> bool {
        self.core.flush(&self.name(name)) == 1
    }
}

impl Peer for scc::HashMap<u64, Box<Page>> {
    fn put(&self, name: u64, page: &Page) {
        drop(self.upsert_sync(name, Box::new(*page)));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.read_sync(&name, |_, held| page.copy_from_slice(&**held)).is_some()
    }

    fn flush(&self, name: u64) -> bool {
        self.remove_sync(&name).is_some()
    }
}

impl Peer for dashmap::DashMap<u64, Box<Page>> {
    fn put(&self, name: u64, page: &Page) {
        drop(self.insert(name, Box::new(*page)));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.view(&name, |_, held| page.copy_from_slice(&**held)).is_some()
    }

    fn flush(&self, name: u64) -> bool {
        self.remove(&name).is_some()
    }
}

impl Peer for quick_cache::sync::Cache<u64, Arc<Page>> {
    fn put(&self, name: u64, page: &Page) {
        self.insert(name, Arc::new(*page));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.get(&name).map(|held| page.copy_from_slice(&*held)).is_some()
    }

    fn flush(&self, name: u64) -> bool {
        self.remove(&name).is_some()
    }
}

impl Peer for foyer::Cache<u64, Box<Page>> {
    fn put(&self, name: u64, page: &Page) {
        drop(self.insert(name, Box::new(*page)));
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.get(&name).map(|held| page.copy_from_slice(&**held.value())).is_some()
    }

    fn flush(&self, name: u64) -> bool {
        self.remove(&name).is_some()
    }
}
