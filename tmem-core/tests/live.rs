//! Pages that are put while somebody writes them, as a guest's other vCPU can.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tmem_core::{ClientConfig, Key, LivePage, PAGE_SIZE, PoolKind, Store, StoreConfig};

const WORDS: usize = PAGE_SIZE / 8;
const PUTS: u32 = 20_000;

#[test]
fn a_page_that_changes_while_it_is_put_is_stored_whole_with_its_own_checksum() {
    let store =
        Store::new(StoreConfig { capacity_bytes: 16 << 20, verify_every_read: true, ..Default::default() })
            .unwrap();
    let guest = store.add_client(ClientConfig::default()).unwrap();
    let pool = guest.new_pool(PoolKind::Persistent).unwrap();
    let memory = [const { AtomicU64::new(0) }; WORDS];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Every word counts up through one byte that fills it; at times all are the same, and the page is one word.
            for byte in (0..=255u64).cycle() {
                memory.iter().for_each(|word| word.store(byte * 0x0101_0101_0101_0101, Ordering::Relaxed));
                if done.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        // SAFETY: the memory outlives the scope, and nobody takes it for anything but words that change.
        let live = unsafe { LivePage::new(NonNull::from(&memory).cast()) };
        let mut page = [0; PAGE_SIZE];
        for put in 0..PUTS {
            let key = Key::new(1.into(), put % 100);
            guest.put(pool, &key, live).unwrap();
            // Corrupt, if the checksum is not that of what was stored.
            assert!(guest.get(pool, &key, &mut page).unwrap());
            // Words are written whole, and so they are read.
            assert!(page.as_chunks::<8>().0.iter().all(|word| word.iter().all(|byte| *byte == word[0])));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.stats().persistent_pages, 100);
}
