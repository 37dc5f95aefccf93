//! What can go wrong, for a guest's operation and for the embedder.

use thiserror::Error;

/// Why an operation of a client was not done.
///
/// After a refused put or write no page is stored under that key; after a refused exchange nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpError {
    /// The client has no pool of that number.
    #[error("the client has no such pool: create it first, or use the number that creating it returned")]
    NoSuchPool,
    /// The client may not have a pool of that kind or name.
    #[error(
        "the client is not allowed a pool of this kind or shared name: allow it in the client's configuration"
    )]
    NotPermitted,
    /// All pool numbers of the client are in use.
    #[error("the client already has as many pools as it may: destroy one, or raise max_pools")]
    NoFreePool,
    /// The client's cap or the store's capacity is reached and nothing may be evicted for it.
    #[error(
        "no room for the page within the client's cap and the store's capacity: flush pages or raise the cap"
    )]
    NoMemory,
    /// The client is frozen and may not store pages.
    #[error("the client is frozen: thaw it before storing pages")]
    Frozen,
    /// A stored page did not decode to what was put.
    #[error("the stored page is damaged: its checksum or its compressed form is wrong; flush it")]
    Corrupt,
    /// The client was closed.
    #[error("the client is closed: add it to the store again")]
    Closed,
}

/// Why the store or a client could not be set up.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A number in the configuration is impossible.
    #[error("{field} = {value} is impossible: {why}")]
    Config {
        /// The configuration field.
        field: &'static str,
        /// The value it had.
        value: u64,
        /// What it has to be.
        why: &'static str,
    },
    /// The operating system gave no address space for the arena.
    #[error(
        "cannot reserve {bytes} bytes of address space for the store's arena: {source}; lower the capacity"
    )]
    Reserve {
        /// Bytes asked for.
        bytes: u64,
        /// What the system call said.
        source: std::io::Error,
    },
    /// There is no room to keep another client's ledgers.
    #[error("no room for another client: {clients} exist already; close one or raise the capacity")]
    NoRoom {
        /// Clients that exist.
        clients: usize,
    },
}
