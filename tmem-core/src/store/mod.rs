//! The store: shards, clients, and everything that is done to pages.

mod clients;
mod compress;
mod evict;
mod flush;
mod get;
mod maintain;
mod pools;
mod put;
mod release;
mod shard;
mod site;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
mod write;

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::account::{Grants, Shares};
use crate::arena::Arena;
use crate::client::Client;
use crate::codec::{PutCopy, Recipe};
use crate::config::{ClientConfig, StoreConfig};
use crate::error::StoreError;
use crate::hashes::Hashes;
use crate::page::PAGE_SIZE;
use crate::pages::{ArenaPages, Form, PageStore};
use crate::steps;
use crate::sync::{Mutex, MutexGuard};
use crate::usage::StoreStats;
pub(crate) use clients::ClientState;
use clients::Registry;
use shard::{Shard, Tally};

/// Smallest capacity, in bytes: an index and a few hundred pages.
const LEAST: u64 = 1 << 20;
/// Most frames: the index names thirds of one in 32 bits.
const MOST_FRAMES: u32 = (1 << 30) - 1;
/// Most shards: a shard number fits the 16 bits that a compressed record has for it.
const MOST_SHARDS: usize = 1 << 12;
/// With `shards` 0, one shard for so many bytes of capacity, up to [`AUTO_SHARDS`].
const BYTES_PER_SHARD: u64 = 4 << 20;
const AUTO_SHARDS: u64 = 64;

/// A store of pages, shared by its clients.
pub struct Store {
    config: StoreConfig,
    recipe: Recipe,
    arena: Arc<Arena>,
    /// Where pages are kept: in the arena, or in what is wrapped around it.
    pages: Box<dyn PageStore>,
    put_copy: PutCopy,
    shares: Arc<Shares>,
    /// `shares`, or what is wrapped around them.
    bank: Arc<dyn Grants>,
    hashes: Hashes,
    shards: Box<[CachePadded<Mutex<Shard>>]>,
    registry: Mutex<Registry>,
    background: maintain::Background,
    largest: Mutex<evict::Largest>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("config", &self.config).field("shards", &self.shards.len()).finish()
    }
}

impl Store {
    /// A store of the given shape. Address space is reserved; of memory, only what the configuration wants committed.
    ///
    /// # Errors
    /// [`StoreError::Config`] for impossible numbers, [`StoreError::Reserve`] when there is no address space.
    pub fn new(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        Self::with_parts(config, |pages| Box::new(pages), |shares| shares)
    }

    /// A store whose page store is wrapped, in a tier or in what makes it fail, and whose shares are.
    pub(crate) fn with_parts(
        config: StoreConfig,
        wrap_pages: impl FnOnce(ArenaPages) -> Box<dyn PageStore>,
        wrap_shares: impl FnOnce(Arc<Shares>) -> Arc<dyn Grants>,
    ) -> Result<Arc<Self>, StoreError> {
        let capacity = config.capacity_bytes;
        let refuse = |field, value, why| Err(StoreError::Config { field, value, why });
        if capacity < LEAST {
            return refuse("capacity_bytes", capacity, "a store needs at least 1 MiB");
        }
        let frames = capacity / PAGE_SIZE as u64;
        let Some(frames) = u32::try_from(frames).ok().filter(|frames| *frames <= MOST_FRAMES) else {
            return refuse("capacity_bytes", capacity, "frame numbers have 30 bits: at most 4 TiB");
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
        let pages = ArenaPages::new(Arc::clone(&arena), committed, config.verify_every_read);
        let shares = Arc::new(Shares::new(Arc::clone(&arena), shards, config.lending));
        let hashes = Hashes::new();
        let shard = |_| Mutex::new(Shard::new(hashes.clone(), Arc::clone(&arena), shards));
        Ok(Arc::new(Self {
            recipe: config.codec.into(),
            put_copy: pages.put_copy(),
            pages: wrap_pages(pages),
            bank: wrap_shares(Arc::clone(&shares)),
            shares,
            shards: (0..shards).map(shard).map(CachePadded::new).collect(),
            hashes,
            registry: Mutex::new(Registry::default()),
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
        let mut tally = Tally::default();
        (0..self.shards.len()).for_each(|number| tally.add(self.lock(number).tally()));
        let held = self.pages.held();
        let raw = tally.of(Form::Frame);
        let registry = self.registry.lock();
        StoreStats {
            capacity_bytes: self.config.capacity_bytes,
            used_bytes: u64::from(self.arena.frames() - self.arena.count_free()) * PAGE_SIZE as u64,
            metadata_bytes: self.arena.metadata_bytes(),
            persistent_pages: tally.persistent(),
            ephemeral_pages: tally.ephemeral(),
            stored_bytes: (raw + u64::from(held.frames)) * PAGE_SIZE as u64,
            ideal_bytes: raw * PAGE_SIZE as u64 + held.payload,
            raw_pages: raw,
            compressed_pages: Form::all().filter(|form| form.is_packed()).map(|form| tally.of(form)).sum(),
            same_pages: tally.of(Form::Word),
            clients: registry.open_clients(),
            pools: registry.open_pools(),
        }
    }

    /// How pages are copied into frames.
    pub fn put_copy(&self) -> PutCopy {
        self.put_copy
    }

    fn shard(&self, number: usize) -> &Mutex<Shard> {
        self.shards.get(number).expect("shard numbers are masked hashes")
    }

    /// Locks a shard.
    fn lock(&self, number: usize) -> MutexGuard<'_, Shard> {
        let guard = self.shard(number).lock();
        steps::locked();
        guard
    }

    /// Goes through every shard's lock: what was published before is known to whoever takes one later.
    fn pass_all(&self) {
        (0..self.shards.len()).for_each(|number| drop(self.lock(number)));
    }

    /// Locks all shards, in the order in which two are locked.
    fn lock_all(&self) -> Vec<MutexGuard<'_, Shard>> {
        (0..self.shards.len()).map(|number| self.lock(number)).collect()
    }
}
