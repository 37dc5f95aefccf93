//! Replays a trace through a store.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;
use tmem_core::{
    Client, ClientConfig, Eviction, Key, ObjectId, PAGE_SIZE, Page, PoolId, PoolKind, Store, StoreConfig,
};

use super::front::Front;
use super::read::{Trace, TraceError};

/// Bytes of store capacity for each page, and beside them. Pages of one repeated word take no page memory, and the
/// metadata of a page alone in its object's chunk is below 256 bytes; the capacity is address space until it is used.
const BYTES_PER_PAGE: u64 = 512;
const BYTES_BESIDE: u64 = 64 << 20;

/// Requests between looks at the clock, and how long a replay is silent.
const STRIDE: usize = 1 << 16;
const SILENT: Duration = Duration::from_secs(2);

/// How to replay.
pub(super) struct Replay {
    pub(super) pages: usize,
    pub(super) front: usize,
    pub(super) policy: Eviction,
    pub(super) shards: usize,
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    policy: String,
    shards: usize,
    requests: usize,
    distinct: usize,
    capacity_pages: usize,
    front_pages: usize,
    front_hits: usize,
    pub(super) hits: usize,
    pub(super) misses: usize,
    /// Of the requests that reach the store.
    miss_ratio: f64,
    /// Metadata of the store at the end, that of the policy included.
    metadata_bytes: u64,
    seconds: f64,
    requests_per_s: f64,
}

/// The pool, and how many pages it holds.
struct Pool {
    client: Client,
    pool: PoolId,
    held: usize,
    page: Box<Page>,
}

