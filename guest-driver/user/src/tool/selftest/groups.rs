//! Whose programs share a quota: those of one memory cgroup.

use tmem_guest::{Key, Kind, Pool, PoolError};

use super::cgroup::Group;
use super::child::succeeds;
use super::driver::Parameter;
use super::{Case, Failure, Outcome, World, expect, expect_eq, key, page};

pub(super) static CASES: &[Case] = &[
    Case { name: "each memory cgroup may have so many pages in all its pools", run: pages },
    Case { name: "each memory cgroup may have so many pools, and all of them together", run: pools },
    Case { name: "groups in a group share a quota below the level", run: levels },
    Case { name: "an opening counts where it was opened, even once that group is gone", run: moved },
    Case {
        name: "an inherited pool counts where it was opened, until the last has closed it",
        run: inherited,
    },
];

const LIMIT: u64 = 40;

fn open_in(world: &World, group: &Group) -> Result<Pool, Failure> {
    let _inside = group.enter()?;
    Ok(Pool::open(&world.device, Kind::Persistent)?)
}

fn fill(pool: &Pool, pages: u64) -> Outcome {
    for index in 0..pages {
        pool.put(key(index as u32), &page(index))?;
    }
    Ok(())
}

fn expect_full(pool: &Pool) -> Outcome {
    const ANOTHER: Key = Key { oid: [9, 9, 9], index: 0 };
    let answer = pool.put(ANOTHER, &page(0));
    expect(matches!(answer, Err(PoolError::Refused)), format!("one page too many: {answer:?}"))
}

fn pages(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let (here, there) = (Group::new("tmem-a")?, Group::new("tmem-b")?);
    let (one, two) = (open_in(world, &here)?, open_in(world, &here)?);
    let other = open_in(world, &there)?;
    fill(&one, LIMIT - 10)?;
    fill(&two, 10)?;
    expect_full(&one)?;
    expect_full(&two)?;
    let info = two.info()?;
    expect_eq("max, group, held", (info.pages_max, info.pages_group, info.pages_held), (LIMIT, LIMIT, 10))?;
    fill(&other, LIMIT)?;
    expect_full(&other)?;
    one.flush(key(0))?;
    two.put(key(10), &page(10))?;
    expect_full(&one)?;
    drop(one);
    expect_eq("pages of the group when a pool was closed", two.info()?.pages_group, 11)?;
    fill(&two, LIMIT)?;
    expect_eq("pages of the other group", other.info()?.pages_group, LIMIT)
}

fn pools(world: &World) -> Outcome {
    let (_of_a_group, _of_all) = (Parameter::set("group_pools", 2)?, Parameter::set("user_pools", 3)?);
    let (here, there) = (Group::new("tmem-a")?, Group::new("tmem-b")?);
    let (one, _two) = (open_in(world, &here)?, open_in(world, &here)?);
    expect(open_in(world, &here).is_err(), "a group has a pool too many")?;
    let _other = open_in(world, &there)?;
    expect(open_in(world, &there).is_err(), "all have a pool too many")?;
    drop(one);
    open_in(world, &there)?;
    Ok(())
}

fn levels(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let user = Group::new("tmem-user")?;
    let session = user.below("session")?;
    let (one, two) = (session.below("one")?, session.below("two")?);
    let (first, second) = (open_in(world, &one)?, open_in(world, &two)?);
    fill(&first, LIMIT)?;
    expect_full(&second)?;
    let _deeper = Parameter::set("group_level", 3)?;
    let third = open_in(world, &two)?;
    fill(&third, LIMIT)?;
    expect_eq("pages of the group at level 2", second.info()?.pages_group, LIMIT)?;
    let _all = Parameter::set("group_level", 0)?;
    let (fourth, fifth) = (open_in(world, &one)?, open_in(world, &two)?);
    fill(&fourth, LIMIT)?;
    expect_full(&fifth)
}

fn moved(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let there = Group::new("tmem-b")?;
    let here = Group::new("tmem-a")?;
    let pool = open_in(world, &here)?;
    fill(&pool, LIMIT)?;
    let _inside = there.enter()?;
    expect_full(&pool)?;
    drop(here);
    expect_full(&pool)?;
    let again = Group::new("tmem-a")?;
    let new = open_in(world, &again)?;
    fill(&new, 1)?;
    let counted = (pool.info()?.pages_group, new.info()?.pages_group);
    expect_eq("pages of the group that is gone, and of its successor", counted, (LIMIT, 1))?;
    pool.flush(key(0))?;
    expect_eq("pages of the group that is gone", pool.info()?.pages_group, LIMIT - 1)
}

fn inherited(world: &World) -> Outcome {
    let _limit = Parameter::set("group_pages", LIMIT)?;
    let (here, there) = (Group::new("tmem-a")?, Group::new("tmem-b")?);
    let (pool, beside) = (open_in(world, &here)?, open_in(world, &here)?);
    succeeds(|| {
        let _inside = there.enter()?;
        fill(&pool, LIMIT)?;
        expect_full(&pool)
    })?;
    expect_eq("pages of the group", beside.info()?.pages_group, LIMIT)?;
    expect_full(&beside)?;
    drop(pool);
    expect_eq("pages of the group at the end", beside.info()?.pages_group, 0)
}
