//! Requests without the library.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::ptr;

use tmem_guest::abi::{self, Op, PoolInfo};

use super::{Failure, World, expect_eq, key};

/// The device, and raw requests to it.
pub(super) struct Raw(File);

impl Raw {
    pub(super) fn open(world: &World) -> Result<Self, Failure> {
        Ok(Self(OpenOptions::new().read(true).write(true).open(&world.device)?))
    }

    pub(super) fn with_pool(world: &World, flags: u32) -> Result<Self, Failure> {
        let raw = Self::open(world)?;
        let mut info = PoolInfo { flags, ..Default::default() };
        expect_eq("POOL", raw.ask(abi::IOC_POOL, &mut info), 0)?;
        Ok(raw)
    }

    /// The answer, or the negative error.
    pub(super) fn ask<T>(&self, request: u64, about: &mut T) -> i64 {
        self.ask_at(request, ptr::from_mut(about) as u64)
    }

    pub(super) fn ask_at(&self, request: u64, address: u64) -> i64 {
        // SAFETY: whatever the address, the driver writes to this program's memory only where it may; those that are
        // given here belong to nothing that this program relies on, but for structures made for the request.
        let answer = unsafe { libc::ioctl(self.0.as_raw_fd(), request, address) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        if answer < 0 { -i64::from(errno) } else { i64::from(answer) }
    }

    /// One operation: its status, or the request's error.
    pub(super) fn one(&self, op: u32, index: u32, page: u64) -> i64 {
        let mut op = Op { op, index, oid: key(0).oid, page, status: 99 };
        match self.ask(abi::IOC_OP, &mut op) {
            0 => op.status,
            error => error,
        }
    }
}

/// How a request or an operation says so.
pub(super) fn error(errno: i32) -> i64 {
    -i64::from(errno)
}
