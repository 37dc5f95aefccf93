//! The shared transcendent-memory store: pools, objects, pages, codecs, eviction, shares, accounting.
//!
//! A [`Store`] belongs to the host. Each guest is a [`Client`] of it, with its own pools, limits and counters, and
//! stores pages of 4 KiB under [`Key`]s. The store knows no hypervisor, no file descriptor and no guest address, and
//! starts no thread: whoever embeds it calls [`Store::maintain`] from a thread of its own for the work that may wait.
//!
//! ```
//! use tmem_core::{ClientConfig, Key, PoolKind, Store, StoreConfig, PAGE_SIZE};
//!
//! let store = Store::new(StoreConfig { capacity_bytes: 64 << 20, ..Default::default() })?;
//! let guest = store.add_client(ClientConfig { name: "db".into(), ..Default::default() })?;
//! let pool = guest.new_pool(PoolKind::Persistent)?;
//! guest.put(pool, &Key::new(7.into(), 0), &[42; PAGE_SIZE])?;
//! let mut page = [0; PAGE_SIZE];
//! assert!(guest.get(pool, &Key::new(7.into(), 0), &mut page)?);
//! assert_eq!(page, [42; PAGE_SIZE]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod account;
mod arena;
mod client;
mod codec;
mod config;
mod error;
mod evict;
mod fallible;
mod hashes;
mod index;
mod key;
mod live;
mod page;
mod pages;
mod steps;
mod store;
mod sync;
mod usage;

pub use client::Client;
pub use codec::PutCopy;
pub use config::{ClientConfig, Codec, Lending, MAX_POOLS_PER_CLIENT, MAX_WEIGHT, Share, StoreConfig};
pub use error::{OpError, StoreError};
pub use evict::{Eviction, UnknownEviction};
pub use key::{Key, ObjectId, PoolId, PoolKind, SharedUuid};
pub use live::LivePage;
pub use page::{PAGE_SIZE, Page, PageRange, RangeError};
pub use store::Store;
pub use usage::{Budget, ClientCounters, ClientUsage, Flushed, Progress, StoreStats};
