//! How much a program may have.

use tmem_guest::{Batch, Kind, PAGE_SIZE, Page, Pool, PoolError};

use super::driver::Parameter;
use super::{Case, Outcome, World, expect, expect_eq, key, page};

pub(super) static CASES: &[Case] = &[
    Case { name: "a persistent pool at its limit refuses new pages and takes old keys", run: persistent },
    Case { name: "a batch over the limit is refused page by page", run: batch },
    Case { name: "an ephemeral pool at its limit starts anew", run: ephemeral },
    Case { name: "there are only so many pools", run: pools },
    Case { name: "users that the device's mode leaves out stay out", run: mode },
];

const LIMIT: u64 = 40;

fn persistent(world: &World) -> Outcome {
    let _limit = Parameter::set("user_pages", LIMIT)?;
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
    let _limit = Parameter::set("user_pages", LIMIT)?;
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

fn ephemeral(world: &World) -> Outcome {
    let _limit = Parameter::set("user_pages", LIMIT)?;
    let pool = Pool::open(&world.device, Kind::Ephemeral)?;
    for index in 0..3 * LIMIT {
        pool.put(key(index as u32), &page(index))?;
        let held = pool.info()?.pages_held;
        expect(held <= LIMIT, format!("{held} pages held"))?;
    }
    let mut found = [0; PAGE_SIZE];
    let last = 3 * LIMIT - 1;
    expect(pool.get(key(last as u32), &mut found)? && found == page(last), "the newest page is gone")?;
    expect(!pool.get(key(0), &mut found)?, "the oldest page is still there")
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

fn mode(world: &World) -> Outcome {
    const NOBODY: libc::uid_t = 65534;
    // SAFETY: changes the user that files are opened as, back again below; other threads of this program are gone.
    expect_eq("seteuid", unsafe { libc::seteuid(NOBODY) }, 0)?;
    let opened = Pool::open(&world.device, Kind::Ephemeral);
    // SAFETY: as above.
    expect_eq("seteuid", unsafe { libc::seteuid(0) }, 0)?;
    expect(matches!(opened, Err(PoolError::Open { .. })), format!("{opened:?}"))
}
