//! A second tier behind the same seam: pages that stay go to it, and are read out of it with no lock held.

use std::collections::HashMap;
use std::sync::Mutex as Plain;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::LivePage;
use crate::pages::{Damaged, Fetched, Held, NoRoom, Packing, Record, Stored};
use crate::{Budget, Key, PoolKind};

/// Called when a page is about to be read, with no lock held.
type Rival = Box<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Below {
    pages: Plain<HashMap<u32, Page>>,
    next: AtomicU32,
    reads: AtomicU32,
    rival: OnceLock<Rival>,
}

/// The arena, and below it a tier that takes all pages that would be compressed.
struct Tiered(ArenaPages, Arc<Below>);

impl PageStore for Tiered {
    fn create(&self, page: LivePage<'_>) -> Result<Stored, NoRoom> {
        self.0.create(page)
    }

    fn pack(&self, page: &Page, packing: Packing) -> Result<Option<Stored>, NoRoom> {
        let place = self.1.next.fetch_add(1, Ordering::Relaxed);
        self.1.pages.lock().unwrap().insert(place, *page);
        Ok(Some(Stored { a: place, b: packing.checksum, form: Form::Elsewhere(0), units: 0 }))
    }

    fn fetch(&self, stored: &Stored, page: &mut Page) -> Fetched {
        match stored.form {
            Form::Elsewhere(_) => Fetched::elsewhere(stored),
            _ => self.0.fetch(stored, page),
        }
    }

    fn finish(&self, fetched: Fetched, page: &mut Page) -> Result<(), Damaged> {
        if !fetched.is_elsewhere() {
            return self.0.finish(fetched, page);
        }
        if self.1.reads.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(rival) = self.1.rival.get()
        {
            rival();
        }
        *page = *self.1.pages.lock().unwrap().get(&fetched.a).ok_or(Damaged)?;
        Ok(())
    }

    fn free(&self, stored: Stored) {
        match stored.form {
            Form::Elsewhere(_) => drop(self.1.pages.lock().unwrap().remove(&stored.a)),
            _ => self.0.free(stored),
        }
    }

    fn held(&self) -> Held {
        self.0.held()
    }

    fn sparse(&self, one_in: u32) -> Option<u32> {
        self.0.sparse(one_in)
    }

    fn record(&self, segment: u32, last: Option<&Record>) -> Option<Record> {
        self.0.record(segment, last)
    }

    fn relocate(&self, record: &Record, page: &mut Page) -> Option<u32> {
        self.0.relocate(record, page)
    }

    fn leave(&self, segment: u32) {
        self.0.leave(segment);
    }
}

fn tiered() -> (Arc<Store>, Arc<Below>) {
    let below = Arc::new(Below::default());
    let tier = Arc::clone(&below);
    let config = StoreConfig { capacity_bytes: 8 << 20, shards: 2, ..Default::default() };
    let store = Store::with_parts(config, |pages| Box::new(Tiered(pages, tier)), |shares| shares).unwrap();
    (store, below)
}

#[test]
fn pages_that_stay_go_down_a_tier_and_come_back_from_it() {
    let (store, below) = tiered();
    let guest = store.add_client(ClientConfig::default()).unwrap();
    for kind in [PoolKind::Persistent, PoolKind::Ephemeral] {
        let pool = guest.new_pool(kind).unwrap();
        (0..500).for_each(|n| guest.put(pool, &Key::new(1.into(), n), &page(n.into())).unwrap());
        settle(&store);
        assert_eq!((below.pages.lock().unwrap().len(), store.stats().raw_pages), (500, 0));
        for n in 0..500 {
            let mut got = [0; PAGE_SIZE];
            assert_eq!((guest.get(pool, &Key::new(1.into(), n), &mut got), got), (Ok(true), page(n.into())));
        }
        guest.put(pool, &Key::new(1.into(), 0), &page(7)).unwrap();
        guest.flush_object(pool, 1.into(), u32::MAX).unwrap();
        assert_eq!((below.pages.lock().unwrap().len(), guest.usage().persistent_pages), (0, 0));
    }
}

#[test]
fn a_page_that_is_replaced_while_it_is_read_below_is_read_again() {
    let (store, below) = tiered();
    let guest = store.add_client(ClientConfig::default()).unwrap();
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let key = Key::new(1.into(), 1);
    guest.put(pool, &key, &page(1)).unwrap();
    while store.maintain(Budget::at_once()).more {}
    let (other, again) = (guest.clone(), Arc::downgrade(&store));
    let rival = move || {
        other.put(pool, &key, &page(2)).unwrap();
        // Its place below is another page's by now.
        settle(&again.upgrade().unwrap());
    };
    assert!(below.rival.set(Box::new(rival)).is_ok());
    let mut got = [0; PAGE_SIZE];
    assert_eq!((guest.get(pool, &key, &mut got), got), (Ok(true), page(2)));
    assert!(below.reads.load(Ordering::Relaxed) >= 2);
}
