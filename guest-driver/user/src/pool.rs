//! A pool at the host, behind one descriptor of `/dev/tmem`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::abi;
use crate::{Batch, Page};

/// Which pages a pool holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Pages that the host may evict at any time, and that a get removes.
    Ephemeral,
    /// Pages that stay until they are flushed, or the pool is closed.
    Persistent,
}

/// What names a page in a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    /// The object.
    pub oid: [u64; 3],
    /// The page of it.
    pub index: u32,
}

/// What a pool is and holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Which pages.
    pub kind: Kind,
    /// Pages that all pools of its memory cgroup may hold together: of the group in which the device was opened.
    pub pages_max: u64,
    /// Pages that they hold, at most.
    pub pages_group: u64,
    /// Pages that this pool holds; of ephemeral ones some may be evicted already.
    pub pages_held: u64,
}

/// Why a call failed.
#[derive(Debug, Error)]
pub enum PoolError {
    /// The device cannot be opened.
    #[error("cannot open {}: {source}; is tmem.ko loaded, and may you?", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The driver or the host has no pool to give.
    #[error("no pool: {0}; the driver's parameters group_pools and user_pools say how many there may be")]
    Pool(#[source] io::Error),
    /// A put was refused: by the limit of the memory cgroup, or by the host. An older page under the key is gone.
    #[error("refused: the memory cgroup has as many pages as it may (group_pages), or the host has no room")]
    Refused,
    /// An operation of a batch has not run, and changed nothing.
    #[error("not run")]
    NotRun,
    /// Anything else, about one operation or all of a call.
    #[error("the driver says: {0}")]
    Driver(#[source] io::Error),
}

/// A pool, gone with all its pages when this is dropped. Threads may share it.
#[derive(Debug)]
pub struct Pool {
    file: File,
}

impl Pool {
    /// Makes a pool through the device `path`.
    ///
    /// # Errors
    /// [`PoolError::Open`], [`PoolError::Pool`].
    pub fn open(path: &Path, kind: Kind) -> Result<Self, PoolError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|source| PoolError::Open { path: path.into(), source })?;
        let flags = match kind {
            Kind::Ephemeral => abi::EPHEMERAL,
            Kind::Persistent => abi::PERSISTENT,
        };
        let mut info = abi::PoolInfo { flags, ..Default::default() };
        // SAFETY: the request is about one such structure.
        unsafe { ioctl(&file, abi::IOC_POOL, &mut info) }.map_err(PoolError::Pool)?;
        Ok(Self { file })
    }

    /// What it is and holds.
    ///
    /// # Errors
    /// [`PoolError::Driver`].
    pub fn info(&self) -> Result<Info, PoolError> {
        let mut info = abi::PoolInfo::default();
        // SAFETY: the request is about one such structure.
        unsafe { ioctl(&self.file, abi::IOC_INFO, &mut info) }.map_err(PoolError::Driver)?;
        let kind = if info.flags == abi::PERSISTENT { Kind::Persistent } else { Kind::Ephemeral };
        let abi::PoolInfo { pages_max, pages_group, pages_held, .. } = info;
        Ok(Info { kind, pages_max, pages_group, pages_held })
    }

    /// Stores a copy of `page`.
    ///
    /// # Errors
    /// [`PoolError::Refused`]; then no page is under `key`, an older one neither. [`PoolError::Driver`] when the host failed;
    /// then nobody knows.
    pub fn put(&self, key: Key, page: &Page) -> Result<(), PoolError> {
        self.one(abi::PUT, key, page.as_ptr() as u64).map(|_| ())
    }

    /// Copies the page under `key` into `page`, if there is one. In an ephemeral pool it is gone then.
    ///
    /// # Errors
    /// [`PoolError::Driver`].
    pub fn get(&self, key: Key, page: &mut Page) -> Result<bool, PoolError> {
        self.one(abi::GET, key, page.as_mut_ptr() as u64).map(|found| found == 1)
    }

    /// Forgets the page under `key`; true if there was one.
    ///
    /// # Errors
    /// [`PoolError::Driver`].
    pub fn flush(&self, key: Key) -> Result<bool, PoolError> {
        self.one(abi::FLUSH, key, 0).map(|gone| gone == 1)
    }

