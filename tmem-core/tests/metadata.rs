//! What clients are charged, against what the process really allocates for them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails may panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};

use tmem_core::{
    Budget, ClientConfig, Codec, Key, PAGE_SIZE, PoolKind, SharedUuid, Store, StoreConfig, StoreStats,
};

/// The system's allocator, with the bytes it has handed out.
struct Counting;

static HEAP: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of alloc, which is this one's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HEAP.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of dealloc, and alloc above is the system's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes held outside the arena, and in it.
fn real(stats: &StoreStats) -> i64 {
    HEAP.load(Ordering::Relaxed) as i64 + stats.used_bytes as i64
}

/// A guest that stores pages of one word in the places that cost the most metadata: what it makes the host hold is
/// charged to it. One test, because the count is the whole process's.
#[test]
fn what_a_guest_makes_the_host_hold_is_charged_to_it() {
    let uuid = SharedUuid([1, 1]);
    for kind in [PoolKind::Persistent, PoolKind::Shared(uuid)] {
        // Pages an object, their distance, and objects.
        for (pages, step, objects) in [(1, 1, 60_000), (1, 64, 60_000), (6, 64, 10_000), (16, 1, 4_000)] {
            let config = StoreConfig { capacity_bytes: 256 << 20, codec: Codec::Raw, ..Default::default() };
            let store = Store::new(config).unwrap();
            let guest = store.add_client(ClientConfig { shared: vec![uuid], ..Default::default() }).unwrap();
            let pool = guest.new_pool(kind).unwrap();
            let before = real(&store.stats());
            let charged = guest.usage().bytes;
            for object in 0..objects {
                for n in 1..=pages {
                    guest.put(pool, &Key::new(object.into(), n * step), &[7; PAGE_SIZE]).unwrap();
                }
            }
            let held = real(&store.stats()) - before;
            let charged = (guest.usage().bytes - charged) as i64;
            // Blocks, magazines and tables are taken ahead of need: a few for each shard and class.
            let ahead = 2 << 20;
            assert!(
                held <= charged + ahead,
                "{kind:?}, {pages} pages {step} apart: {held} bytes held, {charged} charged"
            );
            guest.destroy_pool(pool).unwrap();
            while store.maintain(Budget::at_once()).more {}
            assert_eq!(guest.usage().bytes, 0);
        }
    }
}
