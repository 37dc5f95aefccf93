//! The store of a session, and each guest's share in it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tmem_core::{Budget, ClientConfig, SharedUuid, Store, StoreConfig, StoreError};

use super::report::TmemReport;
use crate::config::{GuestConfig, PoolKind, RunConfig, TransportChoice};
use crate::guest::TmemService;
use crate::kvm::{System, Transport};
use crate::memory::GuestRam;
use crate::tmem::{Dispatcher, Limits, discovery};

/// How long background work rests when there is none (the store says so itself).
const REST: Duration = Duration::from_millis(20);

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
    /// Dropped to end the thread.
    work: Option<(Sender<()>, JoinHandle<()>)>,
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
        let store = Store::new(StoreConfig { capacity_bytes: config.store.0, ..StoreConfig::default() })?;
        let (stop, stopped) = channel();
        let worker = store.clone();
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || maintain(&worker, &stopped))
            .map_err(TmemError::Thread)?;
        Ok(Self { store, work: Some((stop, thread)) })
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

impl Drop for Tmem {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.work.take() {
            drop(stop);
            // It can only have ended well: a panic ends the process.
            let _ = thread.join();
        }
    }
}

impl Share {
    pub(super) fn service(&self) -> &TmemService {
        &self.service
    }

    /// What the guest did. Its pages go with it.
    pub(super) fn finish(self) -> TmemReport {
        let client = self.dispatcher.client();
        let (counters, usage) = (client.counters(), client.usage());
        client.close();
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

fn maintain(store: &Store, stopped: &Receiver<()>) {
    loop {
        let rest = if store.maintain(Budget::default()).more { Duration::ZERO } else { REST };
        if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
