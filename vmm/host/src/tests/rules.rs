//! The semantics table of the ABI (its README, section 5) and of the design, row by row.

use super::*;
use tmem_abi::ByteRange;

#[test]
fn persistent_page_is_kept_by_gets_until_it_is_flushed() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    assert_eq!(guest.put(pool, 0, 1), 0);
    assert_eq!((guest.get(pool, 0), guest.get(pool, 0)), (Ok(1), Ok(1)));
    assert_eq!(guest.op(Request::FlushPage { pool, key: key(0) }), 1);
    assert_eq!(guest.get(pool, 0), MISS);
    assert_eq!(guest.op(Request::FlushPage { pool, key: key(0) }), 0);
}

#[test]
fn private_ephemeral_page_is_removed_by_its_get_and_stays_a_miss() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Ephemeral);
    assert_eq!(guest.put(pool, 0, 1), 0);
    assert_eq!((guest.get(pool, 0), guest.get(pool, 0), guest.get(pool, 0)), (Ok(1), MISS, MISS));
}

#[test]
fn shared_page_is_kept_by_gets_and_seen_by_every_member() {
    let store = store();
    let one = Guest::of(&store, client_config(), RAM);
    let two = Guest::of(&store, client_config(), RAM);
    let (pool_one, pool_two) = (one.pool(PoolFlags::Shared), two.pool(PoolFlags::Shared));
    assert_eq!(one.put(pool_one, 0, 5), 0);
    assert_eq!((two.get(pool_two, 0), two.get(pool_two, 0), one.get(pool_one, 0)), (Ok(5), Ok(5), Ok(5)));
}

#[test]
fn second_put_replaces_the_page() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    assert_eq!((guest.put(pool, 0, 1), guest.put(pool, 0, 2)), (0, 0));
    assert_eq!(guest.get(pool, 0), Ok(2));
}

#[test]
fn frozen_client_refuses_puts_and_drops_the_old_page_while_gets_and_flushes_work() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    assert_eq!((guest.put(pool, 0, 1), guest.put(pool, 1, 1), guest.put(pool, 2, 1)), (0, 0, 0));
    guest.dispatcher.client().freeze();
    assert_eq!(guest.put(pool, 0, 2), EBUSY);
    assert_eq!((guest.get(pool, 0), guest.get(pool, 1)), (MISS, Ok(1)));
    assert_eq!(guest.op(Request::FlushPage { pool, key: key(1) }), 1);
    assert_eq!(guest.op(Request::Xchg { pool, key: key(2), page: OUT }), EBUSY);
    assert_eq!(guest.get(pool, 2), Ok(1));
    guest.dispatcher.client().thaw();
    assert_eq!(guest.put(pool, 0, 3), 0);
}

#[test]
fn client_at_its_cap_is_refused_and_the_old_page_is_gone() {
    let guest = Guest::of(&store(), ClientConfig { cap_bytes: 4 << 20, ..client_config() }, RAM);
    let pool = guest.pool(PoolFlags::Persistent);
    let mut last = 0;
    for index in 0..2000 {
        guest.write(OUT, &incompressible(u64::from(index)));
        last = guest.op(Request::Put { pool, key: key(index), page: OUT });
        if last != 0 {
            assert_eq!(guest.get(pool, index), MISS);
            break;
        }
    }
    assert_eq!(last, ENOMEM);
}

#[test]
fn flush_object_and_range_say_how_many_pages_went() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    for index in 0..10 {
        assert_eq!(guest.put(pool, index, 1), 0);
    }
    let object = key(0).object;
    assert_eq!(guest.op(Request::FlushRange { pool, object, first: 2, count: 3 }), 3);
    assert_eq!((guest.get(pool, 1), guest.get(pool, 2)), (Ok(1), MISS));
    assert_eq!((guest.get(pool, 4), guest.get(pool, 5)), (MISS, Ok(1)));
    assert_eq!(guest.op(Request::FlushObject { pool, object }), 7);
    assert_eq!(guest.op(Request::FlushObject { pool, object }), 0);
}

#[test]
fn read_moves_only_its_bytes_and_removes_nothing() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Ephemeral);
    let range = ByteRange::new(100, 50).unwrap();
    assert_eq!(guest.put(pool, 0, 3), 0);
    guest.fill(BACK, 0xee);
    assert_eq!(guest.op(Request::Read { pool, key: key(0), range, page: BACK }), 1);
    let mut expected = [0xee; PAGE_SIZE];
    expected[100..150].fill(3);
    assert_eq!(guest.page(BACK), expected);
    assert_eq!(guest.get(pool, 0), Ok(3));
    assert_eq!(guest.op(Request::Read { pool, key: key(0), range, page: BACK }), 0);
}

