//! A call as a typed request: the only code that reads or writes raw argument bits.

use core::fmt;

use crate::{Errno, Operation, PAGE_SIZE, Register, Registers};

/// Index into the caller's own table of pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolId(pub u32);

/// 192-bit object id, low word first: a file, or a piece of a swap device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(pub [u64; 3]);

/// Names one page within a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The object.
    pub object: ObjectId,
    /// The page within the object.
    pub index: u32,
}

/// A guest-physical address as the guest gave it: **not yet checked** for alignment or RAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gpa(pub u64);

impl core::fmt::Display for Gpa {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// 128-bit name of a shared pool, low word first; zero for a private pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub [u64; 2]);

/// What kind of pool to make. Shared pools are ephemeral.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolFlags {
    /// Private, pages may be evicted: no bit set.
    Ephemeral,
    /// Private, pages are kept until flushed: bit 0.
    Persistent,
    /// Shared by uuid, pages may be evicted: bit 1.
    Shared,
}

impl PoolFlags {
    /// The flags word of NEW_POOL (bits 0 and 1 as in Xen's).
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::Ephemeral => 0,
            Self::Persistent => 1,
            Self::Shared => 2,
        }
    }

    const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => Some(Self::Ephemeral),
            1 => Some(Self::Persistent),
            2 => Some(Self::Shared),
            _ => None,
        }
    }
}

/// A part of a page, never empty and wholly inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ByteRange {
    offset: u16,
    length: u16,
}

impl ByteRange {
    /// `length` bytes from `offset`; `None` if that is empty or leaves the page.
    #[must_use]
    pub const fn new(offset: u16, length: u16) -> Option<Self> {
        // u32 sums: two u16 cannot overflow it.
        if length == 0 || offset as u32 + length as u32 > PAGE_SIZE as u32 {
            return None;
        }
        Some(Self { offset, length })
    }

    /// First byte.
    #[must_use]
    pub const fn offset(self) -> usize {
        self.offset as usize
    }

    /// Bytes, 1 to 4096.
    #[must_use]
    pub const fn length(self) -> usize {
        self.length as usize
    }
}

/// A decoded call. Numbers are checked for form here; whether a pool exists or an address is RAM is for the
/// dispatcher to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The fields are what their types say.
pub enum Request {
    /// [`Operation::NewPool`]
    NewPool { flags: PoolFlags, uuid: Uuid },
    /// [`Operation::DestroyPool`]
    DestroyPool { pool: PoolId },
    /// [`Operation::Put`]
    Put { pool: PoolId, key: Key, page: Gpa },
    /// [`Operation::Get`]
    Get { pool: PoolId, key: Key, page: Gpa },
    /// [`Operation::FlushPage`]
    FlushPage { pool: PoolId, key: Key },
    /// [`Operation::FlushObject`]
    FlushObject { pool: PoolId, object: ObjectId },
    /// [`Operation::Read`]
    Read { pool: PoolId, key: Key, range: ByteRange, page: Gpa },
    /// [`Operation::Write`]
    Write { pool: PoolId, key: Key, range: ByteRange, page: Gpa },
    /// [`Operation::Xchg`]
    Xchg { pool: PoolId, key: Key, page: Gpa },
    /// [`Operation::FlushRange`]; `first + count` is at most 2^32.
    FlushRange { pool: PoolId, object: ObjectId, first: u32, count: u64 },
    /// [`Operation::Batch`]: `count` entries at `array`.
    Batch { array: Gpa, count: u32 },
    /// [`Operation::Query`]
    Query { page: Gpa },
}

/// Why registers are no request. The host answers [`DecodeError::errno`] and has changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// No operation has this number.
    UnknownOperation(u8),
    /// Bits that this operation does not use are set.
    ReservedBits {
        /// Where.
        register: Register,
        /// The bits that must be zero and are not.
        bits: u64,
    },
    /// NEW_POOL: no such combination of flags.
    PoolFlags(u64),
    /// READ, WRITE: the range is empty or leaves the page.
    ByteRange {
        /// First byte asked for.
        offset: u16,
        /// Bytes asked for.
        length: u16,
    },
    /// FLUSH_RANGE: the range ends beyond index 2^32.
    IndexRange {
        /// First index.
        first: u32,
        /// Indexes asked for.
        count: u64,
    },
}

