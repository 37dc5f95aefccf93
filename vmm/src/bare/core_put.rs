//! What a put costs the store alone, in the run that measures it over a hypercall, so that the two can be compared.

use std::sync::Arc;
use std::time::Instant;

use tmem_core::{ClientConfig, Key, OpError, PAGE_SIZE, Page, PoolKind, Store};

/// Rounds of puts, of which the median is taken.
const ROUNDS: usize = 2001;

/// Nanoseconds of a put of `pages` pages in turn, as guests do it: each round puts them all, and flushes them.
///
/// Rounds are timed whole, because a look at the clock costs as much as a tenth of a put.
pub(super) fn core_put_ns(store: &Arc<Store>, pages: u64) -> Result<f64, CorePutError> {
    let host = store.add_client(ClientConfig { name: "host".into(), ..Default::default() })?;
    let pool = host.new_pool(PoolKind::Persistent)?;
    let contents: Vec<Page> = (0..pages).map(page).collect();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (page, index) in contents.iter().zip(0..) {
            host.put(pool, &Key::new(1.into(), index), page)?;
        }
        rounds.push(start.elapsed().as_nanos() as f64 / pages as f64);
        host.flush_object(pool, 1.into(), u32::MAX)?;
    }
    host.close();
    rounds.sort_by(f64::total_cmp);
    Ok(rounds.get(ROUNDS / 2).copied().unwrap_or_default())
}

/// The store refused what it has room for.
#[derive(Debug, thiserror::Error)]
pub enum CorePutError {
    /// A client could not be added.
    #[error("the store could not be set up: {0}")]
    Store(#[from] tmem_core::StoreError),
    /// An operation failed.
    #[error("an operation on the store failed: {0}")]
    Op(#[from] OpError),
}

/// A page that is not of one repeated word.
fn page(number: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    for (word, place) in (number << 32..).zip(page.chunks_exact_mut(8)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use tmem_core::StoreConfig;

    #[test]
    fn puts_take_time_and_leave_nothing() {
        let store = Store::new(StoreConfig::default()).unwrap();
        assert!(core_put_ns(&store, 4).unwrap() > 0.0);
        assert_eq!(store.stats().raw_pages, 0);
    }
}
