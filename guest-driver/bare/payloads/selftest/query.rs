//! QUERY.

use core::sync::atomic::Ordering::Relaxed;

use tmem_abi::{Features, PoolFlags, QUERY_FROZEN, QueryReply, Request};
use tmem_bare::control::Command;
use tmem_bare::selftest::{CAP_BYTES, MAX_POOLS};

use crate::guest::{Case, Check, Failure, Guest, MISS, expect, expect_true, hit};

pub(crate) const CASES: &[Case] = &[
    Case::needing(Features::QUERY, "query_counts_what_this_client_did", counts),
    Case::needing(Features::QUERY, "query_says_that_the_client_is_frozen", frozen),
];

fn query(guest: &Guest) -> Result<QueryReply, Failure> {
    let back = guest.back();
    back.fill_byte(0xee);
    expect(guest.ask(Request::Query { page: back.gpa() }), QueryReply::SIZE as i64)?;
    expect_true(back.is_byte(QueryReply::SIZE..4096, 0xee))?;
    let mut bytes = [0; QueryReply::SIZE];
    bytes.iter_mut().zip(back.bytes()).for_each(|(to, byte)| *to = byte.load(Relaxed));
    Ok(QueryReply::from_bytes(&bytes))
}

fn counts(guest: &Guest) -> Check {
    let before = query(guest)?;
    let persistent = guest.pool(PoolFlags::Persistent)?;
    let ephemeral = guest.pool(PoolFlags::Ephemeral)?;
    for index in 0..3 {
        expect(guest.put(persistent, index, 1), 0)?;
        expect(guest.put(ephemeral, index, 1), 0)?;
    }
    expect(guest.get(persistent, 0), hit(1))?;
    expect(guest.get(persistent, 9), MISS)?;
    expect(guest.flush(ephemeral, 0), 1)?;
    let after = query(guest)?;
    expect(i64::from(after.size), QueryReply::SIZE as i64)?;
    expect(i64::from(after.max_pools), i64::from(MAX_POOLS))?;
    expect(i64::from(after.pools), 2)?;
    expect_true(after.cap_bytes == CAP_BYTES)?;
    expect_true(after.used_bytes <= CAP_BYTES && after.metadata_bytes <= after.used_bytes)?;
    expect_true(after.metadata_bytes > 0)?;
    expect(after.persistent_pages.cast_signed(), 3)?;
    expect(after.ephemeral_pages.cast_signed(), 2)?;
    expect((after.puts - before.puts).cast_signed(), 6)?;
    expect((after.gets - before.gets).cast_signed(), 2)?;
    expect((after.gets_hit - before.gets_hit).cast_signed(), 1)?;
    expect((after.pages_flushed - before.pages_flushed).cast_signed(), 1)?;
    expect_true(after.reserved == [0; 3])
}

fn frozen(guest: &Guest) -> Check {
    guest.mailbox.tell(Command::Freeze);
    let reply = query(guest);
    guest.mailbox.tell(Command::Thaw);
    expect(i64::from(reply?.flags), i64::from(QUERY_FROZEN))?;
    expect(i64::from(query(guest)?.flags), 0)
}
