//! What the store tells about itself and its clients.

use std::time::Duration;

/// What a client holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientUsage {
    /// Bytes charged to the client: stored pages and metadata.
    pub bytes: u64,
    /// Of those, bytes of metadata.
    pub metadata_bytes: u64,
    /// Pages in persistent pools.
    pub persistent_pages: u64,
    /// Pages in ephemeral and shared pools that this client put.
    pub ephemeral_pages: u64,
    /// The client's cap in bytes.
    pub cap_bytes: u64,
    /// Pools in the client's table.
    pub pools: u32,
    /// Puts are refused.
    pub frozen: bool,
}

/// What a client has done since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientCounters {
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
    /// Ephemeral pages of this client that were evicted.
    pub evicted: u64,
}

impl ClientCounters {
    pub(crate) fn add(&mut self, other: &Self) {
        self.puts += other.puts;
        self.puts_refused += other.puts_refused;
        self.gets += other.gets;
        self.hits += other.hits;
        self.flushed_pages += other.flushed_pages;
        self.evicted += other.evicted;
    }
}

/// What a flush of many pages did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flushed {
    /// Pages that were removed.
    pub pages: u64,
    /// The steps ended before all was removed: what is left is there still, and the same call goes on with it.
    pub more: bool,
}

/// What the whole store holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes the store may hold.
    pub capacity_bytes: u64,
    /// Bytes of page data and metadata held.
    pub used_bytes: u64,
    /// Of those, bytes of metadata: index, eviction links, accounting.
    pub metadata_bytes: u64,
    /// Pages in persistent pools.
    pub persistent_pages: u64,
    /// Pages in ephemeral and shared pools.
    pub ephemeral_pages: u64,
    /// Bytes of memory that hold page data, all overhead of the page store included.
    pub stored_bytes: u64,
    /// The same without any overhead: 4096 for a raw page, what the codec made of a compressed one.
    pub ideal_bytes: u64,
    /// Pages stored as they are.
    pub raw_pages: u64,
    /// Pages stored compressed.
    pub compressed_pages: u64,
    /// Pages stored as one repeated word.
    pub same_pages: u64,
    /// Clients that are not closed.
    pub clients: u32,
    /// Pools that are not destroyed.
    pub pools: u32,
}

/// How much background work one call of [`Store::maintain`](crate::Store::maintain) may do.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Most pages to release, evict, compress or move.
    pub pages: u32,
    /// Compress whatever can be compressed, and give free memory back to the host, without waiting for pages to be cold
    /// or for memory to be free for long: for a host that is short of memory itself.
    pub at_once: bool,
    /// Evict ephemeral pages, those of the client that is furthest over its share first, and give their memory back: for a
    /// host that is still short of memory.
    pub shed: bool,
}

impl Budget {
    /// At once, and with pages that may go: what a host asks for again and again until it is short of memory no more.
    pub fn short_of_memory() -> Self {
        Self { at_once: true, shed: true, ..Self::default() }
    }

    /// As the default, but at once.
    pub fn at_once() -> Self {
        Self { at_once: true, ..Self::default() }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { pages: 256, at_once: false, shed: false }
    }
}

/// What a call of [`Store::maintain`](crate::Store::maintain) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Pages of destroyed pools that were released.
    pub released: u32,
    /// Pages that were compressed.
    pub compressed: u32,
    /// Pages that were evicted ahead of puts.
    pub evicted: u32,
    /// Compressed pages that were moved together.
    pub moved: u32,
    /// There is more to do now.
    pub more: bool,
    /// When there is not: how long to wait before the next call. `None` when nothing is to be done until pages change,
    /// which [`Store::on_work`](crate::Store::on_work) tells of.
    pub rest: Option<Duration>,
}
