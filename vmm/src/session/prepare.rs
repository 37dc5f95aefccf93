//! What every guest needs of the host, looked at before the first starts.

use thiserror::Error;

use crate::arch::layout::RamSizeError;
use crate::config::GuestConfig;
use crate::disk::{self, DiskError, Image};
use crate::kvm::{KvmError, System};

/// Why a guest cannot be run here, and so none is.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// KVM refused.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Its memory is more than the processor reaches.
    #[error("{guest}: {source}")]
    Memory {
        /// Whose memory.
        guest: String,
        /// Why not.
        source: RamSizeError,
    },
    /// A disk cannot be had.
    #[error("{guest}: {source}")]
    Disk {
        /// Whose disk.
        guest: String,
        /// Why not.
        source: DiskError,
    },
}

/// Opens and locks the disks of each guest.
pub(super) fn open_disks(guests: &[GuestConfig]) -> Result<Vec<Vec<Image>>, PrepareError> {
    let open = |guest: &GuestConfig| {
        let guest = &guest.spec;
        disk::open(&guest.disks).map_err(|source| PrepareError::Disk { guest: guest.name.clone(), source })
    };
    guests.iter().map(open).collect()
}

/// Looks whether the processor reaches all the memory of each guest.
pub(super) fn check_memory(system: &System, guests: &[GuestConfig]) -> Result<(), PrepareError> {
    let bits = system.address_bits()?;
    for guest in guests.iter().map(|guest| &guest.spec) {
        let fits = guest.memory.fits(bits);
        fits.map_err(|source| PrepareError::Memory { guest: guest.name.clone(), source })?;
    }
    Ok(())
}
