//! The store of a session, and each guest's share in it.

use std::sync::Arc;

use thiserror::Error;
use tmem_core::{Client, ClientConfig, Share as StoreShare, SharedUuid, Store, StoreConfig};
use tmem_host::{ClientReport, Dispatcher, Host, HostError, Limits, Rights, Transport, discovery};

use crate::config::{GuestConfig, PoolKind, RunConfig, TransportChoice};
use crate::guest::TmemService;
use crate::kvm::System;
use crate::memory::GuestRam;
use crate::tmem::TmemHandler;

/// Why a guest cannot have tmem.
#[derive(Debug, Error)]
pub enum TmemError {
    /// There is no store, or it refused the client.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The transport that was asked for does not exist here.
    #[error("this KVM has no {0}; use `auto` or the other one (`tmem doctor` tells what there is)")]
    Transport(&'static str),
}

/// The store of a session.
pub(super) struct Tmem {
    host: Host,
}

/// One guest's share: its client, and how it is reached.
pub(super) struct Share {
    handler: Arc<TmemHandler>,
    service: TmemService,
}

impl Tmem {
    /// Makes the store and checks that every guest's transport exists.
    pub(super) fn new(system: &System, config: &RunConfig) -> Result<Self, TmemError> {
        for guest in config.guests.iter().filter(|g| g.tmem.is_some()) {
            choose(system, guest.transport)?;
        }
        let host = Host::new(StoreConfig::from(&config.store))?;
        Ok(Self { host })
    }

    /// The store.
    pub(super) fn store(&self) -> &Store {
        self.host.store()
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
        let client = self.host.add_client(ClientConfig {
            name: guest.spec.name.clone(),
            cap_bytes: rights.cap.map_or(u64::MAX, |cap| cap.0),
            share: StoreShare { reservation_bytes: rights.reservation.0, weight: rights.weight },
            persistent: rights.pools.contains(&PoolKind::Persistent),
            ephemeral: rights.pools.contains(&PoolKind::Ephemeral),
            shared: rights.shared.iter().map(|uuid| SharedUuid(*uuid)).collect(),
            ..ClientConfig::default()
        })?;
        let limits = Limits::default();
        let dispatcher = Dispatcher::new(client, guest.spec.vcpus, limits);
        let handler = Arc::new(TmemHandler::new(dispatcher, ram.clone()));
        let service =
            TmemService { handler: handler.clone(), discovery: discovery(transport, &limits), transport };
        Ok(Some(Share { handler, service }))
    }
}

impl Share {
    pub(super) fn service(&self) -> &TmemService {
        &self.service
    }

    /// The guest's client of the store.
    pub(super) fn client(&self) -> &Client {
        self.handler.dispatcher().client()
    }

    /// What the guest may do now.
    pub(super) fn rights(&self) -> Rights {
        Rights::of(self.client())
    }

    /// What the guest did. Its pages go with it.
    pub(super) fn finish(&self) -> ClientReport {
        let report = self.report();
        self.client().close();
        report
    }

    /// What the guest has done, and holds now.
    pub(super) fn report(&self) -> ClientReport {
        ClientReport::of(self.client())
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
