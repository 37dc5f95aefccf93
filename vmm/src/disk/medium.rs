//! What a disk's bytes are kept in, whatever it is.

use std::io;
use std::sync::atomic::AtomicBool;

use vm_memory::VolatileSlice;

use super::SECTOR;

/// Bytes that a disk shows to a guest: a file, a block device, a store. Offsets are bytes, and whole sectors; the caller has looked
/// that they are inside. Several threads may use it at once.
pub trait Medium: Send + Sync {
    /// Whether it can only be read.
    fn read_only(&self) -> bool;

    /// Bytes of the smallest part that it likes to be asked for: a power of two, at least [`SECTOR`].
    fn block(&self) -> u32 {
        SECTOR as u32
    }

    /// Its size now, in bytes.
    ///
    /// # Errors
    /// The host's answer.
    fn size(&self) -> io::Result<u64>;

    /// Makes it larger; what is added reads as zeros.
    ///
    /// # Errors
    /// The host's answer; [`io::ErrorKind::Unsupported`] for one that cannot be changed.
    fn grow(&self, bytes: u64) -> io::Result<()>;

    /// Fills `parts` with the bytes from `at` on.
    ///
    /// # Errors
    /// The host's answer, or that what was there is lost.
    fn read(&self, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()>;

    /// Writes `parts` from `at` on.
    ///
    /// # Errors
    /// The host's answer. What was there before may be gone, and is then an error to read.
    fn write(&self, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()>;

    /// Waits until everything that was written is as safe as it can be.
    ///
    /// # Errors
    /// The host's answer.
    fn flush(&self) -> io::Result<()>;

    /// Gives up what is there. It reads as zeros afterwards.
    ///
    /// # Errors
    /// The host's answer: [`io::ErrorKind::Unsupported`] where it has no holes, [`io::ErrorKind::Interrupted`] after `stop`.
    fn discard(&self, at: u64, bytes: u64, stop: &AtomicBool) -> io::Result<()>;

    /// Makes zeros, which take no room if `unmap`, else may keep the room that they have.
    ///
    /// # Errors
    /// The host's answer; [`io::ErrorKind::Interrupted`] after `stop`.
    fn write_zeros(&self, at: u64, bytes: u64, unmap: bool, stop: &AtomicBool) -> io::Result<()>;
}
