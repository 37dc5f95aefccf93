//! One shard's index: from (pool, object, chunk) to the entries of up to 64 pages.
//!
//! A chunk is 64 consecutive indexes of one object. Its header takes 64 bytes; its entries are 12 bytes each (20 with
//! eviction links), packed in the order of their indexes in an array of 1, 2, 4 .. 32 entries, or placed by index in one
//! of 64. So a page costs about 14 bytes in a full chunk and 77 alone, hash table included 90. An object that has more than
//! its chunk 0 has nodes, too, which tell of its chunks in order: another header for 64 of them.
//!
//! All of it lies in frames of the arena. A plain single-threaded structure: the lock is the shard's.

mod chunk;
mod chunks;
mod entry;
mod segments;

pub(crate) use chunk::{ChunkKey, Header, NOBODY, TOP};
pub(crate) use chunks::{CHUNK_BYTES, Index, MOST_POOLS};
pub(crate) use entry::Entry;

/// Indexes in a chunk.
pub(crate) const SPAN: u32 = 64;
/// No chunk, no token.
pub(crate) const NIL: u32 = u32::MAX;
