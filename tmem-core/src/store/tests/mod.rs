//! The store from inside: every step that can fail, made to fail; the work that is done under locks, counted; pages that
//! are in another tier.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

mod bounds;
mod faults;
mod tier;

use super::*;
use crate::page::Page;

/// A page that compresses, and is not of one word.
fn page(seed: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    page.chunks_exact_mut(8)
        .enumerate()
        .for_each(|(n, w)| w.copy_from_slice(&(seed * 99 + n as u64 / 8).to_le_bytes()));
    page
}

/// Works until nothing is left to do.
fn settle(store: &Store) {
    let budget = crate::Budget::at_once;
    let rounds = (0..10_000).take_while(|_| store.maintain(budget()).more).count();
    let stats = store.stats();
    assert!(rounds < 10_000, "background work never ends: {:?} {stats:?}", store.background.jobs.take());
}