impl DecodeError {
    /// What the guest is told.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::UnknownOperation(_) => Errno::NoOperation,
            _ => Errno::Invalid,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOperation(number) => write!(f, "no tmem operation has number {number}"),
            Self::ReservedBits { register, bits } => {
                write!(f, "reserved bits {bits:#x} of {register:?} are set, they must be zero")
            }
            Self::PoolFlags(bits) => write!(f, "pool flags {bits:#x}: only 0, 1 and 2 exist"),
            Self::ByteRange { offset, length } => {
                write!(f, "{length} bytes from {offset} are not a part of a page")
            }
            Self::IndexRange { first, count } => {
                write!(f, "{count} indexes from {first} end beyond 2^32")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

impl Request {
    /// Reads the argument registers of a call. Pure: nothing but the registers decides.
    ///
    /// # Errors
    /// Unknown operations, reserved bits that are not zero, and ranges that leave their page or object.
    pub const fn decode(registers: &Registers) -> Result<Self, DecodeError> {
        let r = registers;
        let number = (r.rdi & 0xff) as u8;
        let Some(operation) = Operation::from_number(number) else {
            return Err(DecodeError::UnknownOperation(number));
        };
        let unused = Unused::of(operation);
        if let Err(error) = unused.check(r) {
            return Err(error);
        }
        let pool = PoolId((r.rdi >> 32) as u32);
        let object = ObjectId([r.rsi, r.rdx, r.r10]);
        let key = Key { object, index: r.r8 as u32 };
        let page = Gpa(r.r9);
        Ok(match operation {
            Operation::NewPool => match PoolFlags::from_bits(r.rsi) {
                Some(PoolFlags::Shared) => {
                    Self::NewPool { flags: PoolFlags::Shared, uuid: Uuid([r.rdx, r.r10]) }
                }
                Some(flags) if r.rdx == 0 && r.r10 == 0 => Self::NewPool { flags, uuid: Uuid([0, 0]) },
                Some(_) if r.rdx != 0 => {
                    return Err(DecodeError::ReservedBits { register: Register::Rdx, bits: r.rdx });
                }
                Some(_) => return Err(DecodeError::ReservedBits { register: Register::R10, bits: r.r10 }),
                None => return Err(DecodeError::PoolFlags(r.rsi)),
            },
            Operation::DestroyPool => Self::DestroyPool { pool },
            Operation::Put => Self::Put { pool, key, page },
            Operation::Get => Self::Get { pool, key, page },
            Operation::FlushPage => Self::FlushPage { pool, key },
            Operation::FlushObject => Self::FlushObject { pool, object },
            Operation::Read | Operation::Write => {
                let (offset, length) = ((r.r8 >> 32) as u16, (r.r8 >> 48) as u16);
                let Some(range) = ByteRange::new(offset, length) else {
                    return Err(DecodeError::ByteRange { offset, length });
                };
                match operation {
                    Operation::Read => Self::Read { pool, key, range, page },
                    _ => Self::Write { pool, key, range, page },
                }
            }
            Operation::Xchg => Self::Xchg { pool, key, page },
            Operation::FlushRange => {
                let (first, count) = (r.r8 as u32, r.r9);
                match count.checked_add(first as u64) {
                    Some(end) if end <= 1 << 32 => Self::FlushRange { pool, object, first, count },
                    _ => return Err(DecodeError::IndexRange { first, count }),
                }
            }
            Operation::Batch => Self::Batch { array: page, count: r.r8 as u32 },
            Operation::Query => Self::Query { page },
        })
    }

    /// The registers that ask for this; [`Request::decode`] gives it back.
    #[must_use]
    pub const fn encode(&self) -> Registers {
        let number = self.operation().number() as u64;
        let mut r = Registers { rdi: number, rsi: 0, rdx: 0, r10: 0, r8: 0, r9: 0 };
        match *self {
            Self::NewPool { flags, uuid: Uuid([low, high]) } => {
                r.rsi = flags.bits();
                r.rdx = low;
                r.r10 = high;
            }
            Self::DestroyPool { pool } => r.rdi = with_pool(number, pool),
            Self::Put { pool, key, page }
            | Self::Get { pool, key, page }
            | Self::Xchg { pool, key, page } => {
                r = with_key(number, pool, key);
                r.r9 = page.0;
            }
            Self::FlushPage { pool, key } => r = with_key(number, pool, key),
            Self::FlushObject { pool, object } => r = with_key(number, pool, Key { object, index: 0 }),
            Self::Read { pool, key, range, page } | Self::Write { pool, key, range, page } => {
                r = with_key(number, pool, key);
                r.r8 |= (range.offset as u64) << 32 | (range.length as u64) << 48;
                r.r9 = page.0;
            }
            Self::FlushRange { pool, object, first, count } => {
                r = with_key(number, pool, Key { object, index: first });
                r.r9 = count;
            }
            Self::Batch { array, count } => {
                r.r8 = count as u64;
                r.r9 = array.0;
            }
            Self::Query { page } => r.r9 = page.0,
        }
        r
    }

    /// The operation that this request is.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::NewPool { .. } => Operation::NewPool,
            Self::DestroyPool { .. } => Operation::DestroyPool,
            Self::Put { .. } => Operation::Put,
            Self::Get { .. } => Operation::Get,
            Self::FlushPage { .. } => Operation::FlushPage,
            Self::FlushObject { .. } => Operation::FlushObject,
            Self::Read { .. } => Operation::Read,
            Self::Write { .. } => Operation::Write,
            Self::Xchg { .. } => Operation::Xchg,
            Self::FlushRange { .. } => Operation::FlushRange,
            Self::Batch { .. } => Operation::Batch,
            Self::Query { .. } => Operation::Query,
        }
    }
}

