//! Programs that mean no good, or make mistakes.

use std::ptr;

use tmem_guest::abi::{self, Op, Ops, PoolInfo};
use tmem_guest::{PAGE_SIZE, Page};

use super::raw::{Raw, error};
use super::{Case, Failure, Outcome, World, expect, expect_eq, key, page};

pub(super) static CASES: &[Case] = &[
    Case { name: "nothing works before there is a pool, and there is only one", run: pool_first },
    Case { name: "malformed requests are refused", run: malformed },
    Case { name: "bad addresses are faults and leave no older page", run: bad_addresses },
    Case { name: "a page that cannot be written is a fault", run: read_only_page },
    Case { name: "pages need no alignment", run: unaligned },
    Case { name: "an endless or torn array is answered", run: arrays },
    Case { name: "what cannot be told how it ended does not run", run: no_status },
];

/// Addresses that no program has: page 0, the hole of x86-64, the kernel, and around the end.
const BAD: [u64; 6] = [0, 1, 0x8000_0000_0000, 0xffff_8880_0000_0000, u64::MAX - 4095, u64::MAX];

fn pool_first(world: &World) -> Outcome {
    let raw = Raw::open(world)?;
    expect_eq("an operation", raw.one(abi::FLUSH, 0, 0), error(libc::ENODEV))?;
    expect_eq("INFO", raw.ask(abi::IOC_INFO, &mut PoolInfo::default()), error(libc::ENODEV))?;
    expect_eq("POOL", raw.ask(abi::IOC_POOL, &mut PoolInfo::default()), 0)?;
    expect_eq("POOL again", raw.ask(abi::IOC_POOL, &mut PoolInfo::default()), error(libc::EBUSY))
}

fn malformed(world: &World) -> Outcome {
    let raw = Raw::open(world)?;
    for (flags, reserved) in [(2, 0), (u32::MAX, 0), (0, 1)] {
        let mut info = PoolInfo { flags, reserved, ..Default::default() };
        expect_eq("POOL", raw.ask(abi::IOC_POOL, &mut info), error(libc::EINVAL))?;
    }
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    expect_eq("no such request", raw.ask_at(0xe7 << 8 | 9, 0), error(libc::ENOTTY))?;
    for op in [0, 1, 2, 3, 7, 8, 9, 10, 17, 18, 255, u32::MAX] {
        expect_eq(&format!("operation {op}"), raw.one(op, 0, 0), error(libc::EINVAL))?;
    }
    expect_eq("a flush with a page", raw.one(abi::FLUSH, 0, 4096), error(libc::EINVAL))?;
    for (first, count) in [(1, 1 << 32), (0, (1 << 32) + 1), (u32::MAX, 2), (0, u64::MAX)] {
        expect_eq("a range too long", raw.one(abi::FLUSH_RANGE, first, count), error(libc::EINVAL))?;
    }
    let mut ops = Ops { reserved: 1, ..Default::default() };
    expect_eq("reserved", raw.ask(abi::IOC_OPS, &mut ops), error(libc::EINVAL))
}

fn bad_addresses(world: &World) -> Outcome {
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    let mut found = [0; PAGE_SIZE];
    for address in BAD {
        for request in [abi::IOC_POOL, abi::IOC_INFO, abi::IOC_OP, abi::IOC_OPS] {
            expect_eq("a request at a bad address", raw.ask_at(request, address), error(libc::EFAULT))?;
        }
        let good = page(1);
        expect_eq("put", raw.one(abi::PUT, 0, good.as_ptr() as u64), 0)?;
        expect_eq("get to a bad address", raw.one(abi::GET, 0, address), error(libc::EFAULT))?;
        expect_eq("get after it", raw.one(abi::GET, 0, found.as_mut_ptr() as u64), 1)?;
        expect_eq("put from a bad address", raw.one(abi::PUT, 0, address), error(libc::EFAULT))?;
        expect_eq("get after it", raw.one(abi::GET, 0, found.as_mut_ptr() as u64), 0)?;
    }
    Ok(())
}

/// Two pages of memory, the second of which is not there or cannot be written.
struct Torn(*mut libc::c_void);

impl Torn {
    const BYTES: usize = 2 * PAGE_SIZE;

