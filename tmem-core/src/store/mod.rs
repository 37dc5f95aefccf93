//! The store: shards, clients, and everything that is done to pages.

mod compress;
mod control;
mod evict;
mod flush;
mod link;
mod look;
mod maintain;
mod modify;
mod pools;
mod shard;
mod site;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::account::{Accounting, Books};
use crate::arena::Arena;
use crate::client::Client;
use crate::codec::PutCopy;
use crate::config::{ClientConfig, StoreConfig};
use crate::error::StoreError;
use crate::index::Index;
use crate::names::Names;
use crate::page::PAGE_SIZE;
use crate::pages::{ArenaPages, PageStore};
use crate::sync::Mutex;
use crate::usage::StoreStats;
pub(crate) use control::ClientState;
use control::Control;
use shard::Shard;

/// Smallest capacity, in bytes: an index and a few hundred pages.
const LEAST: u64 = 1 << 20;
/// Most shards: a shard number fits the 16 bits that a compressed record has for it.
const MOST_SHARDS: usize = 1 << 12;
/// With `shards` 0, one shard for so many bytes of capacity, up to [`AUTO_SHARDS`].
const BYTES_PER_SHARD: u64 = 4 << 20;
const AUTO_SHARDS: u64 = 64;

/// A store of pages, shared by its clients.
pub struct Store {
    config: StoreConfig,
    arena: Arc<Arena>,
    /// Where pages are kept: `local`, or a test's wrapper of it.
    pages: Box<dyn PageStore>,
    local: Arc<ArenaPages>,
    books: Box<dyn Accounting>,
    names: Names,
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    control: Mutex<Control>,
    background: maintain::Background,
    largest: Mutex<evict::Largest>,
}

impl Store {
    /// A store of the given shape. Address space is reserved; of memory, only what the configuration wants committed.
    ///
    /// # Errors
    /// [`StoreError::Config`] for impossible numbers, [`StoreError::Reserve`] when there is no address space.
    pub fn new(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        Self::with_parts(config, |pages| Box::new(pages), |books| Box::new(books))
    }

    /// A store whose page store and books are wrapped, to make them fail.
    pub(crate) fn with_parts(
        config: StoreConfig,
        wrap_pages: impl FnOnce(Arc<ArenaPages>) -> Box<dyn PageStore>,
        wrap_books: impl FnOnce(Books) -> Box<dyn Accounting>,
    ) -> Result<Arc<Self>, StoreError> {
        let capacity = config.capacity_bytes;
        let refuse = |field, value, why| Err(StoreError::Config { field, value, why });
        if capacity < LEAST {
            return refuse("capacity_bytes", capacity, "a store needs at least 1 MiB");
        }
        let Ok(frames) = u32::try_from(capacity / PAGE_SIZE as u64) else {
            return refuse("capacity_bytes", capacity, "frame numbers have 32 bits: at most 16 TiB");
        };
        if config.committed_bytes > capacity {
            return refuse(
                "committed_bytes",
                config.committed_bytes,
                "at most the capacity can be committed",
            );
        }
        if config.shards != 0 && (!config.shards.is_power_of_two() || config.shards > MOST_SHARDS) {
            return refuse(
                "shards",
                config.shards as u64,
                "the number of shards is 0 or a power of two to 4096",
            );
        }
        let shards = match config.shards {
            0 => (capacity / BYTES_PER_SHARD).clamp(1, AUTO_SHARDS).next_power_of_two() as usize,
            shards => shards,
        };
        let reserve = |source| StoreError::Reserve { bytes: capacity, source };
        // A part of a page at the end of the capacity is no frame.
        let committed = config.committed_bytes.div_ceil(PAGE_SIZE as u64).min(u64::from(frames)) as u32;
        let arena = Arc::new(Arena::new(frames, committed).map_err(reserve)?);
        let local = Arc::new(ArenaPages::new(Arc::clone(&arena), committed, config.verify_every_read));
        let names = Names::new();
        Ok(Arc::new(Self {
            pages: wrap_pages(Arc::clone(&local)),
            local,
            books: wrap_books(Books::new(Arc::clone(&arena), shards)),
            names: names.clone(),
            shards: (0..shards)
                .map(|_| CachePadded::new(Mutex::new(Shard::new(Index::new(names.clone())))))
                .collect(),
            control: Mutex::new(Control::default()),
            background: maintain::Background::default(),
            largest: Mutex::new(evict::Largest::default()),
            arena,
            config,
        }))
    }

    /// Adds a client; it ends with [`Client::close`] or when the last clone of the handle is dropped.
    ///
    /// # Errors
    /// [`StoreError::Config`] for impossible limits, [`StoreError::NoRoom`] when there are as many clients as can be.
    pub fn add_client(self: &Arc<Self>, config: ClientConfig) -> Result<Client, StoreError> {
        config.check()?;
        let state = self.enrol(config)?;
        Ok(Client::new(Arc::clone(self), state))
    }

    /// What the store holds. Takes every shard's lock in turn, so the numbers are of slightly different times.
    pub fn stats(&self) -> StoreStats {
        let mut stats = StoreStats { capacity_bytes: self.config.capacity_bytes, ..Default::default() };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.metadata_bytes += shard.held();
            stats.raw_pages += shard.raw;
            stats.compressed_pages += shard.lz4 + shard.zstd;
            stats.same_pages += shard.same;
            for local in shard.clients.iter().flatten() {
                stats.persistent_pages += local.persistent;
                stats.ephemeral_pages += local.ephemeral;
                stats.metadata_bytes += local.queue.bytes() as u64;
            }
        }
        stats.stored_bytes = (stats.raw_pages + u64::from(self.local.log().frames())) * PAGE_SIZE as u64;
        stats.ideal_bytes = stats.raw_pages * PAGE_SIZE as u64 + self.local.log().payload();
        stats.used_bytes = u64::from(self.arena.frames() - self.arena.count_free()) * PAGE_SIZE as u64;
        let control = self.control.lock();
        stats.metadata_bytes +=
            control.clients.iter().flatten().map(|c| c.policies.shared_bytes() as u64).sum::<u64>();
        stats.clients = control.open_clients();
        stats.pools = control.open_pools();
        stats
    }

    /// How pages are copied into frames.
    pub fn put_copy(&self) -> PutCopy {
        self.local.put_copy()
    }

    fn shard(&self, number: usize) -> &Mutex<Shard> {
        self.shards.get(number).expect("shard numbers are masked hashes")
    }
}
