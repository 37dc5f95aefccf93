//! Other users, children, and programs of 32 bits.

use std::arch::asm;
use std::fs::{self, File, OpenOptions, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::ptr;

use tmem_guest::abi::{self, Op, PoolInfo};
use tmem_guest::{Kind, PAGE_SIZE, Pool, PoolError};

use super::child::{status_of, succeeds};
use super::driver::host;
use super::rules::settled;
use super::{Case, Outcome, Skip, World, expect, expect_eq, key, page};

pub(super) static CASES: &[Case] = &[
    Case { name: "a program that is killed leaves nothing at the host", run: killed },
    Case { name: "users that the device's mode leaves out stay out, others come in", run: mode },
    Case { name: "a program of 32 bits has the same requests", run: compat },
];

fn killed(world: &World) -> Outcome {
    let (pools, pages) = (host("pools"), settled(0));
    let status = status_of(|| {
        let pool = Pool::open(&world.device, Kind::Persistent)?;
        for index in 0..50 {
            pool.put(key(index), &page(1))?;
        }
        expect_eq("pools, pages", (host("pools"), host("persistent_pages")), (pools + 1, pages + 50))?;
        // SAFETY: ends this process.
        unsafe { libc::raise(libc::SIGKILL) };
        Ok(())
    })?;
    expect_eq("the signal that ended it", libc::WTERMSIG(status), libc::SIGKILL)?;
    expect_eq("pools afterwards", host("pools"), pools)?;
    expect_eq("pages afterwards", settled(pages), pages)
}

/// The mode of a file, as it was before when this is dropped.
struct Mode<'a>(&'a World, Permissions);

impl<'a> Mode<'a> {
    fn set(world: &'a World, mode: u32) -> std::io::Result<Self> {
        let before = fs::metadata(&world.device)?.permissions();
        fs::set_permissions(&world.device, Permissions::from_mode(mode))?;
        Ok(Self(world, before))
    }
}

impl Drop for Mode<'_> {
    fn drop(&mut self) {
        // The next that sets it would say what is wrong.
        let _ = fs::set_permissions(&self.0.device, self.1.clone());
    }
}

fn mode(world: &World) -> Outcome {
    let as_nobody = |work: fn(&World) -> Outcome| {
        succeeds(|| {
            const NOBODY: u32 = 65534;
            // SAFETY: gives up, in a child, all that root may do.
            let answers =
                unsafe { [libc::setgroups(0, ptr::null()), libc::setgid(NOBODY), libc::setuid(NOBODY)] };
            expect_eq("setuid", answers, [0; 3])?;
            work(world)
        })
    };
    let denied = |world: &World| {
        let opened = Pool::open(&world.device, Kind::Ephemeral);
        expect(matches!(opened, Err(PoolError::Open { .. })), format!("{opened:?}"))
    };
    as_nobody(denied)?;
    let open_to_all = Mode::set(world, 0o666)?;
    as_nobody(|world| {
        let pool = Pool::open(&world.device, Kind::Persistent)?;
        pool.put(key(1), &page(1))?;
        let mut found = [0; PAGE_SIZE];
        expect(pool.get(key(1), &mut found)? && found == page(1), "the page is not found")
    })?;
    drop(open_to_all);
    as_nobody(denied)
}

/// A page of memory below 4 GiB, where a program of 32 bits has its structures.
struct Low(*mut libc::c_void);

impl Low {
    fn new() -> Self {
        let how = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a new mapping at no particular address.
        Self(unsafe {
            libc::mmap(ptr::null_mut(), PAGE_SIZE, libc::PROT_READ | libc::PROT_WRITE, how, -1, 0)
        })
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it.
        unsafe { libc::munmap(self.0, PAGE_SIZE) };
    }
}

/// ioctl(2) as programs of 32 bits call it, about a `T`.
fn ioctl_32<T: Copy>(file: &File, request: u64, about: &mut T) -> i32 {
    /// arch/x86/entry/syscalls/syscall_32.tbl
    const IOCTL: u64 = 54;
    let low = Low::new();
    let mut answer = IOCTL;
    // SAFETY: the mapping is larger than any structure here and aligned for it, and nobody else's. The kernel changes rax, and,
    // which older ones do, r8 to r11; rbx may not be named as an operand.
    unsafe {
        low.0.cast::<T>().write(*about);
        asm!(
            "xchg rbx, {file}", "int 0x80", "xchg rbx, {file}",
            file = inout(reg) i64::from(file.as_raw_fd()) => _,
            inout("rax") answer, in("rcx") request, in("rdx") low.0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
        *about = low.0.cast::<T>().read();
    }
    answer as i32
}

fn compat(world: &World) -> Outcome {
    let has_emulation = status_of(|| {
        // A kernel without programs of 32 bits kills who calls so.
        ioctl_32(&File::open("/dev/null")?, 0, &mut 0u32);
        Ok(())
    })?;
    if libc::WIFSIGNALED(has_emulation) {
        return Err(Skip("this kernel runs no programs of 32 bits").into());
    }
    let device = OpenOptions::new().read(true).write(true).open(&world.device)?;
    let mut info = PoolInfo { flags: abi::PERSISTENT, ..Default::default() };
    expect_eq("POOL", ioctl_32(&device, abi::IOC_POOL, &mut info), 0)?;
    let (from, mut to) = (page(1), [0; PAGE_SIZE]);
    let mut put = Op { op: abi::PUT, page: from.as_ptr() as u64, ..Default::default() };
    let mut get = Op { op: abi::GET, page: to.as_mut_ptr() as u64, ..Default::default() };
    expect_eq("OP", (ioctl_32(&device, abi::IOC_OP, &mut put), put.status), (0, 0))?;
    expect_eq("OP", (ioctl_32(&device, abi::IOC_OP, &mut get), get.status), (0, 1))?;
    expect(to == from, "the page came back damaged")?;
    let mut ops = abi::Ops { ops: ptr::from_mut(&mut get) as u64, n: 1, reserved: 0 };
    expect_eq("OPS", ioctl_32(&device, abi::IOC_OPS, &mut ops), 1)?;
    expect_eq("INFO", (ioctl_32(&device, abi::IOC_INFO, &mut info), info.pages_held), (0, 1))
}