    fn new(second: i32) -> Result<Self, Failure> {
        let (both, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at no particular address.
        let start = unsafe { libc::mmap(ptr::null_mut(), Self::BYTES, both, private, -1, 0) };
        expect(start != libc::MAP_FAILED, "no memory")?;
        let torn = Self(start);
        torn.protect(second)?;
        Ok(torn)
    }

    fn protect(&self, second: i32) -> Outcome {
        // SAFETY: the second page of the mapping, which nobody refers to.
        let answer = unsafe { libc::mprotect(self.second() as *mut _, PAGE_SIZE, second) };
        expect_eq("mprotect", answer, 0)
    }

    fn second(&self) -> u64 {
        self.0 as u64 + PAGE_SIZE as u64
    }
}

impl Drop for Torn {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it.
        unsafe { libc::munmap(self.0, Self::BYTES) };
    }
}

fn read_only_page(world: &World) -> Outcome {
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    let torn = Torn::new(libc::PROT_READ)?;
    expect_eq("put from it", raw.one(abi::PUT, 0, torn.second()), 0)?;
    expect_eq("get to it", raw.one(abi::GET, 0, torn.second()), error(libc::EFAULT))?;
    expect_eq("get across its start", raw.one(abi::GET, 0, torn.second() - 8), error(libc::EFAULT))
}

fn unaligned(world: &World) -> Outcome {
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    let (from, mut to): (Page, _) = (page(3), vec![0u8; PAGE_SIZE + 1]);
    expect_eq("put", raw.one(abi::PUT, 0, from.as_ptr() as u64), 0)?;
    expect_eq("get", raw.one(abi::GET, 0, to.as_mut_ptr() as u64 + 1), 1)?;
    expect(to.get(1..) == Some(&from[..]) && to.first() == Some(&0), "the page is not where it was asked for")
}

fn arrays(world: &World) -> Outcome {
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    for (ops, n, wanted) in [
        (0, 0, 0),
        (0, 1, error(libc::EFAULT)),
        (u64::MAX, 1, error(libc::EFAULT)),
        (0xffff_8880_0000_0000, abi::OPS_MAX, error(libc::EFAULT)),
        (0, abi::OPS_MAX + 1, error(libc::E2BIG)),
        (0, u32::MAX, error(libc::E2BIG)),
    ] {
        let mut array = Ops { ops, n, reserved: 0 };
        expect_eq(&format!("{n} operations at {ops:#x}"), raw.ask(abi::IOC_OPS, &mut array), wanted)?;
    }
    // The array ends where its memory does, after 64 operations: they run, and the call says how many.
    let torn = Torn::new(libc::PROT_NONE)?;
    let (one, size) = (Op { op: abi::FLUSH, status: 99, ..Default::default() }, size_of::<Op>() as u64);
    let start = torn.second() - 64 * size;
    for n in 0..64 {
        // SAFETY: inside the first page of the mapping, aligned as the page and the structure are.
        unsafe { ((start + n * size) as *mut Op).write(one) };
    }
    let mut array = Ops { ops: start, n: 1000, reserved: 0 };
    expect_eq("a torn array", raw.ask(abi::IOC_OPS, &mut array), 64)?;
    // SAFETY: as above.
    let last = unsafe { ((start + 63 * size) as *const Op).read() };
    expect_eq("the last status", last.status, 0)
}

/// Operations in memory that can only be read: none runs, and those of 32 that can be written neither.
fn no_status(world: &World) -> Outcome {
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    let good = page(1);
    expect_eq("put", raw.one(abi::PUT, 0, good.as_ptr() as u64), 0)?;
    let torn = Torn::new(libc::PROT_READ | libc::PROT_WRITE)?;
    let (one, size) = (Op { op: abi::FLUSH, oid: key(0).oid, ..Default::default() }, size_of::<Op>() as u64);
    let start = torn.second() - size;
    for n in 0..2 {
        // SAFETY: inside the mapping, around its middle, aligned as the structure is.
        unsafe { ((start + n * size) as *mut Op).write(one) };
    }
    torn.protect(libc::PROT_READ)?;
    expect_eq("OP", raw.ask_at(abi::IOC_OP, torn.second()), error(libc::EFAULT))?;
    let mut array = Ops { ops: start, n: 2, reserved: 0 };
    expect_eq("OPS", raw.ask(abi::IOC_OPS, &mut array), error(libc::EFAULT))?;
    // SAFETY: as above.
    let first = unsafe { (start as *const Op).read() };
    expect_eq("the status that could be written", first.status, abi::NOT_RUN)?;
    expect_eq("get", raw.one(abi::GET, 0, [0; PAGE_SIZE].as_mut_ptr() as u64), 1)
}
