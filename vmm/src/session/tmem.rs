//! The store of a session, and each guest's share in it.

use std::io;
use std::sync::Arc;

use thiserror::Error;
use tmem_core::{Client, ClientConfig, Share as StoreShare, SharedUuid, Store, StoreConfig, StoreError};

use super::report::{Rights, TmemReport};
use super::store_thread::StoreThread;
use crate::config::{GuestConfig, PoolKind, RunConfig, TransportChoice};
use crate::guest::TmemService;
use crate::kvm::{System, Transport};
use crate::memory::GuestRam;
use crate::tmem::{Dispatcher, Limits, discovery};

/// Why a guest cannot have tmem.
#[derive(Debug, Error)]
pub enum TmemError {
    /// The store refused its own configuration or a client's.
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    /// The transport that was asked for does not exist here.
    #[error("this KVM has no {0}; use `auto` or the other one (`tmem doctor` tells what there is)")]
    Transport(&'static str),
    /// No thread for background work.
    #[error("the host has no thread for the store's background work: {0}")]
    Thread(#[source] io::Error),
}

/// The store, with a thread for its background work.
pub(super) struct Tmem {
    store: Arc<Store>,
    _work: StoreThread,
}

/// One guest's share: its client, and how it is reached.
pub(super) struct Share {
    dispatcher: Arc<Dispatcher>,
    service: TmemService,
}

impl Tmem {
    /// Makes the store and checks that every guest's transport exists.
    pub(super) fn new(system: &System, config: &RunConfig) -> Result<Self, TmemError> {
        for guest in config.guests.iter().filter(|g| g.tmem.is_some()) {
            choose(system, guest.transport)?;
        }
        let settings = &config.store;
        let store = Store::new(StoreConfig {
            capacity_bytes: settings.size.0,
            committed_bytes: settings.committed.0,
            codec: settings.codec.into(),
            eviction: settings.eviction,
            verify_every_read: settings.verify,
            ..StoreConfig::default()
        })?;
        let work = StoreThread::start(&store).map_err(TmemError::Thread)?;
        Ok(Self { store, _work: work })
    }

    /// The store.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Adds a guest to the store, unless it is to have no tmem.
    pub(super) fn share(
        &self,
        system: &System,
        guest: &GuestConfig,
        ram: &GuestRam,
    ) -> Result<Option<Share>, TmemError> {
        let Some(rights) = &guest.tmem else { return Ok(None) };
        let transport = choose(system, guest.transport)?;
        let client = self.store.add_client(ClientConfig {
            name: guest.spec.name.clone(),
            cap_bytes: rights.cap.map_or(u64::MAX, |cap| cap.0),
            share: StoreShare { reservation_bytes: rights.reservation.0, weight: rights.weight },
            persistent: rights.pools.contains(&PoolKind::Persistent),
            ephemeral: rights.pools.contains(&PoolKind::Ephemeral),
            shared: rights.shared.iter().map(|uuid| SharedUuid(*uuid)).collect(),
            ..ClientConfig::default()
        })?;
        let limits = Limits::default();
        let dispatcher = Arc::new(Dispatcher::new(client, ram.clone(), guest.spec.vcpus, limits));
        let service =
            TmemService { handler: dispatcher.clone(), discovery: discovery(transport, &limits), transport };
        Ok(Some(Share { dispatcher, service }))
    }
}

impl Share {
    pub(super) fn service(&self) -> &TmemService {
        &self.service
    }

    /// The guest's client of the store.
    pub(super) fn client(&self) -> &Client {
        self.dispatcher.client()
    }

    /// What the guest may do now.
    pub(super) fn rights(&self) -> Rights {
        let (usage, share) = (self.client().usage(), self.client().share());
        Rights {
            cap_bytes: (usage.cap_bytes != u64::MAX).then_some(usage.cap_bytes),
            reservation_bytes: share.reservation_bytes,
            weight: share.weight,
            frozen: usage.frozen,
        }
    }

    /// What the guest did. Its pages go with it.
    pub(super) fn finish(self) -> TmemReport {
        let report = self.report();
        self.client().close();
        report
    }

    /// What the guest has done, and holds now.
    pub(super) fn report(&self) -> TmemReport {
        let client = self.client();
        let (counters, usage) = (client.counters(), client.usage());
        TmemReport {
            puts: counters.puts,
            puts_refused: counters.puts_refused,
            gets: counters.gets,
            hits: counters.hits,
            flushed_pages: counters.flushed_pages,
            evicted: counters.evicted,
            bytes: usage.bytes,
            metadata_bytes: usage.metadata_bytes,
            persistent_pages: usage.persistent_pages,
            ephemeral_pages: usage.ephemeral_pages,
        }
    }
}

fn choose(system: &System, choice: TransportChoice) -> Result<Transport, TmemError> {
    let capabilities = system.capabilities();
    let port = Transport::Port(tmem_abi::DEFAULT_PORT);
    match choice {
        TransportChoice::Auto | TransportChoice::Xen if capabilities.xen_intercept => Ok(Transport::Xen),
        TransportChoice::Xen => {
            Err(TmemError::Transport("hypercall intercept (KVM_CAP_XEN_HVM, CONFIG_KVM_XEN)"))
        }
        TransportChoice::Auto | TransportChoice::Port if capabilities.sync_regs => Ok(port),
        TransportChoice::Auto | TransportChoice::Port => {
            Err(TmemError::Transport("port transport (KVM_CAP_SYNC_REGS)"))
        }
    }
}
