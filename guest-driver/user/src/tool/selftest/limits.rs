//! How much the programs of one memory cgroup may have: here all of them are in one.

use std::thread;

use tmem_guest::{Batch, Kind, PAGE_SIZE, Page, Pool, PoolError};

use super::driver::{Parameter, host, stat};
use super::{Case, Outcome, World, expect, expect_eq, key, page};

pub(super) static CASES: &[Case] = &[
    Case { name: "a persistent pool at the limit refuses new pages and takes old keys", run: persistent },
    Case { name: "a batch over the limit is refused page by page", run: batch },
    Case { name: "at the limit, what puts nothing still shares exits", run: together },
    Case { name: "an ephemeral pool at the limit starts anew, if that makes room", run: ephemeral },
    Case {
        name: "pools in use by many threads keep to the limit, and what they hold is counted",
        run: threads,
    },
    Case { name: "there are only so many pools", run: pools },
];

const LIMIT: u64 = 40;

fn persistent(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    for index in 0..LIMIT {
        pool.put(key(index as u32), &page(index))?;
    }
    let refused = matches!(pool.put(key(1000), &page(1)), Err(PoolError::Refused));
    expect(refused, "one page too many was not refused")?;
    pool.put(key(5), &page(1005))?;
    let mut found = [0; PAGE_SIZE];
    expect(pool.get(key(5), &mut found)? && found == page(1005), "an old key does not have its new page")?;
    pool.flush(key(6))?;
    pool.put(key(1000), &page(7))?;
    expect_eq("pages held", pool.info()?.pages_held, LIMIT)
}

fn batch(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    let pages: Vec<Page> = (0..LIMIT + 10).map(page).collect();
    let mut batch = Batch::new();
    for (index, page) in (0..).zip(&pages) {
        batch.put(key(index), page);
    }
    pool.run(&mut batch)?;
    let stored = (0..pages.len()).filter(|n| matches!(batch.status(*n), Some(Ok(0)))).count();
    let refused =
        (0..pages.len()).filter(|n| matches!(batch.status(*n), Some(Err(PoolError::Refused)))).count();
    expect_eq("stored and refused", (stored as u64, refused), (LIMIT, 10))
}

fn together(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    for index in 0..LIMIT {
        pool.put(key(index as u32), &page(index))?;
    }
    let mut found = vec![[0; PAGE_SIZE]; LIMIT as usize];
    let (over, mut batch) = (page(1), Batch::new());
    batch.put(key(1000), &over);
    for (index, page) in (0..).zip(&mut found) {
        batch.get(key(index), page);
    }
    for index in 0..LIMIT {
        batch.flush(key(index as u32));
    }
    let exits = stat("exits");
    pool.run(&mut batch)?;
    let exits = stat("exits") - exits;
    expect(matches!(batch.status(0), Some(Err(PoolError::Refused))), "one page too many was not refused")?;
    let came = (1..=2 * LIMIT as usize).all(|n| matches!(batch.status(n), Some(Ok(1))));
    expect(came && (0..).zip(&found).all(|(n, found)| *found == page(n)), "not every page came or went")?;
    // The put alone, the rest of its 32, and twice up to 32.
    let exits_most = if host("batch_max") >= 64 { 4 } else { 2 * LIMIT + 1 };
    expect(exits <= exits_most, format!("{exits} exits"))
}

/// Four pools of one group, one of them with two threads: everybody puts, replaces and flushes, and wants more than there is.
fn threads(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let pools: Vec<Pool> = (0..4)
        .map(|n| Pool::open(&world.device, if n < 3 { Kind::Persistent } else { Kind::Ephemeral }))
        .collect::<Result<_, _>>()?;
    let work = |pool: &Pool, seed: u32| -> Result<u64, PoolError> {
        let (some, mut most) = (page(u64::from(seed)), 0);
        for round in 0..60 {
            let mut batch = Batch::new();
            for n in 0..20 {
                let key = key(seed.wrapping_add(round * 7 + n * 13) % 30);
                if (seed + round + n).is_multiple_of(4) {
                    batch.flush(key)
                } else {
                    batch.put(key, &some)
                };
            }
            pool.run(&mut batch)?;
            most = most.max(pool.info()?.pages_group);
        }
        Ok(most)
    };
    let shared = pools.iter().chain(pools.first()).zip(1..);
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = shared.map(|(pool, seed)| scope.spawn(move || work(pool, seed))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    for result in results {
        let most = result.map_err(|_| "a thread panicked")??;
        expect(most <= LIMIT, format!("{most} pages held together"))?;
    }
    // Each page is in its pool once: what the driver counts is what flushes find.
    let mut counted = 0;
    for pool in &pools {
        counted += pool.info()?.pages_held;
    }
    let Some(last) = pools.last() else { return Ok(()) };
    expect_eq("pages of the group", last.info()?.pages_group, counted)?;
    for pool in pools.iter().take(3) {
        let held = pool.info()?.pages_held;
        let mut found = 0;
        for index in 0..30 {
            found += u64::from(pool.flush(key(index))?);
        }
        expect_eq("pages found in a pool", found, held)?;
    }
    expect_eq("pages of the group", last.info()?.pages_group, last.info()?.pages_held)
}

fn ephemeral(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let pool = Pool::open(&world.device, Kind::Ephemeral)?;
    for index in 0..3 * LIMIT {
        pool.put(key(index as u32), &page(index))?;
        let held = pool.info()?.pages_held;
        expect(held <= LIMIT, format!("{held} pages held"))?;
    }
    let mut found = [0; PAGE_SIZE];
    let last = 3 * LIMIT - 1;
    expect(pool.get(key(last as u32), &mut found)? && found == page(last), "the newest page is gone")?;
    expect(!pool.get(key(0), &mut found)?, "the oldest page is still there")?;
    drop(pool);
    let (full, empty) =
        (Pool::open(&world.device, Kind::Persistent)?, Pool::open(&world.device, Kind::Ephemeral)?);
    for index in 0..LIMIT {
        full.put(key(index as u32), &page(index))?;
    }
    let refused = matches!(empty.put(key(0), &page(0)), Err(PoolError::Refused));
    expect(refused, "a page over the limit was not refused, in a pool that has none to give up")
}

fn pools(world: &World) -> Outcome {
    let _limit = Parameter::set("user_pools", 2)?;
    let one = Pool::open(&world.device, Kind::Persistent)?;
    let _two = Pool::open(&world.device, Kind::Ephemeral)?;
    let third = Pool::open(&world.device, Kind::Ephemeral);
    expect(matches!(third, Err(PoolError::Pool(_))), format!("a third pool: {third:?}"))?;
    drop(one);
    Pool::open(&world.device, Kind::Ephemeral)?;
    Ok(())
}