#[test]
fn write_changes_only_its_bytes_and_fills_an_absent_page_with_zeros() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    let range = ByteRange::new(4000, 96).unwrap();
    guest.fill(OUT, 9);
    assert_eq!(guest.op(Request::Write { pool, key: key(0), range, page: OUT }), 0);
    assert_eq!(guest.put(pool, 1, 4), 0);
    guest.fill(OUT, 9);
    assert_eq!(guest.op(Request::Write { pool, key: key(1), range, page: OUT }), 0);
    for (index, rest) in [(0, 0), (1, 4)] {
        assert_eq!(guest.op(Request::Get { pool, key: key(index), page: BACK }), 1);
        let mut expected = [rest; PAGE_SIZE];
        expected[4000..].fill(9);
        assert_eq!(guest.page(BACK), expected);
    }
}

#[test]
fn xchg_swaps_or_stores_and_leaves_the_guest_page() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    guest.fill(OUT, 1);
    assert_eq!(guest.op(Request::Xchg { pool, key: key(0), page: OUT }), 0);
    assert_eq!(guest.page(OUT), [1; PAGE_SIZE]);
    guest.fill(OUT, 2);
    assert_eq!(guest.op(Request::Xchg { pool, key: key(0), page: OUT }), 1);
    assert_eq!((guest.page(OUT), guest.get(pool, 0)), ([1; PAGE_SIZE], Ok(2)));
}

#[test]
fn destroyed_pool_is_gone_with_its_keys_and_its_id_is_reused_empty() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    assert_eq!(guest.put(pool, 0, 1), 0);
    assert_eq!(guest.op(Request::DestroyPool { pool }), 0);
    assert_eq!(guest.get(pool, 0), Err(ENODEV));
    assert_eq!(guest.op(Request::DestroyPool { pool }), ENODEV);
    assert_eq!(guest.pool(PoolFlags::Persistent), pool);
    assert_eq!(guest.get(pool, 0), MISS);
}

#[test]
fn pools_are_refused_beyond_the_table_and_when_not_allowed() {
    let guest = Guest::of(&store(), ClientConfig { ephemeral: false, ..client_config() }, RAM);
    let new = |flags, uuid| guest.op(Request::NewPool { flags, uuid: Uuid(uuid) });
    assert_eq!(new(PoolFlags::Ephemeral, [0, 0]), EPERM);
    assert_eq!(new(PoolFlags::Shared, [1, 1]), EPERM);
    assert_eq!([0, 1, 2, 3], [(); 4].map(|()| new(PoolFlags::Persistent, [0, 0])));
    assert_eq!(new(PoolFlags::Persistent, [0, 0]), ENOSPC);
}

#[test]
fn revoked_shared_pool_is_gone_for_its_member() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Shared);
    assert_eq!(guest.put(pool, 0, 1), 0);
    guest.dispatcher.client().revoke_shared(SharedUuid(SHARED));
    assert_eq!(guest.get(pool, 0), Err(ENODEV));
    assert_eq!(guest.op(Request::NewPool { flags: PoolFlags::Shared, uuid: Uuid(SHARED) }), EPERM);
}

#[test]
fn guests_with_equal_pool_ids_and_keys_do_not_meet() {
    let store = store();
    let one = Guest::of(&store, client_config(), RAM);
    let two = Guest::of(&store, client_config(), RAM);
    let (pool, same) = (one.pool(PoolFlags::Persistent), two.pool(PoolFlags::Persistent));
    assert_eq!(pool, same);
    assert_eq!((one.put(pool, 0, 1), two.put(pool, 0, 2)), (0, 0));
    assert_eq!(one.op(Request::FlushObject { pool, object: key(0).object }), 1);
    assert_eq!((one.get(pool, 0), two.get(pool, 0)), (MISS, Ok(2)));
}

#[test]
fn closed_client_has_no_pools() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    guest.dispatcher.client().close();
    assert_eq!(guest.put(pool, 0, 1), ENODEV);
}

#[test]
fn a_long_flush_of_a_guest_that_is_to_stop_ends_in_the_middle() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    (0..10_000).for_each(|n| assert_eq!(guest.put(pool, n << 12, 1), 0));
    guest.dispatcher.stop();
    let flush = || guest.op(Request::FlushObject { pool, object: key(0).object });
    assert_eq!((flush(), flush()), (tmem_abi::Errno::Again.answer(), tmem_abi::Errno::Again.answer()));
    assert!((0..100).map(|_| flush()).any(|pages| pages > 0), "each call goes on where the last one ended");
}
