//! From what the store says to what the guest is told.

use tmem_abi::Errno;
use tmem_core::OpError;

/// The answer of one operation before it becomes a number.
pub(super) type Answer = Result<i64, Errno>;

/// The error number for a refusal of the store; the only place where the two meet.
pub(super) fn errno(error: OpError) -> Errno {
    match error {
        // A closed client is a guest that the host has let go: it has no pools any more.
        OpError::NoSuchPool | OpError::Closed => Errno::NoPool,
        OpError::NotPermitted => Errno::NotPermitted,
        OpError::NoFreePool => Errno::NoFreePool,
        OpError::NoMemory => Errno::NoMemory,
        OpError::Frozen => Errno::Frozen,
        OpError::Corrupt => Errno::Io,
    }
}

/// The value of `rax`.
pub(super) fn number(answer: Answer) -> i64 {
    answer.unwrap_or_else(Errno::answer)
}

/// A count of pages as an answer.
pub(super) fn count(pages: u64) -> i64 {
    i64::try_from(pages).unwrap_or(i64::MAX)
}
