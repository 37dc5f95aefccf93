//! What `tmem run` is asked to run: from flags (`cli`) or from a TOML file ([`load`]), checked before anything starts.

mod check;
mod error;
mod file;
mod options;
mod size;

use std::path::PathBuf;
use std::time::Duration;

pub use check::check;
pub use error::ConfigError;
pub use file::load;
pub use options::{PoolKind, TransportChoice, parse_disk, parse_uuid};
pub use size::Size;

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
    /// Bytes that the store may hold, for all guests together.
    pub store: Size,
    /// The guests, at least one.
    pub guests: Vec<GuestConfig>,
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
