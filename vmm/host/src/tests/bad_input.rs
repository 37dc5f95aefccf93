//! Guest-physical addresses that are none, and what they leave behind.

use super::*;
use tmem_abi::ByteRange;

/// Unaligned, the first page beyond RAM, where a local APIC is, far away, the last page there is, and just below 2^64.
const BAD: [Gpa; 6] =
    [Gpa(OUT.0 + 8), Gpa(RAM), Gpa(0xfee0_0000), Gpa(1 << 52), Gpa(u64::MAX - 4095), Gpa(u64::MAX)];

#[test]
fn put_or_write_from_a_bad_page_faults_and_drops_the_old_page() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    let range = ByteRange::new(0, 1).unwrap();
    for page in BAD {
        for request in
            [Request::Put { pool, key: key(0), page }, Request::Write { pool, key: key(0), range, page }]
        {
            assert_eq!(guest.put(pool, 0, 1), 0);
            assert_eq!(guest.op(request), EFAULT);
            assert_eq!(guest.get(pool, 0), MISS);
        }
    }
}

#[test]
fn get_into_a_bad_page_faults_and_drops_only_private_ephemeral_pages() {
    let guest = Guest::new();
    let kinds = [PoolFlags::Ephemeral, PoolFlags::Persistent, PoolFlags::Shared];
    for (flags, after) in kinds.into_iter().zip([MISS, Ok(1), Ok(1)]) {
        let pool = guest.pool(flags);
        for page in BAD {
            assert_eq!(guest.put(pool, 0, 1), 0);
            assert_eq!(guest.op(Request::Get { pool, key: key(0), page }), EFAULT);
            assert_eq!(guest.get(pool, 0), after);
        }
    }
}

#[test]
fn read_xchg_and_query_with_a_bad_page_fault_and_change_nothing() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Ephemeral);
    let range = ByteRange::new(0, 1).unwrap();
    for page in BAD {
        assert_eq!(guest.put(pool, 0, 1), 0);
        assert_eq!(guest.op(Request::Read { pool, key: key(0), range, page }), EFAULT);
        assert_eq!(guest.op(Request::Xchg { pool, key: key(0), page }), EFAULT);
        assert_eq!(guest.op(Request::Query { page }), EFAULT);
        assert_eq!(guest.get(pool, 0), Ok(1));
    }
}

#[test]
fn mmio_hole_is_no_memory_while_ram_on_both_sides_is() {
    let guest = Guest::of(&store(), client_config(), HOLE.start + (16 << 20));
    let pool = guest.pool(PoolFlags::Persistent);
    let put = |page| guest.op(Request::Put { pool, key: key(0), page: Gpa(page) });
    assert_eq!((put(HOLE.start - 4096), put(HOLE.end)), (0, 0));
    assert_eq!((put(HOLE.start), put(HOLE.end - 4096)), (EFAULT, EFAULT));
    assert_eq!(put(HOLE.end + (16 << 20)), EFAULT);
}

#[test]
fn unknown_pool_is_named_before_the_bad_page() {
    let guest = Guest::new();
    for pool in [PoolId(0), PoolId(1024), PoolId(u32::MAX)] {
        assert_eq!(guest.op(Request::Put { pool, key: key(0), page: BAD[0] }), ENODEV);
        assert_eq!(guest.op(Request::Get { pool, key: key(0), page: BAD[0] }), ENODEV);
        assert_eq!(guest.put(pool, 0, 1), ENODEV);
        assert_eq!(guest.op(Request::FlushObject { pool, object: ObjectId::default() }), ENODEV);
    }
}