const fn with_pool(number: u64, pool: PoolId) -> u64 {
    number | (pool.0 as u64) << 32
}

const fn with_key(number: u64, pool: PoolId, key: Key) -> Registers {
    let ObjectId([rsi, rdx, r10]) = key.object;
    Registers { rdi: with_pool(number, pool), rsi, rdx, r10, r8: key.index as u64, r9: 0 }
}

/// The bits of each register that an operation does not use.
struct Unused(Registers);

impl Unused {
    const fn of(operation: Operation) -> Self {
        const ALL: u64 = u64::MAX;
        const NO_POOL: u64 = !0xff;
        const POOL: u64 = 0xffff_ff00;
        const INDEX: u64 = !0xffff_ffff;
        let (rdi, object, r8, r9) = match operation {
            // Of the object registers NEW_POOL checks flags and uuid itself.
            Operation::NewPool => (NO_POOL, 0, ALL, ALL),
            Operation::DestroyPool => (POOL, ALL, ALL, ALL),
            Operation::Put | Operation::Get | Operation::Xchg | Operation::FlushRange => (POOL, 0, INDEX, 0),
            Operation::FlushPage => (POOL, 0, INDEX, ALL),
            Operation::FlushObject => (POOL, 0, ALL, ALL),
            Operation::Read | Operation::Write => (POOL, 0, 0, 0),
            Operation::Batch => (NO_POOL, ALL, INDEX, 0),
            Operation::Query => (NO_POOL, ALL, ALL, 0),
        };
        Self(Registers { rdi, rsi: object, rdx: object, r10: object, r8, r9 })
    }

    const fn check(&self, r: &Registers) -> Result<(), DecodeError> {
        const fn one(register: Register, value: u64, unused: u64) -> Result<(), DecodeError> {
            match value & unused {
                0 => Ok(()),
                bits => Err(DecodeError::ReservedBits { register, bits }),
            }
        }
        let checks = [
            one(Register::Rdi, r.rdi, self.0.rdi),
            one(Register::Rsi, r.rsi, self.0.rsi),
            one(Register::Rdx, r.rdx, self.0.rdx),
            one(Register::R10, r.r10, self.0.r10),
            one(Register::R8, r.r8, self.0.r8),
            one(Register::R9, r.r9, self.0.r9),
        ];
        let [rdi, rsi, rdx, r10, r8, r9] = checks;
        match (rdi, rsi, rdx, r10, r8, r9) {
            (Ok(()), Ok(()), Ok(()), Ok(()), Ok(()), Ok(())) => Ok(()),
            (Err(error), ..)
            | (_, Err(error), ..)
            | (_, _, Err(error), ..)
            | (_, _, _, Err(error), ..)
            | (_, _, _, _, Err(error), _)
            | (.., Err(error)) => Err(error),
        }
    }
}
