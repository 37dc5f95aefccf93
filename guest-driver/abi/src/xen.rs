//! Xen's `tmem_op` (hypercall 38), so that a guest written for it still finds what it expects.
//!
//! Layout, numbers and answers are those of Xen 4.12 (`xen/include/public/tmem.h`, `xen/common/tmem.c`). The
//! operations that were security holes there (control, auth, restore) are answered [`ErrnoXen::NotSupported`].

use core::fmt;

use crate::{Key, ObjectId, PoolFlags, PoolId, Uuid};

/// `rax` of the call; `rdi` holds the guest-**virtual** address of a [`TmemOp`].
pub const CALL_NUMBER: u64 = 38;

/// Xen's only specification version, bits 24-31 of the pool flags.
pub const SPEC_VERSION: u32 = 1;

/// Most pools of a client under Xen.
pub const MAX_POOLS: u32 = 16;

/// `struct tmem_op` of an x86-64 guest: 56 bytes, little-endian. `words` is the union, from byte 8 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TmemOp {
    /// The command.
    pub cmd: u32,
    /// Pool id; Xen declares it signed, here it is a number that is checked.
    pub pool_id: u32,
    /// `creat`: uuid low, uuid high, flags | arg1 << 32. `gen`: object id (3), index | tmem_offset << 32,
    /// pfn_offset | len << 32, guest frame number.
    pub words: [u64; 6],
}

const _: () = assert!(size_of::<TmemOp>() == TmemOp::SIZE);
const _: () = assert!(core::mem::offset_of!(TmemOp, words) == 8);

/// Xen's command numbers that this host knows.
#[allow(missing_docs)] // Their names are Xen's.
pub mod command {
    pub const CONTROL: u32 = 0;
    pub const NEW_POOL: u32 = 1;
    pub const DESTROY_POOL: u32 = 2;
    pub const PUT_PAGE: u32 = 4;
    pub const GET_PAGE: u32 = 5;
    pub const FLUSH_PAGE: u32 = 6;
    pub const FLUSH_OBJECT: u32 = 7;
    pub const AUTH: u32 = 101;
    pub const RESTORE_NEW: u32 = 102;
}

/// Errors with Xen's numbers; answered negated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrnoXen {
    /// EPERM: NEW_POOL with bad flags, an unknown uuid or a full table; a call from user mode.
    NotPermitted = 1,
    /// ENOMEM: not stored.
    NoMemory = 12,
    /// EFAULT: the structure or the page is not readable guest RAM.
    Fault = 14,
    /// ENODEV: no such pool.
    NoPool = 19,
    /// ENOSPC: a put over an existing page failed; the older page is gone.
    NoSpace = 28,
    /// ENOSYS: no such command.
    NoCommand = 38,
    /// EOPNOTSUPP: the command was removed from the hypercall.
    NotSupported = 95,
    /// EFROZEN: the client is frozen.
    Frozen = 1000,
}

impl ErrnoXen {
    /// The value of `rax`: the number, negated.
    #[must_use]
    pub const fn answer(self) -> i64 {
        -(self as i64)
    }
}

/// A decoded `tmem_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // The fields are what their types say.
pub enum XenRequest {
    /// Answers the pool id.
    NewPool { flags: PoolFlags, uuid: Uuid },
    /// Answers 1, or 0 if there was no such pool.
    DestroyPool { pool: PoolId },
    /// Answers 1. `gfn` is a guest frame number, not yet checked.
    Put { pool: PoolId, key: Key, gfn: u64 },
    /// Answers 1, or 0 for a miss. `gfn` is a guest frame number, not yet checked.
    Get { pool: PoolId, key: Key, gfn: u64 },
    /// Answers 1, found or not.
    FlushPage { pool: PoolId, key: Key },
    /// Answers 1, found or not.
    FlushObject { pool: PoolId, object: ObjectId },
}

/// Why a `tmem_op` is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XenDecodeError {
    /// NEW_POOL with reserved, precompressed, page-size or version bits that Xen refused.
    PoolFlags(u32),
    /// A command that Xen took out of the hypercall.
    Removed(u32),
    /// A command that never existed, or was dropped in Xen 4.4. Carries the pool, because Xen answers a bad
    /// pool first.
    Unknown {
        /// The command.
        command: u32,
        /// The pool it names.
        pool: PoolId,
    },
}

impl XenDecodeError {
    /// What Xen 4.12 answered, given that the pool exists.
    #[must_use]
    pub const fn errno(self) -> ErrnoXen {
        match self {
            Self::PoolFlags(_) => ErrnoXen::NotPermitted,
            Self::Removed(_) => ErrnoXen::NotSupported,
            Self::Unknown { .. } => ErrnoXen::NoCommand,
        }
    }
}

