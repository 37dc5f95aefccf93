//! The entry of a batch: the six registers of the call it stands for, and its answer.

use crate::Registers;

/// One entry of a batch, 64 bytes, little-endian. An array of them starts at a page-aligned address and is
/// contiguous in guest-physical memory, so one page holds 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct BatchEntry {
    /// As in a call of its own.
    pub rdi: u64,
    /// As in a call of its own.
    pub rsi: u64,
    /// As in a call of its own.
    pub rdx: u64,
    /// As in a call of its own.
    pub r10: u64,
    /// As in a call of its own.
    pub r8: u64,
    /// As in a call of its own.
    pub r9: u64,
    /// Written by the host: what `rax` would have held.
    pub status: i64,
    /// The guest's own; the host neither reads nor writes it.
    pub cookie: u64,
}

const _: () = assert!(size_of::<BatchEntry>() == BatchEntry::SIZE);
const _: () = assert!(core::mem::offset_of!(BatchEntry, status) == BatchEntry::STATUS_OFFSET);

impl BatchEntry {
    /// Bytes of an entry.
    pub const SIZE: usize = 64;

    /// Byte offset of `status`, the only field that the host writes.
    pub const STATUS_OFFSET: usize = 48;

    /// The entry that asks for what these registers ask for.
    #[must_use]
    pub const fn new(registers: Registers) -> Self {
        let Registers { rdi, rsi, rdx, r10, r8, r9 } = registers;
        Self { rdi, rsi, rdx, r10, r8, r9, status: 0, cookie: 0 }
    }

    /// The registers of the call that this entry stands for.
    #[must_use]
    pub const fn registers(&self) -> Registers {
        let Self { rdi, rsi, rdx, r10, r8, r9, .. } = *self;
        Registers { rdi, rsi, rdx, r10, r8, r9 }
    }

    /// An entry from its bytes in guest memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        Self {
            rdi: next(),
            rsi: next(),
            rdx: next(),
            r10: next(),
            r8: next(),
            r9: next(),
            status: next().cast_signed(),
            cookie: next(),
        }
    }
}
