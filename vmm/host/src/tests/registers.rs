//! Which call is it: call numbers, transports, privilege, operations and reserved bits.

use super::*;
use crate::{Registers, TranslateGva};
use tmem_abi::{CALL_NUMBER, Operation};

struct NoTables;

impl TranslateGva for NoTables {
    fn translate(&self, _: u64) -> Option<Gpa> {
        None
    }
}

fn hypercall(guest: &Guest, rax: u64, cpl: Option<u8>, request: Request) -> i64 {
    let tmem_abi::Registers { rdi, rsi, rdx, r10, r8, r9 } = request.encode();
    let regs = Registers { rax, rdi, rsi, rdx, r10, r8, r9, cpl };
    guest.dispatcher.hypercall(&guest.memory, 1, &regs, &NoTables)
}

#[test]
fn both_transports_carry_the_same_call() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    guest.fill(OUT, 1);
    let put = Request::Put { pool, key: key(0), page: OUT };
    assert_eq!(hypercall(&guest, CALL_NUMBER, Some(0), put), 0);
    assert_eq!(guest.get(pool, 0), Ok(1));
    assert_eq!(hypercall(&guest, CALL_NUMBER, None, Request::FlushPage { pool, key: key(0) }), 1);
}

#[test]
fn call_from_user_mode_is_refused_and_does_nothing() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    let put = Request::Put { pool, key: key(0), page: OUT };
    for cpl in 1..=3 {
        assert_eq!(hypercall(&guest, CALL_NUMBER, Some(cpl), put), EPERM);
        assert_eq!(hypercall(&guest, tmem_abi::xen::CALL_NUMBER, Some(cpl), put), EPERM);
    }
    assert_eq!(guest.get(pool, 0), MISS);
}

#[test]
fn other_call_numbers_are_unknown_to_the_hypercall_and_ignored_by_the_port() {
    let guest = Guest::new();
    let query = Request::Query { page: BACK };
    guest.fill(BACK, 0xee);
    for rax in [0, 39, CALL_NUMBER | 1 << 32, CALL_NUMBER | 1 << 63, u64::MAX] {
        assert_eq!(hypercall(&guest, rax, Some(0), query), ENOSYS);
        assert_eq!(hypercall(&guest, rax, None, query), rax as i64);
    }
    assert_eq!(hypercall(&guest, 5, Some(0), query), -1000);
    assert_eq!(hypercall(&guest, 38, None, query), 38);
    assert_eq!(guest.page(BACK), [0xee; PAGE_SIZE]);
}

#[test]
fn unknown_operations_are_not_served() {
    let guest = Guest::new();
    for number in (0..=u8::MAX).filter(|number| Operation::from_number(*number).is_none()) {
        let registers = tmem_abi::Registers { rdi: u64::from(number), ..Default::default() };
        assert_eq!(guest.dispatcher.call(&guest.memory, 0, &registers), ENOSYS, "operation {number}");
    }
}

#[test]
fn vcpu_that_the_guest_does_not_have_is_refused() {
    let guest = Guest::new();
    let query = Request::Query { page: BACK }.encode();
    assert_eq!(guest.dispatcher.call(&guest.memory, 2, &query), EINVAL);
}

#[test]
fn every_reserved_bit_is_refused_and_changes_nothing() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    assert_eq!(guest.put(pool, 0, 1), 0);
    let object = key(0).object;
    let range = tmem_abi::ByteRange::new(0, 8).unwrap();
    let (low_index, all) = (!0xffff_ffff_u64, u64::MAX);
    // For each request the bits that it does not use, in the order rdi, rsi, rdx, r10, r8, r9.
    let requests: [(Request, [u64; 6]); 12] = [
        (
            Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() },
            [!0xff, !0b11, all, all, all, all],
        ),
        (Request::DestroyPool { pool }, [0xffff_ff00, all, all, all, all, all]),
        (Request::Put { pool, key: key(0), page: OUT }, [0xffff_ff00, 0, 0, 0, low_index, 0]),
        (Request::Get { pool, key: key(0), page: BACK }, [0xffff_ff00, 0, 0, 0, low_index, 0]),
        (Request::FlushPage { pool, key: key(0) }, [0xffff_ff00, 0, 0, 0, low_index, all]),
        (Request::FlushObject { pool, object }, [0xffff_ff00, 0, 0, 0, all, all]),
        (Request::Read { pool, key: key(0), range, page: BACK }, [0xffff_ff00, 0, 0, 0, 0, 0]),
        (Request::Write { pool, key: key(0), range, page: OUT }, [0xffff_ff00, 0, 0, 0, 0, 0]),
        (Request::Xchg { pool, key: key(0), page: OUT }, [0xffff_ff00, 0, 0, 0, low_index, 0]),
        (
            Request::FlushRange { pool, object, first: 0, count: 1 },
            [0xffff_ff00, 0, 0, 0, low_index, !0x1_ffff_ffff],
        ),
        (Request::Batch { array: ARRAY, count: 1 }, [!0xff, all, all, all, low_index, 0]),
        (Request::Query { page: BACK }, [!0xff, all, all, all, all, 0]),
    ];
    guest.fill(BACK, 0xee);
    for (request, unused) in requests {
        for (register, mask) in unused.into_iter().enumerate() {
            for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
                let mut r = request.encode();
                let words = [&mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9];
                *words.into_iter().nth(register).unwrap() |= 1 << bit;
                assert_eq!(
                    guest.dispatcher.call(&guest.memory, 0, &r),
                    EINVAL,
                    "{request:?}, register {register}, bit {bit}"
                );
            }
        }
    }
    assert_eq!(guest.page(BACK), [0xee; PAGE_SIZE]);
    assert_eq!(guest.get(pool, 0), Ok(1));
    assert_eq!(guest.pool(PoolFlags::Persistent), PoolId(1));
}
