//! What a client did, and what it may do: for reports and answers, in the names that people read.

use serde::Serialize;
use tmem_core::{Client, StoreStats};

/// The store at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StoreReport {
    /// Bytes held: pages and metadata.
    pub used_bytes: u64,
    /// Of those, metadata.
    pub metadata_bytes: u64,
    /// Bytes of memory that hold pages, the overhead of keeping them included.
    pub stored_bytes: u64,
    /// Pages in persistent pools.
    pub persistent_pages: u64,
    /// Pages in ephemeral and shared pools.
    pub ephemeral_pages: u64,
    /// Pages kept as they are.
    pub raw_pages: u64,
    /// Pages kept compressed.
    pub compressed_pages: u64,
    /// Pages kept as one repeated word.
    pub same_pages: u64,
}

impl From<StoreStats> for StoreReport {
    fn from(stats: StoreStats) -> Self {
        Self {
            used_bytes: stats.used_bytes,
            metadata_bytes: stats.metadata_bytes,
            stored_bytes: stats.stored_bytes,
            persistent_pages: stats.persistent_pages,
            ephemeral_pages: stats.ephemeral_pages,
            raw_pages: stats.raw_pages,
            compressed_pages: stats.compressed_pages,
            same_pages: stats.same_pages,
        }
    }
}

/// What a guest did in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClientReport {
    /// Puts, writes and exchanges that stored a page.
    pub puts: u64,
    /// Puts, writes and exchanges that were refused.
    pub puts_refused: u64,
    /// Gets, reads and exchanges that looked for a page.
    pub gets: u64,
    /// Of those, the ones that found it.
    pub hits: u64,
    /// Pages removed by flushes.
    pub flushed_pages: u64,
    /// Ephemeral pages of this guest that were evicted.
    pub evicted: u64,
    /// Bytes held (in a report: at its end), metadata included.
    pub bytes: u64,
    /// Of those, bytes of metadata.
    pub metadata_bytes: u64,
    /// Pages held in persistent pools.
    pub persistent_pages: u64,
    /// Pages held in ephemeral and shared pools.
    pub ephemeral_pages: u64,
}

/// What a guest may do in the store, as the host can change it while the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Rights {
    /// Most bytes that it may hold; nothing for as many as the store has.
    pub cap_bytes: Option<u64>,
    /// Bytes that no other guest's puts push out.
    pub reservation_bytes: u64,
    /// Its part of the rest, against the other guests' weights.
    pub weight: u32,
    /// Its puts are refused.
    pub frozen: bool,
}

impl ClientReport {
    /// What the client has done, and holds now.
    pub fn of(client: &Client) -> Self {
        let (counters, usage) = (client.counters(), client.usage());
        Self {
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

impl Rights {
    /// What the client may do now.
    pub fn of(client: &Client) -> Self {
        let (usage, share) = (client.usage(), client.share());
        Self {
            cap_bytes: (usage.cap_bytes != u64::MAX).then_some(usage.cap_bytes),
            reservation_bytes: share.reservation_bytes,
            weight: share.weight,
            frozen: usage.frozen,
        }
    }
}
