//! What `tmem run` is asked to run: from flags (`cli`) or from a TOML file ([`load`]), checked before anything starts.

mod check;
mod claims;
mod disk;
mod error;
mod file;
mod options;
mod serve;
mod size;
mod text;
mod trouble;

use std::path::PathBuf;
use std::time::Duration;

pub use check::{Violation, check};
pub use claims::{Claims, Use, destination};
pub use disk::{DISK_SYNTAX, parse_disk};
pub use error::ConfigError;
pub use file::load;
pub use options::{
    CodecChoice, LendingChoice, PoolKind, TransportChoice, check_balloon, check_vcpus, parse_uuid,
};
pub use serve::{ServeConfig, ServedDisk, ServedGuest, load as load_serve};
pub use size::Size;
pub use trouble::{FileRole, folder};

use tmem_core::{Eviction, StoreConfig};

use crate::guest::GuestSpec;

/// RAM of a guest that says nothing else (bytes).
pub const DEFAULT_MEMORY: Size = Size(256 << 20);
/// Size of a store that says nothing else (bytes).
pub const DEFAULT_STORE: Size = Size(1 << 30);
/// Command line of a guest that says nothing else: a console, and a clean end after a panic.
pub const DEFAULT_CMDLINE: &str = "console=ttyS0 panic=-1";
/// Name of the guest that flags describe.
pub const DEFAULT_NAME: &str = "guest";

/// Everything of one `tmem run`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    /// The store of all guests.
    pub store: StoreSettings,
    /// The guests, at least one.
    pub guests: Vec<GuestConfig>,
}

/// The store that all guests share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Bytes that it may hold, metadata included.
    pub size: Size,
    /// Of these, bytes that get their memory at the start and keep it; the others come and go with the pages.
    pub committed: Size,
    /// How pages are kept once they are no longer young.
    pub codec: CodecChoice,
    /// Which ephemeral page of a guest is evicted first.
    pub eviction: Eviction,
    /// Who may fill what others leave unused, and with what.
    pub lending: LendingChoice,
    /// Verify the checksum of every page that is read, rather than of one in a thousand.
    pub verify: bool,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            size: DEFAULT_STORE,
            committed: Size(0),
            codec: CodecChoice::default(),
            eviction: Eviction::default(),
            lending: LendingChoice::default(),
            verify: false,
        }
    }
}

impl From<&StoreSettings> for StoreConfig {
    fn from(settings: &StoreSettings) -> Self {
        Self {
            capacity_bytes: settings.size.0,
            committed_bytes: settings.committed.0,
            codec: settings.codec.into(),
            eviction: settings.eviction,
            lending: settings.lending.into(),
            verify_every_read: settings.verify,
            ..Self::default()
        }
    }
}

impl StoreSettings {
    /// Why there can be no such store, and the key to blame.
    ///
    /// # Errors
    /// The key and the reason.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if self.size.0 == 0 {
            return Err(("size", "a store of no bytes keeps nothing"));
        }
        if self.committed > self.size {
            return Err(("committed", "no more than the store's size can be committed"));
        }
        Ok(())
    }
}

/// One guest.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestConfig {
    /// Its machine.
    pub spec: GuestSpec,
    /// How long after the first guest it starts.
    pub start_delay: Duration,
    /// File for its console output, instead of the terminal.
    pub console: Option<PathBuf>,
    /// How its hypercalls travel.
    pub transport: TransportChoice,
    /// Its rights in the store; `None` for a guest without tmem.
    pub tmem: Option<TmemConfig>,
}

/// Weight of a guest that is given none.
pub const DEFAULT_WEIGHT: u32 = 100;

/// A guest's rights in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TmemConfig {
    /// Most bytes it may hold, metadata included; `None` for as many as the store has.
    pub cap: Option<Size>,
    /// Bytes that no other guest's puts push out when the store is full.
    pub reservation: Size,
    /// Its part of what is not reserved, against the other guests' weights, 1 to [`tmem_core::MAX_WEIGHT`].
    pub weight: u32,
    /// Kinds of pools that it may make.
    pub pools: Vec<PoolKind>,
    /// Shared pools that it may join.
    pub shared: Vec<[u64; 2]>,
}

impl Default for TmemConfig {
    fn default() -> Self {
        Self {
            cap: None,
            reservation: Size(0),
            weight: DEFAULT_WEIGHT,
            pools: vec![PoolKind::Persistent, PoolKind::Ephemeral],
            shared: Vec::new(),
        }
    }
}
