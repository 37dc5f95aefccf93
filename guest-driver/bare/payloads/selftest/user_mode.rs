//! A guest whose user mode makes hypercalls, which its kernel would never have allowed.

use tmem_abi::{Errno, Features, PoolFlags, Registers, Request, Uuid};

use crate::guest::{Case, Check, Guest, expect_errno};

pub(crate) const CASES: &[Case] =
    &[Case::needing(Features::HYPERCALL, "call_from_user_mode_is_refused", refused)];

fn refused(guest: &Guest) -> Check {
    let new = Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() };
    expect_errno(guest.ask(new), Errno::NotPermitted)?;
    expect_errno(guest.ask(Request::Query { page: guest.out().gpa() }), Errno::NotPermitted)?;
    expect_errno(guest.host.call(&Registers::default()), Errno::NotPermitted)?;
    expect_errno(guest.host.raw(tmem_abi::xen::CALL_NUMBER, &new.encode()), Errno::NotPermitted)
}
