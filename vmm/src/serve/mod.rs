//! Disks to swap to for guests of other virtual machine monitors: vhost-user-blk back ends over one store.
//!
//! [`Server`] owns the store and serves each disk at a socket of its own. A front end (QEMU, Cloud Hypervisor, Firecracker, crosvm)
//! connects, and its guest finds an ordinary virtio disk: [`backend`] speaks the protocol, `crate::devices::virtio::block` serves
//! the requests, [`SwapDisk`] turns blocks into pages of the guest's client.

mod backend;
mod buffers;
mod listener;
mod report;
mod ring;
mod slots;
mod swap;

use std::io;
use std::sync::Arc;

use thiserror::Error;
use tmem_core::{ClientConfig, OpError, Share, StoreConfig};
use tmem_host::{Host, HostError};

use crate::config::ServeConfig;
use crate::control::{ServerError, Socket};
use crate::devices::virtio::block::Block;
use crate::disk::{DiskError, Image, Medium};
use listener::Served;
pub use report::{DiskReport, GuestReport, ServeReport};
pub use swap::{LARGEST, SwapCounters, SwapDisk};

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// There is no store, or it refused a client.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A guest may have no pool for its disk.
    #[error(
        "guest {guest}: the store gives it no pool for its disk: {source}; it has {disks} disks, and a client at most {most} pools"
    )]
    Pool {
        /// The guest.
        guest: String,
        /// Its disks.
        disks: usize,
        /// Most pools of a client.
        most: u32,
        /// The store's answer.
        #[source]
        source: OpError,
    },
    /// A backing file cannot be had.
    #[error("guest {guest}: {source}")]
    Backing {
        /// The guest.
        guest: String,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// A backing file is too small.
    #[error(
        "guest {guest}: backing file {path} has {there} bytes, its disk {wanted}: make it as large with `truncate -s {wanted} {path}`"
    )]
    Small {
        /// The guest.
        guest: String,
        /// The file.
        path: String,
        /// Its size.
        there: u64,
        /// The disk's.
        wanted: u64,
    },
    /// A disk has no socket.
    #[error("guest {guest}: socket {source}")]
    Socket {
        /// The guest.
        guest: String,
        /// Why.
        #[source]
        source: ServerError,
    },
    /// The host refused a thread or a descriptor.
    #[error("guest {guest}: its disk cannot be served: {source}")]
    Thread {
        /// The guest.
        guest: String,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
}

/// A store and the disks that are served out of it. Dropping it ends all of them, and takes their sockets away.
pub struct Server {
    guests: Vec<(String, Vec<Served>)>,
    host: Host,
}

impl Server {
    /// Makes the store, and a socket for each disk.
    ///
    /// # Errors
    /// [`ServeError`] of the first thing that there is not. Nothing is left behind.
    pub fn start(config: &ServeConfig) -> Result<Self, ServeError> {
        let host = Host::new(StoreConfig::from(&config.store))?;
        let mut guests = Vec::new();
        for guest in &config.guests {
            let name = || guest.name.clone();
            let rights = ClientConfig {
                name: name(),
                cap_bytes: guest.tmem.cap.map_or(u64::MAX, |cap| cap.0),
                share: Share { reservation_bytes: guest.tmem.reservation.0, weight: guest.tmem.weight },
                ephemeral: false,
                ..ClientConfig::default()
            };
            let most = rights.max_pools;
            let client = host.add_client(rights)?;
            let mut disks = Vec::new();
            for (number, disk) in guest.disks.iter().enumerate() {
                let backing = disk.backing.as_ref().map(Image::open).transpose();
                let backing = backing.map_err(|source| ServeError::Backing { guest: name(), source })?;
                if let Some(image) = &backing {
                    let there =
                        image.size().map_err(|source| ServeError::Thread { guest: name(), source })?;
                    let (wanted, path) = (disk.size.0, image.path().display().to_string());
                    if there < wanted {
                        return Err(ServeError::Small { guest: name(), path, there, wanted });
                    }
                }
                let pool =
                    |source| ServeError::Pool { guest: name(), disks: guest.disks.len(), most, source };
                let swap = SwapDisk::new(client.clone(), disk.size.0, backing).map_err(pool)?;
                let thread = |source| ServeError::Thread { guest: name(), source };
                let block = Block::new(swap, &format!("tmem{number}"), disk.queues).map_err(thread)?;
                let socket = Socket::listen(&disk.socket)
                    .map_err(|source| ServeError::Socket { guest: name(), source })?;
                disks.push(Served::start(&guest.name, Arc::new(block), socket).map_err(thread)?);
            }
            guests.push((name(), disks));
        }
        Ok(Self { guests, host })
    }

    /// What the store holds and every guest has done.
    pub fn report(&self) -> ServeReport {
        let guests = self.guests.iter();
        ServeReport {
            store: self.host.store().stats().into(),
            guests: guests.filter_map(|(name, disks)| report::guest(name, disks)).collect(),
        }
    }
}