impl Replay {
    pub(super) fn run(&self, trace: &Trace) -> Result<Report, TraceError> {
        let store = Store::new(StoreConfig {
            capacity_bytes: self.pages as u64 * BYTES_PER_PAGE + BYTES_BESIDE,
            shards: self.shards,
            eviction: self.policy,
            ..StoreConfig::default()
        })?;
        let client =
            store.add_client(ClientConfig { name: "trace".to_owned(), ..ClientConfig::default() })?;
        let failed = |request, block| move |source| TraceError::Operation { request, block, source };
        let pool = client.new_pool(PoolKind::Ephemeral).map_err(failed(0, 0))?;
        let mut pool = Pool { client, pool, held: 0, page: Box::new([0; PAGE_SIZE]) };
        let mut front = Front::new(trace.blocks.len(), self.front);
        let (mut front_hits, mut hits) = (0, 0);
        let begin = Instant::now();
        let mut said = begin;
        for (request, number) in trace.requests.iter().enumerate() {
            if request % STRIDE == 0 && said.elapsed() >= SILENT {
                said = Instant::now();
                eprintln!("replayed {request} of {} requests", trace.requests.len());
            }
            if front.uses(*number) {
                front_hits += 1;
                continue;
            }
            let block = trace.block(*number);
            match pool.get(block).map_err(failed(request, block))? {
                Some(found) if found != block => return Err(TraceError::Wrong { request, block }),
                Some(_) => hits += 1,
                None => {}
            }
            if let Some(out) = front.keep(*number) {
                let block = trace.block(out);
                pool.put(block, self.pages).map_err(failed(request, block))?;
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let held = pool.client.usage().ephemeral_pages;
        if held != pool.held as u64 {
            return Err(TraceError::Count { held, counted: pool.held });
        }
        let requests = trace.requests.len();
        let misses = requests - front_hits - hits;
        Ok(Report {
            policy: self.policy.to_string(),
            shards: self.shards,
            requests,
            distinct: trace.blocks.len(),
            capacity_pages: self.pages,
            front_pages: self.front,
            front_hits,
            hits,
            misses,
            // A first request misses both, so there is at least one.
            miss_ratio: misses as f64 / (hits + misses) as f64,
            metadata_bytes: store.stats().metadata_bytes,
            seconds,
            requests_per_s: requests as f64 / seconds,
        })
    }
}

impl Trace {
    fn block(&self, number: u32) -> u64 {
        *self.blocks.get(number as usize).expect("requests are indexes into the blocks")
    }
}

impl Pool {
    /// Gets a block's page; the number that it holds if there was one.
    fn get(&mut self, block: u64) -> Result<Option<u64>, tmem_core::OpError> {
        if !self.client.get(self.pool, &key(block), &mut self.page)? {
            return Ok(None);
        }
        self.held -= 1;
        let word = self.page.first_chunk().expect("a page has 4096 bytes");
        Ok(Some(u64::from_ne_bytes(*word)))
    }

    /// Puts a block's page; no more than `most` are held after.
    fn put(&mut self, block: u64, most: usize) -> Result<(), tmem_core::OpError> {
        if self.held >= most {
            self.held -= self.client.shrink(1) as usize;
        }
        for word in self.page.chunks_exact_mut(8) {
            word.copy_from_slice(&block.to_ne_bytes());
        }
        self.client.put(self.pool, &key(block), &*self.page)?;
        self.held += 1;
        Ok(())
    }
}

/// Neighbouring blocks are neighbouring pages of an object, as those of a file or a disk are.
fn key(block: u64) -> Key {
    Key::new(ObjectId::from(block >> 32), block as u32)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy         {} ({} shard(s))", self.policy, self.shards)?;
        writeln!(f, "pages          {} of {} distinct blocks", self.capacity_pages, self.distinct)?;
        writeln!(f, "requests       {} ({:.0} a second)", self.requests, self.requests_per_s)?;
        writeln!(f, "front hits     {} (LRU of {} pages)", self.front_hits, self.front_pages)?;
        writeln!(f, "hits           {}", self.hits)?;
        writeln!(f, "misses         {}", self.misses)?;
        writeln!(f, "miss ratio     {:.4}", self.miss_ratio)?;
        writeln!(f, "metadata       {} bytes", self.metadata_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(requests: impl Iterator<Item = u32>) -> Trace {
        let requests: Vec<u32> = requests.collect();
        let blocks = (0..=*requests.iter().max().unwrap()).map(|n| u64::from(n) * 3 + (7 << 32)).collect();
        Trace { requests, blocks }
    }

    fn replay(policy: Eviction, pages: usize, front: usize, trace: &Trace) -> Report {
        Replay { pages, front, policy, shards: 1 }.run(trace).unwrap()
    }

    #[test]
    fn a_pool_of_all_blocks_misses_each_once() {
        for policy in Eviction::ALL {
            let report = replay(policy, 50, 0, &trace((0..500).map(|n| n % 50)));
            assert_eq!((report.hits, report.misses, report.front_hits), (450, 50, 0), "{policy}");
        }
    }

    #[test]
    fn lru_has_the_hits_of_an_lru_of_that_many_pages() {
        // 0 1 2 3 4 4 3 2 1 0, over and over: with 3 pages, the three turned back at are hit.
        let steps = [0, 1, 2, 3, 4, 4, 3, 2, 1, 0];
        let report = replay(Eviction::Lru, 3, 0, &trace((0..100).map(|n| steps[n % 10])));
        let mut stack: Vec<u32> = Vec::new();
        let mut hits = 0;
        for n in 0..100 {
            let at = stack.iter().position(|b| *b == steps[n % 10]);
            hits += usize::from(at.is_some_and(|at| at < 3));
            at.map(|at| stack.remove(at));
            stack.insert(0, steps[n % 10]);
        }
        assert_eq!((report.hits, report.misses), (hits, 100 - hits));
    }

    #[test]
    fn front_and_pool_in_lru_order_hold_what_one_lru_of_both_sizes_holds() {
        let requests = |n: u32| (n.wrapping_mul(2_654_435_761) >> 16) % 97 * (n % 5) / 4;
        let trace = trace((0..5000).map(requests));
        let (whole, split) = (replay(Eviction::Lru, 30, 0, &trace), replay(Eviction::Lru, 20, 10, &trace));
        assert_eq!(whole.misses, split.misses);
        assert!(split.front_hits > 0 && split.hits > 0);
    }

    #[test]
    fn several_shards_hold_no_more_pages_than_one() {
        let replay = Replay { pages: 100, front: 0, policy: Eviction::Adaptive, shards: 4 };
        let report = replay.run(&trace((0..20_000).map(|n| n * 7 % 1000))).unwrap();
        assert_eq!(report.hits + report.misses, 20_000);
    }

    #[test]
    fn impossible_shards_are_refused_with_the_reason() {
        let replay = Replay { pages: 1, front: 0, policy: Eviction::Lru, shards: 3 };
        let error = replay.run(&trace(0..2)).unwrap_err().to_string();
        assert!(error.contains("shards = 3") && error.contains("power of two"), "{error}");
    }
}
