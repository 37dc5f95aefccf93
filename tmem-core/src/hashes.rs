//! Hashes of objects, chunks and pages. Guests choose object ids, so every hash is keyed by the store's secret.

use std::hash::{BuildHasher, Hasher, RandomState};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

use crate::index::{ChunkKey, SPAN};
use crate::key::ObjectId;

/// The store's keyed hash functions.
#[derive(Clone)]
pub(crate) struct Hashes {
    state: SeedableRandomState,
    key: u64,
}

impl Hashes {
    /// With a secret from the operating system (what std seeds its maps with).
    pub(crate) fn new() -> Self {
        Self::keyed(RandomState::new().hash_one(0x746d_656d_u64))
    }

    /// With the given secret.
    pub(crate) fn keyed(key: u64) -> Self {
        Self { state: SeedableRandomState::with_seed(key, SharedSeed::global_random()), key }
    }

    /// The hash of an object.
    pub(crate) fn object(&self, pool: u32, object: &ObjectId) -> u64 {
        let [a, b, c] = object.0;
        let mut hasher = self.state.build_hasher();
        hasher.write_u64(a);
        hasher.write_u64(b);
        hasher.write_u64(c);
        hasher.write_u32(pool);
        hasher.finish()
    }

    /// The hash of one of an object's chunks, or of a node above them; that of its chunk 0 is the object's.
    pub(crate) fn chunk(&self, object: u64, level: u8, number: u32) -> u64 {
        match (level, number) {
            (0, 0) => object,
            _ => mix(object ^ self.key, u64::from(number) | u64::from(level) << 32 | 1 << 40),
        }
    }

    /// The hash of a chunk, from its full name.
    pub(crate) fn chunk_of(&self, key: &ChunkKey) -> u64 {
        self.chunk(self.object(key.pool, &key.object), key.level, key.number)
    }

    /// The hash of a page in a chunk, for what a policy remembers of pages that are gone.
    pub(crate) fn page(&self, chunk: u64, place: u32) -> u64 {
        debug_assert!(place < SPAN);
        mix(chunk ^ self.key, u64::from(place) | 1 << 41)
    }
}

/// A folded multiplication: every bit of both sides reaches every bit of the result (Wang Yi, wyhash).
fn mix(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let folded = (wide as u64) ^ ((wide >> 64) as u64);
    folded ^ folded >> 29
}
