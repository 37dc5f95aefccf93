//! A chunk's header: 16 words, and what they mean; and the node above chunks, which is one, too.

use crate::arena::At;
use crate::key::{Kind, ObjectId};

/// What names a chunk inside a shard.
///
/// Chunks stand at level 0. A node of a level above tells in its header's map which of 64 things below it are there: chunks
/// `64 * number ..` for level 1, nodes of level 1 for level 2, and so on. A node whose number is not 0 is told of by the
/// node above; the others, one a level, by the object's chunk 0. So an object pays for levels that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    /// Number of the pool, 20 bits.
    pub(crate) pool: u32,
    pub(crate) object: ObjectId,
    pub(crate) level: u8,
    /// Index / 64^(level + 1), 26 bits.
    pub(crate) number: u32,
}

/// The highest level: chunk numbers have 26 bits.
pub(crate) const TOP: u8 = 5;

impl ChunkKey {
    /// A chunk of an object.
    pub(crate) fn chunk(pool: u32, object: ObjectId, number: u32) -> Self {
        Self { pool, object, level: 0, number }
    }

    /// Whether it is the object's chunk 0, where everything of the object is found from.
    pub(crate) fn is_root(&self) -> bool {
        (self.level, self.number) == (0, 0)
    }

    /// The object's chunk 0.
    pub(crate) fn root(&self) -> Self {
        Self { level: 0, number: 0, ..*self }
    }

    /// Who tells that this is there, and by which bit of its map, or of its `tops` for the root.
    pub(crate) fn parent(&self) -> (Self, u32) {
        if self.number == 0 {
            (self.root(), u32::from(self.level))
        } else {
            (Self { level: self.level + 1, number: self.number >> 6, ..*self }, self.number % 64)
        }
    }
}

/// Words in a header.
pub(super) const WORDS: usize = 16;
/// Class of a chunk with no entries.
pub(super) const EMPTY: u8 = 0xf;
/// The owner of what nobody is charged for.
pub(crate) const NOBODY: u16 = 0x1fff;

/// A header, copied out of the index: one cache line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    key: ChunkKey,
    owner: u16,
    map: u64,
    pub(super) array: At,
    pub(super) class: u8,
    kind: Kind,
    /// Neighbours in the pool's list of chunks.
    pub(super) before: u32,
    pub(super) after: u32,
    /// Of a root: the levels that have a node of number 0, as bits.
    tops: u32,
    pub(super) version: u32,
}

impl Header {
    pub(super) fn new(key: ChunkKey, owner: u16, kind: Kind, after: u32) -> Self {
        let array = At { frame: 0, slot: 0 };
        let (map, class, before, tops, version) = (0, EMPTY, super::NIL, 0, 0);
        Self { key, owner, map, array, class, kind, before, after, tops, version }
    }

    pub(super) fn load(words: &[u32; WORDS]) -> Self {
        let [o0, o1, o2, o3, o4, o5, k0, k1, m0, m1, frame, packed, before, after, tops, version] = *words;
        let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let key = wide(k0, k1);
        Self {
            key: ChunkKey {
                pool: (key & 0xf_ffff) as u32,
                object: ObjectId([wide(o0, o1), wide(o2, o3), wide(o4, o5)]),
                level: (packed >> 21 & 7) as u8,
                number: (key >> 20 & 0x3ff_ffff) as u32,
            },
            owner: (key >> 46) as u16,
            map: wide(m0, m1),
            array: At { frame, slot: packed as u16 },
            class: (packed >> 16 & 0xf) as u8,
            kind: Kind::from_bits(packed >> 24),
            before,
            after,
            tops,
            version,
        }
    }

    pub(super) fn save(&self, words: &mut [u32; WORDS]) {
        let [a, b, c] = self.key.object.0;
        let key = u64::from(self.key.pool) | u64::from(self.key.number) << 20 | u64::from(self.owner) << 46;
        let packed = u32::from(self.array.slot)
            | u32::from(self.class) << 16
            | u32::from(self.key.level) << 21
            | self.kind.bits() << 24;
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
            self.array.frame,
            packed,
            self.before,
            self.after,
            self.tops,
            self.version,
        ];
    }

    pub(crate) fn key(&self) -> &ChunkKey {
        &self.key
    }

    /// Number of the client that the chunk itself is charged to, or [`NOBODY`].
    pub(crate) fn owner(&self) -> u16 {
        self.owner
    }

    pub(super) fn set_owner(&mut self, owner: u16) {
        self.owner = owner;
    }

    /// Which of the 64 pages are stored, or what is there below a node.
    pub(crate) fn map(&self) -> u64 {
        self.map
    }

    pub(super) fn set_bit(&mut self, bit: u32) {
        self.map |= 1 << bit;
    }

    pub(super) fn clear_bit(&mut self, bit: u32) {
        self.map &= !(1 << bit);
    }

    /// Of a root: the levels that have a node of number 0, as bits.
    pub(crate) fn tops(&self) -> u32 {
        self.tops
    }

    pub(super) fn set_tops(&mut self, tops: u32) {
        self.tops = tops;
    }

    /// Changes with every change of the chunk, and is never the same for two chunks of a shard.
    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// What kind of pool the chunk is of.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether entries carry eviction links: the pool is not persistent.
    pub(crate) fn is_linked(&self) -> bool {
        self.kind != Kind::Persistent
    }

    /// Whether nothing is stored in it or under it.
    pub(crate) fn is_idle(&self) -> bool {
        self.map == 0 && self.tops == 0
    }

    /// Whether page `place` (index % 64) is stored.
    pub(crate) fn has(&self, place: u32) -> bool {
        self.map >> place & 1 == 1
    }

    /// Pages stored before `place`.
    pub(super) fn before_place(&self, place: u32) -> u32 {
        (self.map & ((1 << place) - 1)).count_ones()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_words() {
        let key =
            ChunkKey { pool: 0xf_ffff, object: ObjectId([1, u64::MAX, 3]), level: TOP, number: 0x3ff_ffff };
        let mut header = Header::new(key, 8190, Kind::Shared, 2);
        header.array = At { frame: 7, slot: 335 };
        (header.class, header.before, header.version) = (6, 1, 4);
        header.set_bit(63);
        header.set_tops(0x3e);
        let mut words = [0; WORDS];
        header.save(&mut words);
        assert_eq!(format!("{:?}", Header::load(&words)), format!("{header:?}"));
    }

    #[test]
    fn every_chunk_is_told_of_up_to_the_root() {
        for number in [1, 63, 64, 4095, 4096, 1 << 18, 1 << 24, 0x3ff_ffff] {
            let mut key = ChunkKey::chunk(1, 2.into(), number);
            while !key.is_root() {
                let (parent, bit) = key.parent();
                assert!(parent.level <= TOP && bit < 64);
                assert!(parent.is_root() || parent.number << 6 | bit == key.number);
                key = parent;
            }
        }
    }
}
