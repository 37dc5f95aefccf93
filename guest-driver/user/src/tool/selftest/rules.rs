//! What put, get and flush promise.

use std::thread;
use std::time::Duration;

use tmem_guest::{Batch, Kind, PAGE_SIZE, Page, Pool};

use super::driver::{host, stat};
use super::{Case, Outcome, World, expect, expect_eq, key, page};

pub(super) static CASES: &[Case] = &[
    Case { name: "persistent pages stay until they are flushed", run: persistent },
    Case { name: "ephemeral pages are gone once they were found", run: ephemeral },
    Case { name: "keys differ in every word and in the index", run: keys },
    Case { name: "pools see nothing of each other", run: private },
    Case { name: "operations of a batch run in order", run: in_order },
    Case { name: "a batch of 300 pages takes few exits and damages none", run: batch },
    Case { name: "a range is flushed, to the end of the indexes", run: range },
    Case { name: "threads share a pool", run: threads },
    Case { name: "closing releases the pool at the host", run: close },
];

fn persistent(world: &World) -> Outcome {
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    let mut found = [0; PAGE_SIZE];
    expect(!pool.get(key(1), &mut found)?, "found a page that nobody put")?;
    pool.put(key(1), &page(1))?;
    pool.put(key(1), &page(2))?;
    for _ in 0..2 {
        expect(pool.get(key(1), &mut found)? && found == page(2), "the second put is not found")?;
    }
    expect_eq("pages held", pool.info()?.pages_held, 1)?;
    expect_eq("flushes", (pool.flush(key(1))?, pool.flush(key(1))?), (true, false))?;
    expect(!pool.get(key(1), &mut found)?, "found after the flush")?;
    expect_eq("pages held", pool.info()?.pages_held, 0)
}

fn ephemeral(world: &World) -> Outcome {
    let pool = Pool::open(&world.device, Kind::Ephemeral)?;
    let mut found = [0; PAGE_SIZE];
    pool.put(key(1), &page(1))?;
    expect(pool.get(key(1), &mut found)? && found == page(1), "not found, in a host that has room")?;
    expect(!pool.get(key(1), &mut found)?, "found twice")?;
    expect_eq("pages held", pool.info()?.pages_held, 0)
}

fn keys(world: &World) -> Outcome {
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    let mut keys = vec![key(0), key(u32::MAX)];
    for word in 0..3 {
        let mut other = key(0);
        other.oid.iter_mut().skip(word).take(1).for_each(|word| *word ^= 1 << 63);
        keys.push(other);
    }
    for (number, key) in (0..).zip(&keys) {
        pool.put(*key, &page(number))?;
    }
    let mut found = [0; PAGE_SIZE];
    for (number, key) in (0..).zip(&keys) {
        expect(pool.get(*key, &mut found)? && found == page(number), format!("{key:?} has another page"))?;
    }
    Ok(())
}

fn private(world: &World) -> Outcome {
    let (one, other) =
        (Pool::open(&world.device, Kind::Persistent)?, Pool::open(&world.device, Kind::Persistent)?);
    one.put(key(1), &page(1))?;
    expect(!other.get(key(1), &mut [0; PAGE_SIZE])? && !other.flush(key(1))?, "reached the other pool")?;
    drop(other);
    expect(one.get(key(1), &mut [0; PAGE_SIZE])?, "gone with the other pool")
}

fn in_order(world: &World) -> Outcome {
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    let (one, two) = (page(1), page(2));
    let (mut first, mut second, mut third) = ([0; PAGE_SIZE], [0; PAGE_SIZE], [7; PAGE_SIZE]);
    let mut batch = Batch::new();
    batch.put(key(1), &one).get(key(1), &mut first).put(key(1), &two).get(key(1), &mut second);
    batch.flush(key(1)).flush(key(1)).get(key(1), &mut third);
    pool.run(&mut batch)?;
    let answers: Vec<i64> = (0..7).filter_map(|n| batch.status(n)?.ok()).collect();
    expect_eq("answers", answers, vec![0, 1, 0, 1, 1, 0, 0])?;
    expect(first == one && second == two, "a get found another page than the put before it left")?;
    expect(third == [7; PAGE_SIZE], "a miss changed the page")
}

fn batch(world: &World) -> Outcome {
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    let pages: Vec<Page> = (0..300).map(page).collect();
    let mut found = vec![[0; PAGE_SIZE]; pages.len()];
    let exits = stat("exits");
    let mut puts = Batch::new();
    for (index, page) in (0..).zip(&pages) {
        puts.put(key(index), page);
    }
    pool.run(&mut puts)?;
    let mut gets = Batch::new();
    for (index, page) in (0..).zip(&mut found) {
        gets.get(key(index), page);
    }
    pool.run(&mut gets)?;
    let exits = stat("exits") - exits;
    let found_all = (0..pages.len()).all(|n| matches!(gets.status(n), Some(Ok(1))));
    expect(found_all && found == pages, "not every page came back as it was")?;
    expect_eq("pages held", pool.info()?.pages_held, 300)?;
    // 32 pages an exit, a put with its flush, where the host takes batches of 64.
    let exits_most = if host("batch_max") >= 64 { 20 } else { 900 };
    expect(exits > 0 && exits <= exits_most, format!("{exits} exits for 600 operations"))
}

fn range(world: &World) -> Outcome {
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    for index in [0, 1, 2, 70, u32::MAX] {
        pool.put(key(index), &page(1))?;
    }
    expect_eq("flushed from 1 to 70", pool.flush_range(key(1), 70)?, 3)?;
    expect_eq("flushed in all", pool.flush_range(key(0), 1 << 32)?, 2)?;
    expect_eq("flushed when empty", pool.flush_range(key(u32::MAX), 1)?, 0)?;
    expect(pool.flush_range(key(1), 1 << 32).is_err(), "a range behind the last index was accepted")?;
    expect_eq("pages held", pool.info()?.pages_held, 0)
}

fn threads(world: &World) -> Outcome {
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    let work = |thread: u32| -> Result<bool, tmem_guest::PoolError> {
        let mut good = true;
        let mut found = [0; PAGE_SIZE];
        for round in 0..100 {
            let (key, page) = (key(thread * 100 + round), page(u64::from(thread * 1000 + round)));
            pool.put(key, &page)?;
            good &= pool.get(key, &mut found)? && found == page;
        }
        Ok(good)
    };
    let results: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    });
    for result in results {
        expect(result.map_err(|_| "a thread panicked")??, "a page of one thread was another's")?;
    }
    expect_eq("pages held", pool.info()?.pages_held, 400)
}

fn close(world: &World) -> Outcome {
    let (pools, pages) = (host("pools"), settled(0));
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    for index in 0..50 {
        pool.put(key(index), &page(1))?;
    }
    expect_eq("open: pools, pages", (host("pools"), host("persistent_pages")), (pools + 1, pages + 50))?;
    drop(pool);
    expect_eq("closed: pools", host("pools"), pools)?;
    expect_eq("closed: pages", settled(pages), pages)
}

/// Pages that the host holds once it has released those of pools that are gone, which it does in the background: `wanted`, or
/// what it has come down to when it stops or takes too long.
pub(super) fn settled(wanted: u64) -> u64 {
    let (mut last, mut same) = (host("persistent_pages"), 0);
    for _ in 0..100 {
        if last <= wanted || same == 10 {
            break;
        }
        thread::sleep(Duration::from_millis(200));
        let now = host("persistent_pages");
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}
