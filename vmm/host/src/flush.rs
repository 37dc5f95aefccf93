//! Flushes of many pages, in slices, so that a call with much to do can be ended between two of them.

use tmem_abi::Errno;
use tmem_core::{Flushed, OpError};
use vm_memory::GuestMemoryBackend;

use crate::answer::errno;
use crate::call::Caller;

/// Chunks of 64 pages that one slice looks at: some milliseconds of work.
pub(crate) const STEPS: u32 = 4096;

impl<M: GuestMemoryBackend> Caller<'_, M> {
    /// Flushes in slices until nothing is left, and tells how many pages went.
    ///
    /// # Errors
    /// What the store says, and [`Errno::Again`] when the guest is to stop.
    pub(crate) fn in_slices(
        &self,
        mut slice: impl FnMut(u32) -> Result<Flushed, OpError>,
    ) -> Result<u64, Errno> {
        let mut pages = 0;
        loop {
            let flushed = slice(STEPS).map_err(errno)?;
            pages += flushed.pages;
            if !flushed.more {
                return Ok(pages);
            }
            if self.is_stopped() {
                return Err(Errno::Again);
            }
        }
    }
}
