//! Guest-physical addresses that are no page of RAM.

use tmem_abi::{ByteRange, Errno, Gpa, PoolFlags, PoolId, Request};

use crate::guest::{Case, Check, Guest, MISS, expect, expect_errno, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::new("put_from_a_bad_address_faults_and_drops_the_old_page", put),
    Case::new("get_to_a_bad_address_faults_and_drops_only_exclusive_pages", get),
    Case::new("read_xchg_and_query_at_a_bad_address_change_nothing", others),
    Case::new("last_page_of_ram_is_a_page", last_page),
    Case::new("pool_that_does_not_exist_is_named_first", no_pool),
];

fn put(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    let Some(range) = ByteRange::new(0, 1) else { return Ok(()) };
    for page in guest.bad_addresses() {
        for request in
            [Request::Put { pool, key: key(0), page }, Request::Write { pool, key: key(0), range, page }]
        {
            expect(guest.put(pool, 0, 1), 0)?;
            expect_errno(guest.ask(request), Errno::Fault)?;
            expect(guest.get(pool, 0), MISS)?;
        }
    }
    Ok(())
}

fn get(guest: &Guest) -> Check {
    for (flags, after) in
        [(PoolFlags::Ephemeral, MISS), (PoolFlags::Persistent, hit(1)), (PoolFlags::Shared, hit(1))]
    {
        let pool = guest.pool(flags)?;
        for page in guest.bad_addresses() {
            expect(guest.put(pool, 0, 1), 0)?;
            expect_errno(guest.ask(Request::Get { pool, key: key(0), page }), Errno::Fault)?;
            expect(guest.get(pool, 0), after)?;
        }
    }
    Ok(())
}

fn others(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Ephemeral)?;
    let Some(range) = ByteRange::new(0, 1) else { return Ok(()) };
    for page in guest.bad_addresses() {
        expect(guest.put(pool, 0, 1), 0)?;
        expect_errno(guest.ask(Request::Read { pool, key: key(0), range, page }), Errno::Fault)?;
        expect_errno(guest.ask(Request::Xchg { pool, key: key(0), page }), Errno::Fault)?;
        expect_errno(guest.ask(Request::Query { page }), Errno::Fault)?;
        expect(guest.get(pool, 0), hit(1))?;
    }
    Ok(())
}

fn last_page(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.ask(Request::Put { pool, key: key(0), page: Gpa(guest.info.ram_bytes - 4096) }), 0)
}

fn no_pool(guest: &Guest) -> Check {
    let page = Gpa(1);
    for pool in [PoolId(0), PoolId(7), PoolId(1 << 16), PoolId(u32::MAX)] {
        expect_errno(guest.ask(Request::Put { pool, key: key(0), page }), Errno::NoPool)?;
        expect_errno(guest.ask(Request::Get { pool, key: key(0), page }), Errno::NoPool)?;
        expect_errno(guest.put(pool, 0, 1), Errno::NoPool)?;
        expect_errno(guest.flush(pool, 0), Errno::NoPool)?;
    }
    Ok(())
}
