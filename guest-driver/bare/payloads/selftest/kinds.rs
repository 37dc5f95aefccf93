//! What each kind of pool promises.

use tmem_abi::{PoolFlags, Request};

use crate::guest::{Case, Check, Guest, MISS, expect, expect_errno, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::new("put_then_get_returns_the_page", put_then_get),
    Case::new("persistent_page_is_kept_by_gets", persistent_kept),
    Case::new("persistent_pages_are_all_kept", persistent_many),
    Case::new("ephemeral_page_is_removed_by_its_get", ephemeral_exclusive),
    Case::new("get_after_a_miss_stays_a_miss", miss_stays),
    Case::new("shared_page_is_kept_by_gets", shared_kept),
    Case::new("shared_pool_joined_twice_is_one_pool", shared_twice),
    Case::new("second_put_replaces_the_page", put_replaces),
    Case::new("every_bit_of_a_key_matters", keys_differ),
    Case::new("pools_are_apart", pools_apart),
    Case::new("destroyed_pool_is_gone_and_its_id_comes_back_empty", destroyed),
];

fn put_then_get(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    let (out, back) = (guest.out(), guest.back());
    out.fill(guest.info.seed);
    back.fill_byte(0);
    expect(guest.ask(Request::Put { pool, key: key(0), page: out.gpa() }), 0)?;
    out.fill_byte(1);
    expect(guest.ask(Request::Get { pool, key: key(0), page: back.gpa() }), 1)?;
    expect(i64::from(back.holds(guest.info.seed)), 1)
}

fn persistent_kept(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    expect(guest.get(pool, 0), hit(1))?;
    expect(guest.get(pool, 0), hit(1))
}

fn persistent_many(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    for index in 0..200 {
        expect(guest.put(pool, index, index as u8), 0)?;
    }
    for index in 0..200 {
        expect(guest.get(pool, index), hit(index as u8))?;
    }
    Ok(())
}

fn ephemeral_exclusive(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Ephemeral)?;
    expect(guest.put(pool, 0, 1), 0)?;
    expect(guest.get(pool, 0), hit(1))?;
    expect(guest.get(pool, 0), MISS)
}

fn miss_stays(guest: &Guest) -> Check {
    for flags in [PoolFlags::Ephemeral, PoolFlags::Persistent, PoolFlags::Shared] {
        let pool = guest.pool(flags)?;
        expect(guest.get(pool, 0), MISS)?;
        expect(guest.get(pool, 0), MISS)?;
        expect(guest.put(pool, 0, 4), 0)?;
        expect(guest.get(pool, 0), hit(4))?;
    }
    Ok(())
}

fn shared_kept(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Shared)?;
    expect(guest.put(pool, 0, 1), 0)?;
    expect(guest.get(pool, 0), hit(1))?;
    expect(guest.get(pool, 0), hit(1))
}

fn shared_twice(guest: &Guest) -> Check {
    let one = guest.pool(PoolFlags::Shared)?;
    let two = guest.pool(PoolFlags::Shared)?;
    expect(guest.put(one, 0, 1), 0)?;
    expect(guest.get(two, 0), hit(1))?;
    expect(guest.flush(two, 0), 1)?;
    expect(guest.get(one, 0), MISS)
}

fn put_replaces(guest: &Guest) -> Check {
    for (flags, again) in [(PoolFlags::Persistent, hit(2)), (PoolFlags::Ephemeral, MISS)] {
        let pool = guest.pool(flags)?;
        expect(guest.put(pool, 0, 1), 0)?;
        expect(guest.put(pool, 0, 2), 0)?;
        expect(guest.get(pool, 0), hit(2))?;
        expect(guest.get(pool, 0), again)?;
    }
    Ok(())
}

fn keys_differ(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 5, 1), 0)?;
    let page = guest.back().gpa();
    for bit in 0..192 {
        let mut other = key(5);
        if let Some(word) = other.object.0.get_mut(bit / 64) {
            *word ^= 1 << (bit % 64);
        }
        expect(guest.ask(Request::Get { pool, key: other, page }), 0)?;
    }
    for bit in 0..32 {
        expect(guest.ask(Request::Get { pool, key: key(5 ^ 1 << bit), page }), 0)?;
    }
    expect(guest.get(pool, 5), hit(1))
}

fn pools_apart(guest: &Guest) -> Check {
    let one = guest.pool(PoolFlags::Persistent)?;
    let two = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(one, 0, 1), 0)?;
    expect(guest.get(two, 0), MISS)?;
    expect(guest.put(two, 0, 2), 0)?;
    expect(guest.flush(two, 0), 1)?;
    expect(guest.get(one, 0), hit(1))
}

fn destroyed(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    expect(guest.ask(Request::DestroyPool { pool }), 0)?;
    expect_errno(guest.get(pool, 0), tmem_abi::Errno::NoPool)?;
    expect_errno(guest.ask(Request::DestroyPool { pool }), tmem_abi::Errno::NoPool)?;
    let again = guest.pool(PoolFlags::Persistent)?;
    expect(i64::from(again.0), i64::from(pool.0))?;
    expect(guest.get(again, 0), MISS)
}