    /// Forgets the pages of `count` indexes from `first.index` on and says how many there were.
    ///
    /// # Errors
    /// [`PoolError::Driver`], among them a range that ends behind index 2^32 - 1.
    pub fn flush_range(&self, first: Key, count: u64) -> Result<u64, PoolError> {
        self.one(abi::FLUSH_RANGE, first, count).map(|gone| gone.unsigned_abs())
    }

    /// Runs the operations of a batch in order; what came of each is in the batch then.
    ///
    /// # Errors
    /// [`PoolError::Driver`] when not all of them were run; the others are [`PoolError::NotRun`].
    pub fn run(&self, batch: &mut Batch<'_>) -> Result<(), PoolError> {
        batch.ops.iter_mut().for_each(|op| op.status = abi::NOT_RUN);
        for part in batch.ops.chunks_mut(abi::OPS_MAX as usize) {
            let mut done = 0;
            while let Some(rest) = part.get_mut(done..).filter(|rest| !rest.is_empty()) {
                let n = u32::try_from(rest.len()).unwrap_or(abi::OPS_MAX);
                let mut ops = abi::Ops { ops: rest.as_mut_ptr() as u64, n, reserved: 0 };
                // SAFETY: the request is about one such structure, which names `n` operations that are ours, each with a
                // page that the batch borrows.
                done += unsafe { ioctl(&self.file, abi::IOC_OPS, &mut ops) }.map_err(PoolError::Driver)?;
            }
        }
        Ok(())
    }

    fn one(&self, op: u32, key: Key, page: u64) -> Result<i64, PoolError> {
        let mut op = abi::Op { op, index: key.index, oid: key.oid, page, status: abi::NOT_RUN };
        // SAFETY: the request is about one such structure, and the page that it names is the caller's reference.
        unsafe { ioctl(&self.file, abi::IOC_OP, &mut op) }.map_err(PoolError::Driver)?;
        answer(op.status)
    }
}

/// What an operation's status means.
pub(crate) fn answer(status: i64) -> Result<i64, PoolError> {
    match i32::try_from(-status) {
        _ if status >= 0 => Ok(status),
        Ok(libc::ENOMEM | libc::EBUSY) => Err(PoolError::Refused),
        Ok(libc::ECANCELED) => Err(PoolError::NotRun),
        Ok(errno) => Err(PoolError::Driver(io::Error::from_raw_os_error(errno))),
        Err(_) => Err(PoolError::Driver(io::ErrorKind::InvalidData.into())),
    }
}

/// The driver's answer. What a signal interrupted before it began is asked again.
///
/// # Safety
/// `request` is one that reads and writes one `T`, and whatever else that `T` names is the caller's to give.
unsafe fn ioctl<T>(file: &File, request: u64, about: &mut T) -> io::Result<usize> {
    loop {
        // SAFETY: the descriptor is open, `about` is exclusive for the call, and the caller vouches for the rest.
        let answer = unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(about)) };
        match usize::try_from(answer).map_err(|_| io::Error::last_os_error()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    #[test]
    fn statuses_are_told_apart() {
        let of = |errno: i32| answer(-i64::from(errno));
        assert!(matches!(answer(7), Ok(7)));
        assert!(matches!(of(libc::ENOMEM), Err(PoolError::Refused)));
        assert!(matches!(of(libc::EBUSY), Err(PoolError::Refused)));
        assert!(matches!(answer(abi::NOT_RUN), Err(PoolError::NotRun)));
        assert!(matches!(of(libc::EIO), Err(PoolError::Driver(_))));
        assert!(matches!(answer(i64::MIN + 1), Err(PoolError::Driver(_))));
    }

    #[test]
    fn a_batch_that_the_device_refuses_has_not_run() {
        let pool = Pool { file: File::open("/dev/null").unwrap() };
        let mut batch = Batch::new();
        batch.flush(Key::default());
        assert!(matches!(pool.run(&mut batch), Err(PoolError::Driver(_))));
        assert!(matches!(batch.status(0), Some(Err(PoolError::NotRun))));
    }
}
