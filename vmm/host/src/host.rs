//! The owner of a store.

use std::io;
use std::sync::Arc;

use thiserror::Error;
use tmem_core::{Client, ClientConfig, Store, StoreConfig, StoreError};

use crate::worker::Worker;

/// Why there is no store, or no client of it.
#[derive(Debug, Error)]
pub enum HostError {
    /// The store refused its own configuration or a client's.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// No thread for background work.
    #[error(
        "the host has no thread for the store's background work: {0}; raise the limit on threads, or end some"
    )]
    Thread(#[source] io::Error),
}

/// A store with a thread for its background work, which ends with it.
pub struct Host {
    store: Arc<Store>,
    _worker: Worker,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("stats", &self.store.stats()).finish_non_exhaustive()
    }
}

impl Host {
    /// Makes a store and starts its thread.
    ///
    /// # Errors
    /// [`HostError`] for an impossible configuration, or when there is no address space or no thread.
    pub fn new(config: StoreConfig) -> Result<Self, HostError> {
        let store = Store::new(config)?;
        let worker = Worker::start(&store).map_err(HostError::Thread)?;
        Ok(Self { store, _worker: worker })
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Adds a client; its pages go when it is closed.
    ///
    /// # Errors
    /// [`HostError::Store`] for impossible limits, and when there are as many clients as can be.
    pub fn add_client(&self, config: ClientConfig) -> Result<Client, HostError> {
        Ok(self.store.add_client(config)?)
    }
}
