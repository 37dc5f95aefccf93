//! READ, WRITE and XCHG.

use tmem_abi::{ByteRange, PoolFlags, PoolId, Request};

use crate::guest::{Case, Check, Guest, MISS, expect, expect_true, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::new("read_moves_only_its_bytes", read_range),
    Case::new("read_removes_nothing_and_misses_like_a_get", read_keeps),
    Case::new("write_changes_only_its_bytes", write_range),
    Case::new("write_to_an_absent_page_fills_the_rest_with_zeros", write_absent),
    Case::new("ranges_reach_both_ends_of_the_page", ends),
    Case::new("xchg_swaps_both_pages", xchg_swaps),
    Case::new("xchg_with_nothing_stored_stores_and_leaves_the_page", xchg_absent),
];

const RANGES: [(u16, u16); 5] = [(0, 1), (0, 4096), (4095, 1), (100, 1000), (1, 4095)];

fn ranges() -> impl Iterator<Item = ByteRange> {
    RANGES.iter().filter_map(|(offset, length)| ByteRange::new(*offset, *length))
}

fn read(guest: &Guest, pool: PoolId, range: ByteRange) -> i64 {
    guest.ask(Request::Read { pool, key: key(0), range, page: guest.back().gpa() })
}

fn write(guest: &Guest, pool: PoolId, range: ByteRange, byte: u8) -> i64 {
    guest.out().fill_byte(byte);
    guest.ask(Request::Write { pool, key: key(0), range, page: guest.out().gpa() })
}

/// The page that gets go to is of `inside` in the range and of `outside` elsewhere.
#[track_caller]
fn expect_range(guest: &Guest, range: ByteRange, inside: u8, outside: u8) -> Check {
    let (start, end) = (range.offset(), range.offset() + range.length());
    let back = guest.back();
    expect_true(
        back.is_byte(0..start, outside)
            && back.is_byte(start..end, inside)
            && back.is_byte(end..4096, outside),
    )
}

fn read_range(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 3), 0)?;
    for range in ranges() {
        guest.back().fill_byte(0xee);
        expect(read(guest, pool, range), 1)?;
        expect_range(guest, range, 3, 0xee)?;
    }
    Ok(())
}

fn read_keeps(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Ephemeral)?;
    for range in ranges() {
        expect(guest.put(pool, 0, 3), 0)?;
        expect(read(guest, pool, range), 1)?;
        expect(guest.get(pool, 0), hit(3))?;
        guest.back().fill_byte(0xee);
        expect(read(guest, pool, range), 0)?;
        expect_range(guest, range, 0xee, 0xee)?;
    }
    Ok(())
}

fn write_range(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    for range in ranges() {
        expect(guest.put(pool, 0, 3), 0)?;
        expect(write(guest, pool, range, 7), 0)?;
        expect(guest.ask(Request::Get { pool, key: key(0), page: guest.back().gpa() }), 1)?;
        expect_range(guest, range, 7, 3)?;
    }
    Ok(())
}

fn write_absent(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Ephemeral)?;
    for range in ranges() {
        expect(write(guest, pool, range, 7), 0)?;
        expect(guest.ask(Request::Get { pool, key: key(0), page: guest.back().gpa() }), 1)?;
        expect_range(guest, range, 7, 0)?;
    }
    Ok(())
}

fn ends(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    for offset in [0, 4095] {
        let Some(range) = ByteRange::new(offset, 1) else { continue };
        expect(guest.put(pool, 0, 1), 0)?;
        expect(write(guest, pool, range, 2), 0)?;
        guest.back().fill_byte(0xee);
        expect(read(guest, pool, range), 1)?;
        expect_range(guest, range, 2, 0xee)?;
    }
    Ok(())
}

fn xchg_swaps(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Ephemeral)?;
    expect(guest.put(pool, 0, 1), 0)?;
    guest.out().fill_byte(2);
    expect(guest.ask(Request::Xchg { pool, key: key(0), page: guest.out().gpa() }), 1)?;
    expect_true(guest.out().is_byte(0..4096, 1))?;
    expect(guest.get(pool, 0), hit(2))?;
    expect(guest.get(pool, 0), MISS)
}

fn xchg_absent(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    guest.out().fill_byte(1);
    expect(guest.ask(Request::Xchg { pool, key: key(0), page: guest.out().gpa() }), 0)?;
    expect_true(guest.out().is_byte(0..4096, 1))?;
    expect(guest.get(pool, 0), hit(1))
}
