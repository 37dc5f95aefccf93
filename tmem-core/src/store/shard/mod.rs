//! A shard: its part of the index, of every client's ledger and of what is counted. One lock guards all of it.
//!
//! A shard is a plain data structure that keeps its own invariants: a page is in the index, in its client's policy, in its
//! ledger and in the tally, or in none of them, whichever method is called. Counters and credit of a client are kept once
//! per shard, as plain numbers: threads that work on different shards share no cache line.

mod chunks;
mod compress;
mod ledger;
mod pages;
mod tally;

use std::sync::Arc;

pub(super) use compress::{Candidate, LOOK, Pick};
pub(super) use ledger::{Bank, Ledger};
pub(super) use pages::{Expect, Gone, Linked, NewPage, Removed, Seen, YOUNG};
pub(super) use tally::Tally;

use crate::arena::Arena;
use crate::fallible;
use crate::hashes::Hashes;
use crate::index::Index;

/// Chunks that background work looks at under one lock.
pub(super) const SCAN: u32 = 64;

/// One shard.
pub(super) struct Shard {
    index: Index,
    ledgers: Vec<Option<Box<Ledger>>>,
    tally: Tally,
    /// Where the compressor goes on.
    hand: u32,
    /// Where the search for sparse frames of metadata goes on.
    tidy_hand: u32,
}

impl Shard {
    /// One of so many shards.
    pub(super) fn new(hashes: Hashes, arena: Arc<Arena>, shards: usize) -> Self {
        let (ledgers, tally) = (Vec::new(), Tally::default());
        Self { index: Index::new(hashes, arena, shards), ledgers, tally, hand: 0, tidy_hand: 0 }
    }

    /// Gives a client a ledger here. `None` when there is no memory for it.
    pub(super) fn add_ledger(&mut self, client: u16, ledger: Box<Ledger>) -> Option<()> {
        while self.ledgers.len() <= usize::from(client) {
            fallible::push(&mut self.ledgers, None)?;
        }
        *self.ledgers.get_mut(usize::from(client))? = Some(ledger);
        Some(())
    }

    /// Takes a client's ledger away, to be dropped when the lock is released.
    pub(super) fn take_ledger(&mut self, client: u16) -> Option<Box<Ledger>> {
        self.ledgers.get_mut(usize::from(client))?.take()
    }

    /// The ledger of a client that may have been retired.
    pub(super) fn ledger_if_any(&mut self, client: u16) -> Option<&mut Ledger> {
        self.ledgers.get_mut(usize::from(client))?.as_deref_mut()
    }

    /// The ledger of a client that has not been retired.
    pub(super) fn ledger(&mut self, client: u16) -> &mut Ledger {
        self.ledger_if_any(client).expect("a client's ledger is kept until nothing is charged to it")
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// All chunk numbers are below this one.
    pub(super) fn chunk_numbers(&self) -> u32 {
        self.index.chunk_numbers()
    }

    /// Chunks and nodes there are.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn chunk_count(&self) -> usize {
        self.index.chunk_count()
    }
}
