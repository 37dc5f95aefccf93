//! The names of things: objects, pages in them, pools, shared pools.

/// A 192-bit object id, chosen by the guest (an inode number, a file handle, a swap area).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u64; 3]);

impl From<u64> for ObjectId {
    fn from(low: u64) -> Self {
        Self([low, 0, 0])
    }
}

/// The name of a page inside a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The object that the page belongs to.
    pub object: ObjectId,
    /// The page's number in the object.
    pub index: u32,
}

impl Key {
    /// The key of page `index` of `object`.
    pub fn new(object: ObjectId, index: u32) -> Self {
        Self { object, index }
    }
}

/// A pool, as an index into *one client's own* pool table: it names nothing outside that client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(u32);

impl PoolId {
    /// The id `raw`. Any number is a valid name; whether a pool has it is for the client to say.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The number that goes over the wire.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// The 128-bit name of a shared pool, low word first (the order of Xen's `creat.uuid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SharedUuid(pub [u64; 2]);

/// What a pool promises about its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Pages stay until they are flushed.
    Persistent,
    /// Pages may be evicted at any time; a get removes the page.
    Ephemeral,
    /// Ephemeral pages of every client that joined under this name; a get keeps the page.
    Shared(SharedUuid),
}

/// What a pool's pages are to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Persistent = 0,
    Ephemeral = 1,
    Shared = 2,
}

impl Kind {
    /// Two bits.
    pub(crate) fn bits(self) -> u32 {
        self as u32
    }

    /// The kind of the lowest two bits.
    pub(crate) fn from_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            _ => Self::Shared,
        }
    }
}
