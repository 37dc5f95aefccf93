//! What the embedder decides: the store's size and shape, and each client's limits.

use crate::error::StoreError;
use crate::evict::Eviction;
use crate::key::SharedUuid;

/// Most pools that one client may be allowed. Xen's limit was 16, and guests with many mounts ran out.
pub const MAX_POOLS_PER_CLIENT: u32 = 1024;

/// How pages are kept once they are no longer young.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As they are, 4 KiB each (pages of one repeated word still shrink to that word).
    Raw,
    /// Compressed with LZ4 in the background.
    #[default]
    Lz4,
    /// Compressed with Zstandard in the background: smaller by a third, and four to six times slower both ways.
    Zstd,
    /// LZ4; and Zstandard for what is still there, and not wanted, when the store runs out of room.
    Auto,
}

/// What clients may do with room that others are owed and do not use.
///
/// A reservation is never lent to persistent pages of others: see [`Share`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lending {
    /// They may fill it with ephemeral pages, which are taken back when it is wanted. Persistent pages of a client end at
    /// its share.
    #[default]
    Ephemeral,
    /// They may also fill what nobody reserved with persistent pages, and it is theirs until they flush them: for guests
    /// that take turns.
    Persistent,
}

/// The shape of a store.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Bytes the store may hold in pages and metadata together.
    pub capacity_bytes: u64,
    /// Bytes of that which get their memory when the store is made, and keep it: no put into them waits for a page fault.
    /// The rest follows as it is needed, a little ahead of puts, and goes back to the host when it is free for long.
    pub committed_bytes: u64,
    /// How pages are kept.
    pub codec: Codec,
    /// Number of index shards, a power of two; 0 chooses by capacity.
    pub shards: usize,
    /// Which ephemeral page of a client is evicted first.
    pub eviction: Eviction,
    /// Who may fill what others leave unused, and with what.
    pub lending: Lending,
    /// Verify the checksum of every page read, rather than of one in a thousand.
    pub verify_every_read: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 30,
            committed_bytes: 0,
            codec: Codec::default(),
            shards: 0,
            eviction: Eviction::default(),
            lending: Lending::default(),
            verify_every_read: false,
        }
    }
}

/// A client's share of a full store.
///
/// A put into a full store evicts an ephemeral page of the client with most bytes beyond its reservation, divided by its
/// weight. So clients that want all they can get end up with their reservations, and the rest in proportion to their
/// weights. Persistent pages are never pushed out; caps limit them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Bytes, metadata included, that no other client's puts push out.
    pub reservation_bytes: u64,
    /// Part of what is not reserved, against other clients' weights, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

/// Largest weight of a [`Share`].
pub const MAX_WEIGHT: u32 = 10_000;

impl Default for Share {
    fn default() -> Self {
        Self { reservation_bytes: 0, weight: 100 }
    }
}

impl Share {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.weight == 0 || self.weight > MAX_WEIGHT {
            let why = "a weight is 1 to 10000, 100 for an ordinary client";
            return Err(StoreError::Config { field: "weight", value: u64::from(self.weight), why });
        }
        Ok(())
    }
}

/// The limits of one client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// For reports only; it need not be unique.
    pub name: String,
    /// Most bytes the client may hold, metadata included.
    pub cap_bytes: u64,
    /// What the client is owed when the store is full.
    pub share: Share,
    /// Most pools at one time, 1 to [`MAX_POOLS_PER_CLIENT`].
    pub max_pools: u32,
    /// The client may create persistent pools.
    pub persistent: bool,
    /// The client may create private ephemeral pools.
    pub ephemeral: bool,
    /// Shared pools that the client may join; none by default.
    pub shared: Vec<SharedUuid>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            cap_bytes: u64::MAX,
            share: Share::default(),
            max_pools: 16,
            persistent: true,
            ephemeral: true,
            shared: Vec::new(),
        }
    }
}

impl ClientConfig {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if self.max_pools == 0 || self.max_pools > MAX_POOLS_PER_CLIENT {
            let why = "a client may have 1 to 1024 pools";
            return Err(StoreError::Config { field: "max_pools", value: u64::from(self.max_pools), why });
        }
        if self.share.reservation_bytes > self.cap_bytes {
            let why = "a client cannot hold more than its cap: reserve less, or raise the cap";
            return Err(StoreError::Config {
                field: "reservation_bytes",
                value: self.share.reservation_bytes,
                why,
            });
        }
        self.share.check()
    }
}
