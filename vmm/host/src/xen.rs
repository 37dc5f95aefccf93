//! Xen's `tmem_op` on the same pools, with the answers of Xen 4.12 (`xen/common/tmem.c`).
//!
//! For old guests, not for speed: every call reads a structure through the guest's page tables, which costs the host
//! a system call. Where the answers differ from Xen's on purpose is written in the ABI's README, section 6.

use tmem_abi::xen::{ErrnoXen, TmemOp, XenDecodeError, XenRequest};
use tmem_abi::{Errno, Gpa, PAGE_SIZE, PoolFlags, Uuid};
use tmem_core::{Key, ObjectId, OpError, PoolId};
use vm_memory::GuestMemoryBackend;

use crate::answer::errno;
use crate::call::{Caller, key, kind, pool};
use crate::registers::TranslateGva;

type Answer = Result<i64, ErrnoXen>;

/// Answers a call whose `rdi` was `tmem_op`, a guest-virtual address.
pub(super) fn run<M: GuestMemoryBackend>(
    caller: &mut Caller<'_, M>,
    tmem_op: u64,
    gva: &dyn TranslateGva,
) -> i64 {
    let answer = read_op(caller, tmem_op, gva).and_then(|op| match op.decode() {
        Ok(request) => serve(caller, request),
        Err(XenDecodeError::Unknown { pool: id, .. }) => {
            // Xen looked at the pool first.
            exists(caller, pool(id)).and(Err(ErrnoXen::NoCommand))
        }
        Err(error) => Err(error.errno()),
    });
    answer.unwrap_or_else(ErrnoXen::answer)
}

/// Copies the structure in, once. It may cross into a second page, which may be anywhere.
fn read_op<M: GuestMemoryBackend>(
    caller: &Caller<'_, M>,
    tmem_op: u64,
    gva: &dyn TranslateGva,
) -> Result<TmemOp, ErrnoXen> {
    let mut bytes = [0; TmemOp::SIZE];
    let in_first = (PAGE_SIZE - (tmem_op % PAGE_SIZE as u64) as usize).min(TmemOp::SIZE);
    let (first, second) = bytes.split_at_mut(in_first);
    read_virtual(caller, tmem_op, first, gva)?;
    if !second.is_empty() {
        let address = tmem_op.checked_add(in_first as u64).ok_or(ErrnoXen::Fault)?;
        read_virtual(caller, address, second, gva)?;
    }
    Ok(TmemOp::from_bytes(&bytes))
}

/// Copies bytes that stay within one page.
fn read_virtual<M: GuestMemoryBackend>(
    caller: &Caller<'_, M>,
    address: u64,
    to: &mut [u8],
    gva: &dyn TranslateGva,
) -> Result<(), ErrnoXen> {
    const OFFSET: u64 = PAGE_SIZE as u64 - 1;
    let gpa = gva.translate(address).ok_or(ErrnoXen::Fault)?;
    let page = caller.page(Gpa(gpa.0 & !OFFSET)).map_err(|_| ErrnoXen::Fault)?;
    page.read_at((address & OFFSET) as usize, to).then_some(()).ok_or(ErrnoXen::Fault)
}

fn serve<M: GuestMemoryBackend>(caller: &mut Caller<'_, M>, request: XenRequest) -> Answer {
    match request {
        XenRequest::NewPool { flags, uuid } => new_pool(caller, flags, uuid),
        XenRequest::DestroyPool { pool: id } => match caller.client.destroy_pool(pool(id)) {
            Ok(()) => Ok(1),
            Err(_) => Ok(0),
        },
        XenRequest::Put { pool: id, key: k, gfn } => put(caller, pool(id), &key(k), gfn),
        XenRequest::Get { pool: id, key: k, gfn } => {
            caller.get(pool(id), &key(k), frame(gfn)).map_err(|errno| match errno {
                Errno::NoPool => ErrnoXen::NoPool,
                _ => ErrnoXen::Fault,
            })
        }
        XenRequest::FlushPage { pool: id, key: k } => {
            flushed(caller, caller.client.flush_page(pool(id), &key(k)).map_err(errno))
        }
        XenRequest::FlushObject { pool: id, object } => {
            let flush = |steps| caller.client.flush_object(pool(id), ObjectId(object.0), steps);
            flushed(caller, caller.in_slices(flush))
        }
    }
}

fn new_pool<M: GuestMemoryBackend>(caller: &Caller<'_, M>, flags: PoolFlags, uuid: Uuid) -> Answer {
    match caller.client.new_pool(kind(flags, uuid)) {
        Ok(id) => Ok(i64::from(id.get())),
        Err(OpError::NoMemory) => Err(ErrnoXen::NoMemory),
        Err(_) => Err(ErrnoXen::NotPermitted),
    }
}

/// Xen told a refused *duplicate* put from a refused new one. An exchange either replaces the page or changes nothing,
/// so after a refusal the flush that a failed put owes tells which it was. (In the client's counters such a put is an
/// exchange.)
fn put<M: GuestMemoryBackend>(caller: &mut Caller<'_, M>, pool: PoolId, key: &Key, gfn: u64) -> Answer {
    let page = caller.page_to_put(pool, key, frame(gfn)).map_err(|errno| match errno {
        Errno::NoPool => ErrnoXen::NoPool,
        _ => ErrnoXen::Fault,
    })?;
    page.copy_to(caller.scratch);
    let Err(refused) = caller.client.xchg(pool, key, caller.scratch) else { return Ok(1) };
    let duplicate = caller.client.flush_page(pool, key).is_ok_and(|pages| pages > 0);
    Err(match refused {
        OpError::NoSuchPool | OpError::Closed => ErrnoXen::NoPool,
        OpError::Frozen => ErrnoXen::Frozen,
        _ if duplicate => ErrnoXen::NoSpace,
        _ => ErrnoXen::NoMemory,
    })
}

/// A flush is done also when the client is frozen, but Xen did not say so.
fn flushed<M: GuestMemoryBackend>(caller: &Caller<'_, M>, result: Result<u64, Errno>) -> Answer {
    match result {
        Err(_) => Err(ErrnoXen::NoPool),
        Ok(_) if caller.client.usage().frozen => Err(ErrnoXen::Frozen),
        Ok(_) => Ok(1),
    }
}

fn exists<M: GuestMemoryBackend>(caller: &Caller<'_, M>, pool: PoolId) -> Result<(), ErrnoXen> {
    caller.client.flush_range(pool, ObjectId::default(), 0, 0, 0).map(|_| ()).map_err(|_| ErrnoXen::NoPool)
}

/// The address of a frame; one that is no address at all saturates to an unaligned one.
fn frame(gfn: u64) -> Gpa {
    Gpa(gfn.saturating_mul(PAGE_SIZE as u64))
}
