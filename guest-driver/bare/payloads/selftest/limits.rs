//! What a client may not have: pools beyond its table, shared pools it was not allowed, bytes beyond its cap.

use tmem_abi::{Errno, Key, ObjectId, PoolFlags, Request, Uuid};
use tmem_bare::control::Command;
use tmem_bare::random::mix;
use tmem_bare::selftest::{CAP_BYTES, MAX_POOLS, NOT_SHARED, SHARED};

use crate::guest::{Case, Check, Guest, MISS, expect, expect_errno, expect_true, hit};

pub(crate) const CASES: &[Case] = &[
    Case::new("pools_beyond_the_table_are_refused", table_full),
    Case::new("shared_pool_that_was_not_allowed_is_refused", shared_denied),
    Case::new("revoked_shared_pool_is_gone", shared_revoked),
    Case::new("persistent_client_at_its_cap_is_refused_until_it_flushes", cap_persistent),
    Case::new("ephemeral_client_at_its_cap_makes_room_from_its_own", cap_ephemeral),
    Case::new("metadata_counts_against_the_cap", cap_metadata),
];

/// More pages than the cap holds, even if every page shrinks to a quarter.
const TOO_MANY: u32 = (CAP_BYTES / 4096) as u32 * 4;

fn table_full(guest: &Guest) -> Check {
    for id in 0..MAX_POOLS {
        let pool = guest.pool(PoolFlags::Ephemeral)?;
        expect(i64::from(pool.0), i64::from(id))?;
    }
    let new = Request::NewPool { flags: PoolFlags::Ephemeral, uuid: Uuid::default() };
    expect_errno(guest.ask(new), Errno::NoFreePool)
}

fn shared_denied(guest: &Guest) -> Check {
    for uuid in [NOT_SHARED, [0, 0], [u64::MAX, u64::MAX]] {
        let new = Request::NewPool { flags: PoolFlags::Shared, uuid: Uuid(uuid) };
        expect_errno(guest.ask(new), Errno::NotPermitted)?;
    }
    Ok(())
}

fn shared_revoked(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Shared)?;
    expect(guest.put(pool, 0, 1), 0)?;
    guest.mailbox.tell(Command::RevokeShared);
    let new = Request::NewPool { flags: PoolFlags::Shared, uuid: Uuid(SHARED) };
    let (gone, again) = (guest.get(pool, 0), guest.ask(new));
    guest.mailbox.tell(Command::AllowShared);
    expect_errno(gone, Errno::NoPool)?;
    expect_errno(again, Errno::NotPermitted)
}

/// Pages of which no codec can make less.
fn fill_random(guest: &Guest, seed: u64) {
    let words = guest.out().words().iter().zip(0..);
    words.for_each(|(word, n)| word.store(mix(seed << 16 ^ n), core::sync::atomic::Ordering::Relaxed));
}

fn cap_persistent(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    for index in 1..TOO_MANY {
        fill_random(guest, u64::from(index));
        let key = crate::guest::key(index);
        let answer = guest.ask(Request::Put { pool, key, page: guest.out().gpa() });
        if answer == 0 {
            continue;
        }
        expect_errno(answer, Errno::NoMemory)?;
        expect(guest.get(pool, index), MISS)?;
        expect(guest.get(pool, 0), hit(1))?;
        let object = crate::guest::OBJECT;
        expect_true(guest.ask(Request::FlushObject { pool, object }) > 0)?;
        return expect(guest.put(pool, index, 1), 0);
    }
    // The cap was never reached.
    expect_errno(0, Errno::NoMemory)
}

fn cap_ephemeral(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Ephemeral)?;
    for index in 0..TOO_MANY {
        fill_random(guest, u64::from(index));
        let key = crate::guest::key(index);
        expect(guest.ask(Request::Put { pool, key, page: guest.out().gpa() }), 0)?;
    }
    let present = (0..TOO_MANY).map(|index| i64::from(guest.flush(pool, index) == 1)).sum::<i64>();
    expect_true(present > 0 && present <= (CAP_BYTES / 4096) as i64)
}

/// One page in each of ever more objects, all of the same byte: nearly all that is charged is metadata.
fn cap_metadata(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    guest.out().fill_byte(0);
    for object in 0..CAP_BYTES / 16 {
        let key = Key { object: ObjectId([object, 0, 0]), index: 0 };
        let answer = guest.ask(Request::Put { pool, key, page: guest.out().gpa() });
        if answer != 0 {
            return expect_errno(answer, Errno::NoMemory);
        }
    }
    expect_errno(0, Errno::NoMemory)
}
