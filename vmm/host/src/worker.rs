//! The thread that does the store's background work, and sleeps when there is none.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle, park, park_timeout};
use std::time::{Duration, Instant};

use tmem_core::{Budget, Store};

use crate::pressure::Pressure;

/// How often the host's memory pressure is read while the store holds memory that it could give back.
const WATCH: Duration = Duration::from_secs(1);

/// Rest between two steps of evicting for a host that is short of memory: 10 MiB a second, and more of what is compressed.
const PACE: Duration = Duration::from_millis(100);

/// A running thread. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Worker {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts it.
    ///
    /// # Errors
    /// When the host has no thread.
    pub(crate) fn start(store: &Arc<Store>) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (worker, stop) = (Arc::clone(store), Arc::clone(&over));
        let thread = Builder::new().name("store".into()).spawn(move || work(&worker, &stop))?;
        let sleeper = thread.thread().clone();
        // Unparking a thread that is awake costs an atomic operation, and the store does it only for one that rests.
        store.on_work(move || sleeper.unpark());
        // It may have gone to rest before it could be woken, and work may have come since: it looks again.
        thread.thread().unpark();
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It can only have ended well: a panic ends the process.
            let _ = thread.join();
        }
    }
}

fn work(store: &Store, over: &AtomicBool) {
    let mut pressure = Pressure::open();
    let mut watched = Instant::now();
    while !over.load(Ordering::Acquire) {
        if watched.elapsed() >= WATCH {
            watched = Instant::now();
            if pressure.is_high() {
                relieve(store, over, &mut pressure);
            }
        }
        let progress = store.maintain(Budget::default());
        match progress.rest {
            _ if progress.more => {}
            Some(rest) => park_timeout(rest),
            // What may be evicted is the host's as soon as it is short of memory.
            None if store.stats().ephemeral_pages > 0 => park_timeout(WATCH),
            None => park(),
        }
    }
}

/// Compresses, gives back and evicts, until the host is short of memory no more or nothing is left.
fn relieve(store: &Store, over: &AtomicBool, pressure: &mut Pressure) {
    while !over.load(Ordering::Acquire) && store.maintain(Budget::at_once()).more {}
    while !over.load(Ordering::Acquire) && pressure.is_high() {
        let progress = store.maintain(Budget::short_of_memory());
        if progress.evicted == 0 {
            return;
        }
        // The average follows slowly: pages go at a measured pace, not all of them at once.
        park_timeout(PACE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tmem_core::{ClientConfig, Key, PAGE_SIZE, PoolKind, StoreConfig};

    #[test]
    fn a_thread_that_rests_wakes_for_a_closed_guest_and_ends_when_dropped() {
        let store = Store::new(StoreConfig { capacity_bytes: 4 << 20, ..Default::default() }).unwrap();
        let thread = Worker::start(&store).unwrap();
        let guest = store.add_client(ClientConfig::default()).unwrap();
        let pool = guest.new_pool(PoolKind::Persistent).unwrap();
        guest.put(pool, &Key::new(1.into(), 1), &[1; PAGE_SIZE]).unwrap();
        guest.close();
        while store.stats().same_pages > 0 {
            std::thread::yield_now();
        }
        drop(thread);
        assert_eq!(Arc::strong_count(&store), 2, "the thread's is gone; ours and the closed guest's stay");
    }
}
