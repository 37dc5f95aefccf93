//! A client that its host has frozen; the host's half is the control command.

use tmem_abi::{ByteRange, Errno, PoolFlags, Request};
use tmem_bare::control::Command;

use crate::guest::{Case, Check, Guest, MISS, expect, expect_errno, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::new("frozen_client_is_refused_and_loses_the_old_page", puts_refused),
    Case::new("frozen_client_may_get_read_and_flush", rest_works),
    Case::new("frozen_client_s_xchg_changes_nothing", xchg_unchanged),
    Case::new("thawed_client_may_put_again", thawed),
];

/// Runs `case` while the client is frozen, and thaws it however that went.
fn while_frozen(guest: &Guest, case: impl FnOnce() -> Check) -> Check {
    guest.mailbox.tell(Command::Freeze);
    let result = case();
    guest.mailbox.tell(Command::Thaw);
    result
}

fn puts_refused(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    expect(guest.put(pool, 1, 1), 0)?;
    while_frozen(guest, || {
        expect_errno(guest.put(pool, 0, 2), Errno::Frozen)?;
        expect(guest.get(pool, 0), MISS)?;
        let Some(range) = ByteRange::new(0, 8) else { return Ok(()) };
        let write = Request::Write { pool, key: key(1), range, page: guest.out().gpa() };
        expect_errno(guest.ask(write), Errno::Frozen)?;
        expect(guest.get(pool, 1), MISS)
    })
}

fn rest_works(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Ephemeral)?;
    expect(guest.put(pool, 0, 1), 0)?;
    expect(guest.put(pool, 1, 1), 0)?;
    while_frozen(guest, || {
        let Some(range) = ByteRange::new(0, 8) else { return Ok(()) };
        expect(guest.ask(Request::Read { pool, key: key(0), range, page: guest.back().gpa() }), 1)?;
        expect(guest.get(pool, 0), hit(1))?;
        expect(guest.get(pool, 0), MISS)?;
        expect(guest.flush(pool, 1), 1)?;
        expect(guest.get(pool, 1), MISS)
    })
}

fn xchg_unchanged(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    guest.out().fill_byte(2);
    while_frozen(guest, || {
        let xchg = Request::Xchg { pool, key: key(0), page: guest.out().gpa() };
        expect_errno(guest.ask(xchg), Errno::Frozen)?;
        expect(i64::from(guest.out().is_byte(0..4096, 2)), 1)?;
        expect(guest.get(pool, 0), hit(1))
    })
}

fn thawed(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    while_frozen(guest, || expect_errno(guest.put(pool, 0, 1), Errno::Frozen))?;
    expect(guest.put(pool, 0, 2), 0)?;
    expect(guest.get(pool, 0), hit(2))
}
