//! Xen's `tmem_op`, with the answers of Xen 4.12.

use super::*;
use crate::{Registers, TranslateGva};
use tmem_abi::xen::{TmemOp, XenRequest, command};

/// Guest-virtual addresses are guest-physical ones plus this; the second page of the structure is elsewhere.
const OFFSET: u64 = 0xffff_8880_0000_0000;
const OP: u64 = OFFSET + 0x5000;
const EFROZEN: i64 = -1000;
const EOPNOTSUPP: i64 = -95;

/// Maps the page at 0x5000 to itself and the one after it to 0x9000; nothing else.
struct Tables;

impl TranslateGva for Tables {
    fn translate(&self, gva: u64) -> Option<Gpa> {
        let offset = gva & 0xfff;
        match (gva - offset).checked_sub(OFFSET) {
            Some(0x5000) => Some(Gpa(0x5000 + offset)),
            Some(0x6000) => Some(Gpa(0x9000 + offset)),
            Some(0x7000) => Some(Gpa(0xfee0_0000 + offset)),
            _ => None,
        }
    }
}

fn call_at(guest: &Guest, rdi: u64) -> i64 {
    let regs = Registers { rax: tmem_abi::xen::CALL_NUMBER, rdi, cpl: Some(0), ..Default::default() };
    guest.dispatcher.hypercall(&guest.memory, 0, &regs, &Tables)
}

fn raw(guest: &Guest, op: TmemOp) -> i64 {
    guest.write_bytes(&op.to_bytes(), 0x5000);
    call_at(guest, OP)
}

fn op(guest: &Guest, request: XenRequest) -> i64 {
    raw(guest, TmemOp::encode(&request))
}

fn new_pool(guest: &Guest, flags: PoolFlags) -> PoolId {
    let answer = op(guest, XenRequest::NewPool { flags, uuid: Uuid::default() });
    PoolId(answer.try_into().unwrap())
}

fn put(guest: &Guest, pool: PoolId, index: u32, byte: u8) -> i64 {
    guest.fill(OUT, byte);
    op(guest, XenRequest::Put { pool, key: key(index), gfn: OUT.0 / 4096 })
}

fn get(guest: &Guest, pool: PoolId, index: u32) -> i64 {
    op(guest, XenRequest::Get { pool, key: key(index), gfn: BACK.0 / 4096 })
}

#[test]
fn success_is_one_and_both_abis_see_the_same_pool() {
    let guest = Guest::new();
    let pool = new_pool(&guest, PoolFlags::Persistent);
    assert_eq!(put(&guest, pool, 0, 3), 1);
    assert_eq!((get(&guest, pool, 0), guest.page(BACK)), (1, [3; PAGE_SIZE]));
    assert_eq!(put(&guest, pool, 0, 4), 1);
    assert_eq!(guest.get(pool, 0), Ok(4));
    assert_eq!(get(&guest, pool, 1), 0);
    assert_eq!(op(&guest, XenRequest::FlushPage { pool, key: key(1) }), 1);
    assert_eq!(op(&guest, XenRequest::FlushObject { pool, object: key(0).object }), 1);
    assert_eq!(guest.get(pool, 0), MISS);
    assert_eq!(op(&guest, XenRequest::DestroyPool { pool }), 1);
    assert_eq!(op(&guest, XenRequest::DestroyPool { pool }), 0);
}

#[test]
fn structure_that_crosses_into_another_page_is_read_from_both() {
    let guest = Guest::new();
    let pool = new_pool(&guest, PoolFlags::Ephemeral);
    guest.fill(OUT, 7);
    let bytes = TmemOp::encode(&XenRequest::Put { pool, key: key(0), gfn: OUT.0 / 4096 }).to_bytes();
    for in_first in [1, 8, 55] {
        let at = 0x6000 - in_first as u64;
        guest.write_bytes(&bytes[..in_first], at);
        guest.write_bytes(&bytes[in_first..], 0x9000);
        assert_eq!(call_at(&guest, OFFSET + at), 1);
        assert_eq!(guest.get(pool, 0), Ok(7));
    }
}

