//! A chunk's header: 16 words, and what they mean.

use super::heap::At;
use crate::key::ObjectId;

/// What names a chunk inside a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    /// Slot of the pool, 20 bits.
    pub(crate) pool: u32,
    pub(crate) object: ObjectId,
    /// Index / 64, 26 bits.
    pub(crate) number: u32,
}

/// Words in a header.
pub(super) const WORDS: usize = 16;
/// Class of a chunk with no entries.
pub(super) const EMPTY: u8 = u8::MAX;

/// A header, copied out of the index: one cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) key: ChunkKey,
    /// Slot of the client that the chunk itself is charged to.
    pub(crate) owner: u16,
    /// Which of the 64 pages are stored.
    pub(crate) map: u64,
    pub(super) array: At,
    pub(super) class: u8,
    /// Entries carry eviction links.
    pub(super) linked: bool,
    /// Neighbours in the pool's list of chunks.
    pub(super) before: u32,
    pub(super) after: u32,
    /// Which set of the shard holds the object's further chunks; only chunk 0 has one.
    pub(crate) further: u32,
    /// Changes with every change of the chunk, and is never the same for two chunks of a shard.
    pub(crate) version: u32,
}

impl Header {
    pub(super) fn load(words: &[u32; WORDS]) -> Self {
        let [o0, o1, o2, o3, o4, o5, k0, k1, m0, m1, block, packed, before, after, further, version] = *words;
        let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let key = wide(k0, k1);
        Self {
            key: ChunkKey {
                pool: (key & 0xf_ffff) as u32,
                object: ObjectId([wide(o0, o1), wide(o2, o3), wide(o4, o5)]),
                number: (key >> 20 & 0x3ff_ffff) as u32,
            },
            owner: (key >> 46) as u16,
            map: wide(m0, m1),
            array: At { block, slot: packed as u16 },
            class: (packed >> 16) as u8,
            linked: packed >> 24 != 0,
            before,
            after,
            further,
            version,
        }
    }

    pub(super) fn save(&self, words: &mut [u32; WORDS]) {
        let [a, b, c] = self.key.object.0;
        let key = u64::from(self.key.pool) | u64::from(self.key.number) << 20 | u64::from(self.owner) << 46;
        let packed = u32::from(self.array.slot) | u32::from(self.class) << 16 | u32::from(self.linked) << 24;
        let low = |wide: u64| wide as u32;
        let high = |wide: u64| (wide >> 32) as u32;
        *words = [
            low(a),
            high(a),
            low(b),
            high(b),
            low(c),
            high(c),
            low(key),
            high(key),
            low(self.map),
            high(self.map),
            self.array.block,
            packed,
            self.before,
            self.after,
            self.further,
            self.version,
        ];
    }

    /// Whether entries carry eviction links: the pool is not persistent.
    pub(crate) fn is_linked(&self) -> bool {
        self.linked
    }

    /// Whether page `slot` (index % 64) is stored.
    pub(crate) fn has(&self, slot: u32) -> bool {
        self.map >> slot & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_words() {
        let header = Header {
            key: ChunkKey { pool: 0xf_ffff, object: ObjectId([1, u64::MAX, 3]), number: 0x3ff_ffff },
            owner: 8191,
            map: 1 << 63 | 5,
            array: At { block: 7, slot: 340 },
            class: 6,
            linked: true,
            before: 1,
            after: 2,
            further: 3,
            version: 4,
        };
        let mut words = [0; WORDS];
        header.save(&mut words);
        assert_eq!(format!("{:?}", Header::load(&words)), format!("{header:?}"));
    }
}