impl fmt::Display for XenDecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoolFlags(bits) => write!(f, "Xen pool flags {bits:#x} are not supported"),
            Self::Removed(command) => write!(f, "Xen tmem command {command} is not served to guests"),
            Self::Unknown { command, .. } => write!(f, "no Xen tmem command has number {command}"),
        }
    }
}

impl core::error::Error for XenDecodeError {}

impl TmemOp {
    /// Bytes of the structure.
    pub const SIZE: usize = 56;

    /// The structure in these bytes of guest memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        let head = next();
        Self {
            cmd: head as u32,
            pool_id: (head >> 32) as u32,
            words: [next(), next(), next(), next(), next(), next()],
        }
    }

    /// The bytes as they stand in guest memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let head = u64::from(self.cmd) | u64::from(self.pool_id) << 32;
        let words = core::iter::once(head).chain(self.words);
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    /// What the structure asks for. As in Xen, byte ranges of PUT and GET are ignored.
    ///
    /// # Errors
    /// Pool flags that Xen refused, and commands that are not served.
    pub const fn decode(&self) -> Result<XenRequest, XenDecodeError> {
        let pool = PoolId(self.pool_id);
        let [w0, w1, w2, w3, _, gfn] = self.words;
        let object = ObjectId([w0, w1, w2]);
        let key = Key { object, index: w3 as u32 };
        Ok(match self.cmd {
            command::NEW_POOL => match pool_flags(w2 as u32, Uuid([w0, w1])) {
                Some((flags, uuid)) => XenRequest::NewPool { flags, uuid },
                None => return Err(XenDecodeError::PoolFlags(w2 as u32)),
            },
            command::DESTROY_POOL => XenRequest::DestroyPool { pool },
            command::PUT_PAGE => XenRequest::Put { pool, key, gfn },
            command::GET_PAGE => XenRequest::Get { pool, key, gfn },
            command::FLUSH_PAGE => XenRequest::FlushPage { pool, key },
            command::FLUSH_OBJECT => XenRequest::FlushObject { pool, object },
            command::CONTROL | command::AUTH | command::RESTORE_NEW => {
                return Err(XenDecodeError::Removed(self.cmd));
            }
            command => return Err(XenDecodeError::Unknown { command, pool }),
        })
    }

    /// The structure that asks for this; [`TmemOp::decode`] gives it back.
    #[must_use]
    pub const fn encode(request: &XenRequest) -> Self {
        const fn generic(cmd: u32, pool: PoolId, key: Key, gfn: u64) -> TmemOp {
            let ObjectId([a, b, c]) = key.object;
            TmemOp { cmd, pool_id: pool.0, words: [a, b, c, key.index as u64, 0, gfn] }
        }
        const NO_KEY: Key = Key { object: ObjectId([0; 3]), index: 0 };
        match *request {
            XenRequest::NewPool { flags, uuid: Uuid([low, high]) } => {
                let word = flags.bits() | (SPEC_VERSION as u64) << 24;
                TmemOp { cmd: command::NEW_POOL, pool_id: 0, words: [low, high, word, 0, 0, 0] }
            }
            XenRequest::DestroyPool { pool } => generic(command::DESTROY_POOL, pool, NO_KEY, 0),
            XenRequest::Put { pool, key, gfn } => generic(command::PUT_PAGE, pool, key, gfn),
            XenRequest::Get { pool, key, gfn } => generic(command::GET_PAGE, pool, key, gfn),
            XenRequest::FlushPage { pool, key } => generic(command::FLUSH_PAGE, pool, key, 0),
            XenRequest::FlushObject { pool, object } => {
                generic(command::FLUSH_OBJECT, pool, Key { object, index: 0 }, 0)
            }
        }
    }
}

/// Xen's rules for pool flags: version 1, page size code 0, nothing reserved, not precompressed, not both
/// persistent and shared. Bit 3 was never checked. An all-ones uuid asks for a private pool.
const fn pool_flags(bits: u32, uuid: Uuid) -> Option<(PoolFlags, Uuid)> {
    const PERSIST: u32 = 1;
    const SHARED: u32 = 2;
    const UNCHECKED: u32 = 8;
    const PRIVATE: Uuid = Uuid([0, 0]);
    if bits & !(PERSIST | SHARED | UNCHECKED) != SPEC_VERSION << 24 {
        return None;
    }
    let all_ones = uuid.0[0] == u64::MAX && uuid.0[1] == u64::MAX;
    match (bits & PERSIST != 0, bits & SHARED != 0) {
        (true, true) => None,
        (true, false) => Some((PoolFlags::Persistent, PRIVATE)),
        (false, true) if !all_ones => Some((PoolFlags::Shared, uuid)),
        (false, _) => Some((PoolFlags::Ephemeral, PRIVATE)),
    }
}
