//! Pages that do not come, behind userfaultfd, and signals for those who wait.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;
use std::{mem, ptr};

use tmem_guest::abi;
use tmem_guest::{Kind, PAGE_SIZE, Page, Pool};

use super::raw::{Raw, error};
use super::{Case, Failure, Outcome, Skip, World, expect, expect_eq, key, page};

pub(super) static CASES: &[Case] = &[
    Case { name: "a put whose page does not come keeps nobody but its own pool waiting", run: nobody_waits },
    Case {
        name: "who waits for another's call is interrupted by a signal, and has done nothing",
        run: interrupted,
    },
    Case {
        name: "a call that a signal interrupts is restarted, by the kernel or by the library",
        run: restarted,
    },
];

/// A page of memory that is not there until somebody lets it come (userfaultfd(2)).
struct Late {
    faults: File,
    page: *mut libc::c_void,
}

/// struct uffdio_api, and those of registering a range and of a page of zeros, which are alike.
#[repr(C)]
struct Api([u64; 3]);
#[repr(C)]
struct Range([u64; 4]);

impl Late {
    const API: u64 = 0xc018_aa3f;
    const REGISTER: u64 = 0xc020_aa00;
    const ZEROPAGE: u64 = 0xc020_aa04;
    const MISSING: u64 = 1;
    const VERSION: u64 = 0xaa;

    fn new() -> Result<Self, Failure> {
        // SAFETY: makes a descriptor, or does not.
        let faults = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        let Ok(faults @ 0..) = i32::try_from(faults) else {
            return Err(Skip("this kernel has no userfaultfd").into());
        };
        // SAFETY: a new descriptor that nobody else has.
        let faults = unsafe { File::from_raw_fd(faults) };
        let (both, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at no particular address.
        let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_SIZE, both, private, -1, 0) };
        expect(page != libc::MAP_FAILED, "no memory")?;
        let late = Self { faults, page };
        expect_eq("UFFDIO_API", late.ask(Self::API, &mut Api([Self::VERSION, 0, 0])), 0)?;
        expect_eq("UFFDIO_REGISTER", late.ask(Self::REGISTER, &mut late.range(Self::MISSING)), 0)?;
        Ok(late)
    }

    fn range(&self, mode: u64) -> Range {
        Range([self.page as u64, PAGE_SIZE as u64, mode, 0])
    }

    fn ask<T>(&self, request: u64, about: &mut T) -> i32 {
        // SAFETY: the request is about one such structure, and its range is the mapping, to which nothing refers.
        unsafe { libc::ioctl(self.faults.as_raw_fd(), request as _, ptr::from_mut(about)) }
    }

    /// Waits until somebody waits for the page.
    fn wanted(&self) -> Outcome {
        let mut message = [0; 32];
        expect_eq("a fault", (&self.faults).read(&mut message)?, message.len())
    }

    /// A page of zeros comes, and whoever waits goes on.
    fn come(&self) {
        // If it does not, the put says so; it may have come already.
        self.ask(Self::ZEROPAGE, &mut self.range(0));
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it.
        unsafe { libc::munmap(self.page, PAGE_SIZE) };
    }
}

/// Has `put` put a page that is late, at this address, and meanwhile does `work`, which may let it come.
fn while_a_put_waits(
    put: impl FnOnce(u64) -> Outcome + Send,
    work: impl FnOnce(&Late) -> Outcome,
) -> Outcome {
    let late = Late::new()?;
    let address = late.page as u64;
    let (worked, put) = thread::scope(|scope| {
        let putting = scope.spawn(move || put(address).map_err(|why| why.to_string()));
        let worked = late.wanted().and_then(|()| work(&late));
        late.come();
        (worked, putting.join())
    });
    worked?;
    Ok(put.map_err(|_| "a thread panicked")??)
}

fn nobody_waits(world: &World) -> Outcome {
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    let mut found = [1; PAGE_SIZE];
    while_a_put_waits(
        |address| expect_eq("the put", raw.one(abi::PUT, 0, address), 0),
        |_| {
            pool.put(key(1), &page(1))?;
            expect(pool.get(key(1), &mut found)? && found == page(1), "another pool lost a page")?;
            expect_eq("pages of the group", pool.info()?.pages_group, 1)
        },
    )?;
    expect_eq("get", raw.one(abi::GET, 0, found.as_mut_ptr() as u64), 1)?;
    expect(found == [0; PAGE_SIZE], "another page was put than the one that came")
}

extern "C" fn nothing(_: libc::c_int) {}

/// SIGUSR1 interrupts those who sleep, whose calls the kernel restarts or not.
fn on_signal(restart: bool) -> Outcome {
    // SAFETY: a handler that does nothing, in a structure that is valid when it is zero.
    let answer = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        action.sa_flags = if restart { libc::SA_RESTART } else { 0 };
        libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut())
    };
    expect_eq("sigaction", answer, 0)
}

/// Runs `call` in a thread, and signals it again and again, until it has ended or `until` says that it is enough.
fn signalled<T: Send>(call: impl FnOnce() -> T + Send, until: impl Fn(u32) -> bool) -> Result<T, Failure> {
    let (sender, thread_of) = channel();
    let result = thread::scope(|scope| {
        let calling = scope.spawn(move || {
            // SAFETY: asks for this thread's own name.
            sender.send(unsafe { libc::pthread_self() }).ok();
            call()
        });
        if let Ok(thread) = thread_of.recv() {
            for signals in 0.. {
                if calling.is_finished() || until(signals) {
                    break;
                }
                // SAFETY: the thread is not joined yet.
                unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
                thread::sleep(Duration::from_millis(2));
            }
        }
        calling.join()
    });
    Ok(result.map_err(|_| "a thread panicked")?)
}

fn interrupted(world: &World) -> Outcome {
    on_signal(false)?;
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    let mut good = page(1);
    let address = good.as_mut_ptr() as u64;
    while_a_put_waits(
        |address| expect_eq("the put", raw.one(abi::PUT, 0, address), 0),
        |_| {
            let answer = signalled(|| raw.one(abi::PUT, 1, address), |_| false)?;
            expect_eq("the put that waits for it", answer, error(libc::EINTR))
        },
    )?;
    expect_eq("get of what it did not put", raw.one(abi::GET, 1, address), 0)
}

fn restarted(world: &World) -> Outcome {
    /// How often a call is interrupted before it may go on.
    const SIGNALS: u32 = 50;
    on_signal(true)?;
    let raw = Raw::with_pool(world, abi::PERSISTENT)?;
    let good = page(1);
    let (address, come_after) = (good.as_ptr() as u64, |late: &Late, signals| {
        if signals == SIGNALS {
            late.come();
        }
        false
    });
    while_a_put_waits(
        |address| expect_eq("the put", raw.one(abi::PUT, 0, address), 0),
        |late| {
            let answer = signalled(|| raw.one(abi::PUT, 1, address), |signals| come_after(late, signals))?;
            expect_eq("the put that waits for it", answer, 0)
        },
    )?;
    on_signal(false)?;
    let pool = Pool::open(&world.device, Kind::Persistent)?;
    while_a_put_waits(
        // SAFETY: the page is mapped, nobody writes to it, and the kernel fills it before it can be read.
        |address| Ok(pool.put(key(0), unsafe { &*(address as *const Page) })?),
        |late| Ok(signalled(|| pool.put(key(1), &good), |signals| come_after(late, signals))??),
    )
}
