//! Pools of pages at the host, for programs in a guest: [`Pool`] over `/dev/tmem`, which the driver `tmem.ko` provides.
//!
//! ```no_run
//! use tmem_guest::{Key, Kind, Pool};
//!
//! let pool = Pool::open("/dev/tmem".as_ref(), Kind::Persistent)?;
//! let key = Key { oid: [7, 0, 0], index: 1 };
//! pool.put(key, &[42; 4096])?;
//! let mut page = [0; 4096];
//! assert!(pool.get(key, &mut page)? && page[0] == 42);
//! # Ok::<(), tmem_guest::PoolError>(())
//! ```

pub mod abi;
mod batch;
mod pool;

pub use batch::Batch;
pub use pool::{Info, Key, Kind, Pool, PoolError};

/// Bytes of a page: the unit of tmem.
pub const PAGE_SIZE: usize = 4096;

/// The content of one page.
pub type Page = [u8; PAGE_SIZE];