#[test]
fn structure_that_cannot_be_read_faults() {
    let guest = Guest::new();
    // Unmapped, mapped to no RAM, crossing into either, and wrapping around.
    for rdi in [0, OFFSET + 0x8000, OFFSET + 0x7000, OFFSET + 0x6fff, OFFSET + 0x4fff, u64::MAX - 4] {
        assert_eq!(call_at(&guest, rdi), EFAULT, "{rdi:#x}");
    }
}

#[test]
fn failed_put_tells_a_duplicate_from_a_new_page_and_drops_the_old_one() {
    let guest = Guest::of(&store(), ClientConfig { cap_bytes: 1 << 20, ..client_config() }, RAM);
    let pool = new_pool(&guest, PoolFlags::Persistent);
    assert_eq!(put(&guest, pool, 0, 1), 1);
    guest.dispatcher.client().set_cap(1);
    // A page of one byte could take the place of another one; this content needs more room.
    guest.write(OUT, &incompressible(1));
    let put = |index| op(&guest, XenRequest::Put { pool, key: key(index), gfn: OUT.0 / 4096 });
    assert_eq!(put(0), ENOSPC);
    assert_eq!(get(&guest, pool, 0), 0);
    assert_eq!(put(1), ENOMEM);
}

#[test]
fn bad_frame_faults_and_drops_the_old_page() {
    let guest = Guest::new();
    let pool = new_pool(&guest, PoolFlags::Ephemeral);
    for gfn in [RAM / 4096, u64::MAX, u64::MAX / 4096, 1 << 52] {
        assert_eq!(put(&guest, pool, 0, 1), 1);
        assert_eq!(op(&guest, XenRequest::Put { pool, key: key(0), gfn }), EFAULT);
        assert_eq!(get(&guest, pool, 0), 0);
        assert_eq!(put(&guest, pool, 0, 1), 1);
        assert_eq!(op(&guest, XenRequest::Get { pool, key: key(0), gfn }), EFAULT);
        assert_eq!(get(&guest, pool, 0), 0);
    }
}

#[test]
fn frozen_client_is_told_so_by_puts_and_by_flushes_that_are_done_nevertheless() {
    let guest = Guest::new();
    let pool = new_pool(&guest, PoolFlags::Persistent);
    assert_eq!((put(&guest, pool, 0, 1), put(&guest, pool, 1, 1)), (1, 1));
    guest.dispatcher.client().freeze();
    assert_eq!(put(&guest, pool, 0, 2), EFROZEN);
    assert_eq!(op(&guest, XenRequest::FlushPage { pool, key: key(1) }), EFROZEN);
    assert_eq!((get(&guest, pool, 0), get(&guest, pool, 1)), (0, 0));
}

#[test]
fn pools_and_commands_that_are_not_served_get_xen_s_errors() {
    let guest = Guest::new();
    let pool = new_pool(&guest, PoolFlags::Persistent);
    let nowhere = PoolId(u32::MAX);
    assert_eq!(put(&guest, nowhere, 0, 1), ENODEV);
    assert_eq!(get(&guest, nowhere, 0), ENODEV);
    assert_eq!(op(&guest, XenRequest::FlushPage { pool: nowhere, key: key(0) }), ENODEV);
    let shared = XenRequest::NewPool { flags: PoolFlags::Shared, uuid: Uuid([5, 5]) };
    assert_eq!(op(&guest, shared), EPERM);
    for cmd in [command::CONTROL, command::AUTH, command::RESTORE_NEW] {
        assert_eq!(raw(&guest, TmemOp { cmd, pool_id: pool.0, words: [0; 6] }), EOPNOTSUPP);
    }
    assert_eq!(raw(&guest, TmemOp { cmd: 8, pool_id: pool.0, words: [0; 6] }), ENOSYS);
    assert_eq!(raw(&guest, TmemOp { cmd: 8, pool_id: 99, words: [0; 6] }), ENODEV);
    let flags = |bits| TmemOp { cmd: command::NEW_POOL, pool_id: 0, words: [0, 0, bits, 0, 0, 0] };
    for bits in [0, 0x0200_0000, 0x0100_0003, 0x0100_0004, 0x0100_0010, 0x0100_0100] {
        assert_eq!(raw(&guest, flags(bits)), EPERM, "flags {bits:#x}");
    }
}
