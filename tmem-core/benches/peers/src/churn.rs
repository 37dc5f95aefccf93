//! The load: each thread picks pages uniformly, 40 % put, 10 % flush, 50 % get; half of the pages are there at the start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tmem_core::{PAGE_SIZE, Page};

use crate::peers::Peer;
use crate::random::Random;

/// Different pages of noise, used in turn.
const CONTENTS: usize = 1024;

/// A peer under load.
pub(crate) struct Churn<'a> {
    peer: &'a dyn Peer,
    pages: u32,
    contents: Vec<Page>,
}

/// Pages of noise. None is of one repeated word: the store would keep those for nothing.
pub(crate) fn noise() -> Vec<Page> {
    let mut random = Random(1);
    let contents = (0..CONTENTS).map(|_| {
        let mut page = [0; PAGE_SIZE];
        page.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&random.next().to_le_bytes()));
        page
    });
    contents.collect()
}

impl<'a> Churn<'a> {
    /// Puts every second page, with the contents in turn.
    pub(crate) fn new(peer: &'a dyn Peer, pages: u32, contents: Vec<Page>) -> Self {
        let churn = Self { peer, pages, contents };
        (0..pages).step_by(2).for_each(|n| peer.put(n.into(), churn.content(n)));
        churn
    }

    fn content(&self, name: u32) -> &Page {
        &self.contents[name as usize % self.contents.len()]
    }

    /// Counts between two times.
    fn work(&self, seed: u64, begin: Instant, end: Instant) -> Counted {
        let mut random = Random(seed << 32);
        let mut page = [0; PAGE_SIZE];
        let mut turns = |until: Instant| {
            let (mut operations, cpu) = (0, thread_cpu_seconds());
            // The clock, not a flag that the caller sets: under `chrt -f` a caller that has slept does not get a core back.
            while Instant::now() < until {
                (0..16).for_each(|_| self.operate(random.next(), &mut page));
                operations += 16;
            }
            Counted { operations, cpu_seconds: thread_cpu_seconds() - cpu }
        };
        turns(begin);
        turns(end)
    }

    fn operate(&self, number: u64, page: &mut Page) {
        let name = (((number & 0xffff_ffff) * u64::from(self.pages)) >> 32) as u32;
        match (number >> 32) % 10 {
            0..4 => self.peer.put(name.into(), self.content(name)),
            4 => drop(self.peer.flush(name.into())),
            // A look at the page: whoever returned another one would be no peer.
            _ if self.peer.get(name.into(), page) => {
                assert_eq!(page[..8], self.content(name)[..8], "page {name} came back as another");
            }
            _ => {}
        }
    }
}

/// Reads how long to measure.
pub(crate) fn seconds(text: &str) -> Result<f64, &'static str> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 86_400.0 => Ok(value),
        _ => Err("give more than 0 seconds and at most 86400"),
    }
}

/// What one thread did.
struct Counted {
    operations: u64,
    cpu_seconds: f64,
}

/// What all threads did.
pub(crate) struct Rate {
    pub(crate) million_ops_per_s: f64,
    /// Cores that the threads had, on average. Well below their number, the machine was busy with something else, and the rate
    /// says little; a thread that waits for a lock without spinning has none either.
    pub(crate) cores: f64,
}

/// Measures for some seconds. A quarter of that time before is not counted, so that heaps have grown to their size.
pub(crate) fn rate(churn: &Churn<'_>, threads: u32, seconds: f64) -> Rate {
    with_maintenance(churn.peer, || {
        let begin = Instant::now() + Duration::from_secs_f64(seconds / 4.0);
        let end = begin + Duration::from_secs_f64(seconds);
        thread::scope(|scope| {
            let workers: Vec<_> = (1..=u64::from(threads))
                .map(|seed| scope.spawn(move || churn.work(seed, begin, end)))
                .collect();
            let mut rate = Rate { million_ops_per_s: 0.0, cores: 0.0 };
            for worker in workers {
                let counted = worker.join().expect("a worker does not panic");
                rate.million_ops_per_s += counted.operations as f64 / seconds / 1e6;
                rate.cores += counted.cpu_seconds / seconds;
            }
            rate
        })
    })
}

/// Processor time of this thread.
fn thread_cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one timespec, and that is what it is given. If it cannot, the time stays 0.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Does something while the peer's background work goes on, on a thread of its own.
pub(crate) fn with_maintenance<T>(peer: &dyn Peer, what: impl FnOnce() -> T) -> T {
    /// Tells the thread, also when `what` panics.
    struct Over<'a>(&'a AtomicBool, thread::Thread);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            self.1.unpark();
        }
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                match peer.maintain() {
                    Some(rest) => thread::park_timeout(rest),
                    None => return,
                }
            }
        });
        let _over = Over(&over, keeper.thread().clone());
        what()
    })
}
