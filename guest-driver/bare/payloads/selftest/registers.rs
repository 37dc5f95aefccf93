//! Registers that are no request: unknown operations, reserved bits, impossible ranges, other call numbers.

use tmem_abi::{Errno, Operation, PoolFlags, Registers, Request, Uuid};

use crate::guest::{Case, Check, Guest, OBJECT, expect, expect_errno, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::new("unknown_operations_are_not_served", unknown),
    Case::new("every_reserved_bit_is_refused", reserved),
    Case::new("pool_flags_that_do_not_exist_are_refused", flags),
    Case::new("ranges_that_leave_the_page_or_the_object_are_refused", ranges),
    Case::new("other_call_numbers_do_nothing", call_numbers),
];

fn unknown(guest: &Guest) -> Check {
    for number in (0..=u8::MAX).filter(|number| Operation::from_number(*number).is_none()) {
        let registers = Registers { rdi: u64::from(number), ..Registers::default() };
        expect_errno(guest.host.call(&registers), Errno::NoOperation)?;
    }
    Ok(())
}

/// Sets every bit in turn that the request must leave zero.
fn refuse_bits(guest: &Guest, request: Request, masks: [u64; 6]) -> Check {
    for (register, mask) in masks.into_iter().enumerate() {
        for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
            let mut r = request.encode();
            let all = [&mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9];
            all.into_iter().skip(register).take(1).for_each(|word| *word |= 1 << bit);
            expect_errno(guest.host.call(&r), Errno::Invalid)?;
        }
    }
    Ok(())
}

fn reserved(guest: &Guest) -> Check {
    const ALL: u64 = u64::MAX;
    const OPERATION: u64 = 0xffff_ff00;
    const NO_POOL: u64 = !0xff;
    const INDEX: u64 = !0xffff_ffff;
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    let key = key(0);
    let (out, back) = (guest.out().gpa(), guest.back().gpa());
    let new = Request::NewPool { flags: PoolFlags::Ephemeral, uuid: Uuid::default() };
    refuse_bits(guest, new, [NO_POOL, !0b11, ALL, ALL, ALL, ALL])?;
    refuse_bits(guest, Request::DestroyPool { pool }, [OPERATION, ALL, ALL, ALL, ALL, ALL])?;
    for request in [
        Request::Put { pool, key, page: out },
        Request::Get { pool, key, page: back },
        Request::Xchg { pool, key, page: out },
    ] {
        refuse_bits(guest, request, [OPERATION, 0, 0, 0, INDEX, 0])?;
    }
    refuse_bits(guest, Request::FlushPage { pool, key }, [OPERATION, 0, 0, 0, INDEX, ALL])?;
    refuse_bits(guest, Request::FlushObject { pool, object: OBJECT }, [OPERATION, 0, 0, 0, ALL, ALL])?;
    refuse_bits(guest, Request::Batch { array: back, count: 1 }, [NO_POOL, ALL, ALL, ALL, INDEX, 0])?;
    refuse_bits(guest, Request::Query { page: back }, [NO_POOL, ALL, ALL, ALL, ALL, 0])?;
    expect(guest.get(pool, 0), hit(1))
}

fn flags(guest: &Guest) -> Check {
    for bits in [3, 4, 1 << 24, u64::MAX] {
        let registers = Registers { rdi: 1, rsi: bits, ..Registers::default() };
        expect_errno(guest.host.call(&registers), Errno::Invalid)?;
    }
    Ok(())
}

fn ranges(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    let put = Request::Put { pool, key: key(0), page: guest.out().gpa() }.encode();
    for operation in [Operation::Read, Operation::Write] {
        for (offset, length) in [(0, 0), (0, 4097), (4096, 1), (4095, 2), (0xffff, 0xffff), (1, 0xffff)] {
            let registers = Registers {
                rdi: put.rdi & !0xff | u64::from(operation.number()),
                r8: offset << 32 | length << 48,
                ..put
            };
            expect_errno(guest.host.call(&registers), Errno::Invalid)?;
        }
    }
    for (first, count) in [(0, (1 << 32) + 1), (1, 1 << 32), (u64::from(u32::MAX), 2), (1, u64::MAX)] {
        let rdi = put.rdi & !0xff | u64::from(Operation::FlushRange.number());
        let registers = Registers { rdi, r8: first, r9: count, ..put };
        expect_errno(guest.host.call(&registers), Errno::Invalid)?;
    }
    expect(guest.get(pool, 0), hit(1))
}

fn call_numbers(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    expect(guest.put(pool, 0, 1), 0)?;
    let flush = Request::FlushPage { pool, key: key(0) }.encode();
    for number in [0, 0x746d_656e, tmem_abi::CALL_NUMBER | 1 << 32, u64::MAX] {
        guest.host.raw(number, &flush);
    }
    expect(guest.get(pool, 0), hit(1))
}
