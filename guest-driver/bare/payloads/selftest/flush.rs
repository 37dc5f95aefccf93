//! Flushes: of a page, an object, a range.

use tmem_abi::{Key, ObjectId, PoolFlags, PoolId, Request};

use crate::guest::{Case, Check, Guest, MISS, OBJECT, expect, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::new("flush_page_removes_it_and_is_idempotent", page),
    Case::new("flush_object_removes_all_its_pages_and_no_others", object),
    Case::new("flush_range_removes_its_pages_and_no_others", range),
    Case::new("flush_range_reaches_the_last_index", last_index),
];

fn page(guest: &Guest) -> Check {
    for flags in [PoolFlags::Persistent, PoolFlags::Ephemeral, PoolFlags::Shared] {
        let pool = guest.pool(flags)?;
        expect(guest.put(pool, 0, 1), 0)?;
        expect(guest.flush(pool, 0), 1)?;
        expect(guest.flush(pool, 0), 0)?;
        expect(guest.get(pool, 0), MISS)?;
    }
    Ok(())
}

fn object(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    let other = Key { object: ObjectId([1, 2, 3]), index: 0 };
    put_ten(guest, pool)?;
    expect(guest.ask(Request::Put { pool, key: other, page: guest.out().gpa() }), 0)?;
    expect(guest.ask(Request::FlushObject { pool, object: OBJECT }), 10)?;
    expect(guest.ask(Request::FlushObject { pool, object: OBJECT }), 0)?;
    for index in 0..10 {
        expect(guest.get(pool, index), MISS)?;
    }
    expect(guest.ask(Request::Get { pool, key: other, page: guest.back().gpa() }), 1)
}

fn range(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    put_ten(guest, pool)?;
    let flush = |first, count| guest.ask(Request::FlushRange { pool, object: OBJECT, first, count });
    expect(flush(0, 0), 0)?;
    expect(flush(3, 4), 4)?;
    expect(flush(3, 4), 0)?;
    for index in 0..10 {
        let want = if (3..7).contains(&index) { MISS } else { hit(9) };
        expect(guest.get(pool, index), want)?;
    }
    expect(flush(0, 1 << 32), 6)
}

fn last_index(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, u32::MAX, 9), 0)?;
    expect(guest.ask(Request::FlushRange { pool, object: OBJECT, first: u32::MAX, count: 1 }), 1)?;
    expect(guest.get(pool, u32::MAX), MISS)
}

fn put_ten(guest: &Guest, pool: PoolId) -> Check {
    guest.out().fill_byte(9);
    for index in 0..10 {
        expect(guest.ask(Request::Put { pool, key: key(index), page: guest.out().gpa() }), 0)?;
    }
    Ok(())
}
