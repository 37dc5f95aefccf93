//! Why a bare guest could not be made.

use thiserror::Error;
use tmem_core::StoreError;

use super::{CorePutError, Payload};
use crate::arch::layout::RamSizeError;
use crate::kvm::{KvmError, SystemError};
use crate::memory::{GpaError, MemoryError};

/// Why a bare guest could not be made. The text of the cause says what to do.
#[derive(Debug, Error)]
pub enum BareError {
    /// More vCPUs than the layout has room for, or none.
    #[error("a bare guest has 1 to {most} vCPUs, not {asked}", most = tmem_bare::layout::MAX_VCPUS)]
    Vcpus {
        /// What was asked for.
        asked: u32,
    },
    /// The transport or level that was asked for is not to be had here.
    #[error("{0}")]
    Setting(&'static str),
    /// No usable /dev/kvm.
    #[error(transparent)]
    System(#[from] SystemError),
    /// KVM refused a request.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// Its RAM.
    #[error(transparent)]
    RamSize(#[from] RamSizeError),
    /// Its RAM.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A table or the payload does not fit into its RAM.
    #[error("the guest's own tables do not fit into its RAM: {0}")]
    Table(#[from] GpaError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store, measured without a guest.
    #[error("cannot measure the store without a guest: {0}")]
    CorePut(#[from] CorePutError),
    /// The payload inside this program is damaged.
    #[error(
        "the payload {payload} in this program is no loadable ELF image: {source}; build the program again"
    )]
    Image {
        /// Which.
        payload: Payload,
        /// What the loader said.
        source: linux_loader::loader::Error,
    },
    /// The host gives no event descriptor.
    #[error("cannot make an event descriptor: {0}; raise the limit of open files")]
    Event(std::io::Error),
    /// A guest of a few instructions did not get to their end.
    #[error("a guest of a few instructions died: {0}")]
    Died(String),
    /// The host gives no more threads.
    #[error("cannot start a thread for a vCPU: {0}; run fewer guests or vCPUs")]
    Thread(std::io::Error),
}
