//! The host's side of transcendent memory, for any virtual machine monitor.
//!
//! [`Host`] owns the store and does its background work. A guest is added as a client with rights, and its calls go to its
//! [`Dispatcher`]: registers and guest memory in, one signed number out. A front end brings both: the registers however they were
//! trapped, the memory through vm-memory's [`GuestMemoryBackend`](vm_memory::GuestMemoryBackend). Nothing here knows KVM, an exit, a
//! layout of RAM or a file.
//!
//! On the path of a page there is no allocation, no system call, no log line, and no lock that two vCPUs share. No lock of the
//! store is held while guest memory is touched.
//!
//! ```
//! use tmem_abi::{Gpa, Key, ObjectId, PoolFlags, PoolId, Request, Uuid};
//! use tmem_core::{ClientConfig, StoreConfig};
//! use tmem_host::{Dispatcher, Host, Limits};
//! use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
//!
//! let host = Host::new(StoreConfig { capacity_bytes: 64 << 20, ..StoreConfig::default() })?;
//! let client = host.add_client(ClientConfig { name: "alpha".into(), ..ClientConfig::default() })?;
//! let guest = Dispatcher::new(client, 1, Limits::default());
//! let memory: GuestMemoryMmap<()> = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)])?;
//!
//! memory.write_slice(&[7; 4096], GuestAddress(0x1000))?;
//! let pool = guest.call(&memory, 0, &Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() }.encode());
//! let pool = PoolId(pool.try_into()?);
//! let key = Key { object: ObjectId([1, 0, 0]), index: 3 };
//! assert_eq!(guest.call(&memory, 0, &Request::Put { pool, key, page: Gpa(0x1000) }.encode()), 0);
//! assert_eq!(guest.call(&memory, 0, &Request::Get { pool, key, page: Gpa(0x2000) }.encode()), 1);
//! assert_eq!(memory.read_obj::<u8>(GuestAddress(0x2fff))?, 7);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod batch;
mod call;
mod discovery;
mod dispatcher;
mod flush;
mod host;
mod memory;
mod pressure;
mod registers;
mod report;
mod worker;
mod xen;

#[cfg(test)]
mod tests;

pub use discovery::{Transport, discovery};
pub use dispatcher::{Dispatcher, Limits};
pub use host::{Host, HostError};
pub use memory::{GpaError, GuestPage, PageBytes, PageGpa, live_page, page};
pub use registers::{Registers, TranslateGva};
pub use report::{ClientReport, Rights, StoreReport};
pub use tmem_abi::Gpa;
