//! Xen's `tmem_op`, over the hypercall transport.

use core::sync::atomic::Ordering::Relaxed;

use tmem_abi::xen::{CALL_NUMBER, ErrnoXen, TmemOp, XenRequest, command};
use tmem_abi::{Features, Gpa, PoolFlags, PoolId, Registers, Uuid};
use tmem_bare::control::Command;
use tmem_bare::memory::bytes;

use crate::guest::{Case, Check, Failure, Guest, MISS, expect, expect_true, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::needing(Features::XEN, "xen_put_get_and_flush_answer_one", succeeds),
    Case::needing(Features::XEN, "xen_structure_may_cross_into_another_page", crosses),
    Case::needing(Features::XEN, "xen_bad_structure_or_frame_faults", faults),
    Case::needing(Features::XEN, "xen_frozen_client_is_told_so", frozen),
    Case::needing(Features::XEN, "xen_commands_that_were_holes_are_not_served", holes),
];

/// Page number of the structure in the work area.
const STRUCTURE: usize = 32;

fn expect_xen(got: i64, want: ErrnoXen) -> Check {
    expect(got, want.answer())
}

fn call_at(guest: &Guest, address: u64) -> i64 {
    guest.host.raw(CALL_NUMBER, &Registers { rdi: address, ..Registers::default() })
}

fn write_at(address: u64, op: TmemOp) {
    let to = bytes(address, TmemOp::SIZE);
    to.iter().zip(op.to_bytes()).for_each(|(byte, value)| byte.store(value, Relaxed));
}

fn raw(guest: &Guest, op: TmemOp) -> i64 {
    let address = guest.page(STRUCTURE).gpa().0;
    write_at(address, op);
    call_at(guest, address)
}

fn ask(guest: &Guest, request: XenRequest) -> i64 {
    raw(guest, TmemOp::encode(&request))
}

fn pool(guest: &Guest, flags: PoolFlags) -> Result<PoolId, Failure> {
    let answer = ask(guest, XenRequest::NewPool { flags, uuid: Uuid::default() });
    expect_true(answer >= 0)?;
    Ok(PoolId(answer as u32))
}

fn put(guest: &Guest, pool: PoolId, index: u32, byte: u8) -> i64 {
    guest.out().fill_byte(byte);
    ask(guest, XenRequest::Put { pool, key: key(index), gfn: guest.out().gpa().0 / 4096 })
}

fn get(guest: &Guest, pool: PoolId, index: u32) -> i64 {
    ask(guest, XenRequest::Get { pool, key: key(index), gfn: guest.back().gpa().0 / 4096 })
}

fn succeeds(guest: &Guest) -> Check {
    let pool = pool(guest, PoolFlags::Persistent)?;
    expect(put(guest, pool, 0, 3), 1)?;
    expect(get(guest, pool, 0), 1)?;
    expect_true(guest.back().is_byte(0..4096, 3))?;
    // Both ABIs see the same pool.
    expect(guest.get(pool, 0), hit(3))?;
    expect(ask(guest, XenRequest::FlushPage { pool, key: key(0) }), 1)?;
    expect(ask(guest, XenRequest::FlushPage { pool, key: key(0) }), 1)?;
    expect(get(guest, pool, 0), MISS)?;
    expect(put(guest, pool, 1, 3), 1)?;
    expect(ask(guest, XenRequest::FlushObject { pool, object: key(0).object }), 1)?;
    expect(get(guest, pool, 1), MISS)?;
    expect(ask(guest, XenRequest::DestroyPool { pool }), 1)?;
    expect(ask(guest, XenRequest::DestroyPool { pool }), 0)
}

fn crosses(guest: &Guest) -> Check {
    let pool = pool(guest, PoolFlags::Ephemeral)?;
    guest.out().fill_byte(7);
    let put = XenRequest::Put { pool, key: key(0), gfn: guest.out().gpa().0 / 4096 };
    for in_first in [1, 28, 55] {
        let address = guest.page(STRUCTURE + 1).gpa().0 - in_first;
        write_at(address, TmemOp::encode(&put));
        expect(call_at(guest, address), 1)?;
        expect(guest.get(pool, 0), hit(7))?;
    }
    Ok(())
}

fn faults(guest: &Guest) -> Check {
    // Not mapped at all, mapped to a device, and running out of RAM after the first bytes.
    for address in [1 << 40, u64::MAX - 8, guest.info.hole, guest.info.ram_bytes - 8] {
        expect_xen(call_at(guest, address), ErrnoXen::Fault)?;
    }
    let pool = pool(guest, PoolFlags::Ephemeral)?;
    for Gpa(address) in guest.bad_addresses().into_iter().skip(2) {
        expect(put(guest, pool, 0, 1), 1)?;
        let bad = XenRequest::Put { pool, key: key(0), gfn: address / 4096 };
        expect_xen(ask(guest, bad), ErrnoXen::Fault)?;
        expect(get(guest, pool, 0), MISS)?;
    }
    Ok(())
}

fn frozen(guest: &Guest) -> Check {
    let pool = pool(guest, PoolFlags::Persistent)?;
    expect(put(guest, pool, 0, 1), 1)?;
    expect(put(guest, pool, 1, 1), 1)?;
    guest.mailbox.tell(Command::Freeze);
    let refused = put(guest, pool, 0, 2);
    let flushed = ask(guest, XenRequest::FlushPage { pool, key: key(1) });
    guest.mailbox.tell(Command::Thaw);
    expect_xen(refused, ErrnoXen::Frozen)?;
    expect_xen(flushed, ErrnoXen::Frozen)?;
    expect(get(guest, pool, 0), MISS)?;
    expect(get(guest, pool, 1), MISS)
}

fn holes(guest: &Guest) -> Check {
    let pool = pool(guest, PoolFlags::Persistent)?;
    for cmd in [command::CONTROL, command::AUTH, command::RESTORE_NEW] {
        let op = TmemOp { cmd, pool_id: pool.0, words: [0; 6] };
        expect_xen(raw(guest, op), ErrnoXen::NotSupported)?;
    }
    expect_xen(raw(guest, TmemOp { cmd: 9, pool_id: pool.0, words: [0; 6] }), ErrnoXen::NoCommand)?;
    expect_xen(raw(guest, TmemOp { cmd: 9, pool_id: 7, words: [0; 6] }), ErrnoXen::NoPool)
}
