//! The load: each thread picks pages uniformly, 40 % put, 10 % flush, 50 % get; half of the pages are there at the start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tmem_core::{PAGE_SIZE, Page};

use crate::peers::Peer;
use crate::random::Random;

/// Different pages, used in turn. None is of one repeated word: the store would keep those for nothing.
const CONTENTS: usize = 1024;

/// A peer under load.
pub(crate) struct Churn<'a> {
    peer: &'a dyn Peer,
    pages: u32,
    contents: Vec<Page>,
}

impl<'a> Churn<'a> {
    /// Puts every second page.
    pub(crate) fn new(peer: &'a dyn Peer, pages: u32) -> Self {
        let mut random = Random(1);
        let contents = (0..CONTENTS).map(|_| {
            let mut page = [0; PAGE_SIZE];
            page.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&random.next().to_le_bytes()));
            page
        });
        let churn = Self { peer, pages, contents: contents.collect() };
        (0..pages).step_by(2).for_each(|n| peer.put(n.into(), churn.content(n)));
        churn
    }

    fn content(&self, name: u32) -> &Page {
        &self.contents[name as usize % CONTENTS]
    }

    fn work(&self, seed: u64, over: &AtomicBool) -> u64 {
        let mut random = Random(seed << 32);
        let mut page = [0; PAGE_SIZE];
        let mut operations = 0;
        while !over.load(Ordering::Relaxed) {
            for _ in 0..16 {
                let number = random.next();
                let name = (((number & 0xffff_ffff) * u64::from(self.pages)) >> 32) as u32;
                match (number >> 32) % 10 {
                    0..4 => self.peer.put(name.into(), self.content(name)),
                    4 => self.peer.flush(name.into()),
                    // A look at the page: whoever returned another one would be no peer.
                    _ if self.peer.get(name.into(), &mut page) => {
                        assert_eq!(page[..8], self.content(name)[..8], "page {name} came back as another");
                    }
                    _ => {}
                }
                operations += 1;
            }
        }
        operations
    }
}

/// Millions of operations a second of all threads.
pub(crate) fn rate(churn: &Churn<'_>, threads: u32, seconds: f64) -> f64 {
    let over = AtomicBool::new(false);
    let start = Instant::now();
    let operations: u64 = thread::scope(|scope| {
        let over = &over;
        let workers: Vec<_> =
            (1..=u64::from(threads)).map(|n| scope.spawn(move || churn.work(n, over))).collect();
        // Not a wait for anything: this is how long the user asked to measure.
        thread::sleep(Duration::from_secs_f64(seconds));
        over.store(true, Ordering::Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).sum()
    });
    operations as f64 / start.elapsed().as_secs_f64() / 1e6
}
