//! A host of two guests: a store, a thread for its background work, caps and shares, and what it all takes.
//!
//! `cargo run -p tmem-core --example host`
//!
//! Memory: the store's size is that of everything that guests make it hold, pages and metadata. Beside it the process takes
//! about 17 KiB a shard (one for each 4 MiB of the store, 64 at most) for tables of fixed size, 90 bytes for each 64 KiB of
//! compressed pages, and up to 64 KiB a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tmem_core::{Budget, ClientConfig, Key, PAGE_SIZE, PoolKind, Share, Store, StoreConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = Store::new(StoreConfig { capacity_bytes: 64 << 20, ..Default::default() })?;

    // The store starts no thread. This one works until there is nothing to do, and is woken when there is again.
    let over = Arc::new(AtomicBool::new(false));
    let (worker, stop) = (Arc::clone(&store), Arc::clone(&over));
    let maintenance = thread::spawn(move || {
        while !stop.load(Ordering::Acquire) {
            let progress = worker.maintain(Budget::default());
            match progress.rest {
                _ if progress.more => {}
                Some(rest) => thread::park_timeout(rest),
                None => thread::park(),
            }
        }
    });
    let sleeper = maintenance.thread().clone();
    store.on_work(move || sleeper.unpark());

    // Half of the store is the database's whenever it wants it; the other guest may hold 16 MiB.
    let share = Share { reservation_bytes: 30 << 20, weight: 100 };
    let database = store.add_client(ClientConfig { name: "database".into(), share, ..Default::default() })?;
    let builds = store.add_client(ClientConfig {
        name: "builds".into(),
        cap_bytes: 16 << 20,
        ..Default::default()
    })?;

    let swap = database.new_pool(PoolKind::Persistent)?;
    let cache = builds.new_pool(PoolKind::Ephemeral)?;
    for index in 0..2000 {
        let mut page = [index as u8; PAGE_SIZE];
        page[0] = 1;
        database.put(swap, &Key::new(1.into(), index), &page)?;
        builds.put(cache, &Key::new(7.into(), index), &page)?;
    }
    let mut page = [0; PAGE_SIZE];
    assert!(database.get(swap, &Key::new(1.into(), 1999), &mut page)?, "what is persistent stays");

    // A guest's request to drop a whole object, in steps, so that no call takes long.
    while builds.flush_object(cache, 7.into(), 1024)?.more {}

    for client in [&database, &builds] {
        println!("{}: {:?}", client.name(), client.usage());
    }
    println!("{:?}", store.stats());

    over.store(true, Ordering::Release);
    maintenance.thread().unpark();
    maintenance.join().map_err(|_| "the maintenance thread panicked")?;
    Ok(())
}
