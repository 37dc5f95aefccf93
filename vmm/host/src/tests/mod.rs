//! A guest without a processor: RAM, a store and a dispatcher, called as a vCPU would.

mod arbitrary;
mod bad_input;
mod batch;
mod query;
mod registers;
mod rules;
mod xen;

use std::sync::Arc;

use tmem_abi::{Gpa, Key, ObjectId, PoolFlags, PoolId, Request, Uuid};
use tmem_core::{ClientConfig, PAGE_SIZE, Page, SharedUuid, Store, StoreConfig};

use crate::{Dispatcher, Limits};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// RAM of a test guest.
const RAM: u64 = 16 << 20;
/// A hole in the RAM of a guest that has one, as a machine with devices below 4 GiB.
const HOLE: std::ops::Range<u64> = 3 << 30..4 << 30;
/// A page of it for the content to put, one for what comes back, and the first of an array.
const OUT: Gpa = Gpa(0x10_0000);
const BACK: Gpa = Gpa(0x20_0000);
const ARRAY: Gpa = Gpa(0x30_0000);
/// The uuid that [`Guest::new`] allows, low word first.
const SHARED: [u64; 2] = [0x1111, 0x2222];

const EPERM: i64 = -1;
const ENOMEM: i64 = -12;
const EFAULT: i64 = -14;
const EBUSY: i64 = -16;
const ENODEV: i64 = -19;
const EINVAL: i64 = -22;
const ENOSPC: i64 = -28;
const ENOSYS: i64 = -38;

struct Guest {
    memory: GuestMemoryMmap<()>,
    dispatcher: Dispatcher,
}

fn store() -> Arc<Store> {
    Store::new(StoreConfig { capacity_bytes: 256 << 20, ..Default::default() }).unwrap()
}

fn client_config() -> ClientConfig {
    ClientConfig { max_pools: 4, shared: vec![SharedUuid(SHARED)], ..Default::default() }
}

impl Guest {
    fn new() -> Self {
        Self::of(&store(), client_config(), RAM)
    }

    fn of(store: &Arc<Store>, config: ClientConfig, ram: u64) -> Self {
        let low = (GuestAddress(0), ram.min(HOLE.start) as usize);
        let high = (GuestAddress(HOLE.end), ram.saturating_sub(HOLE.start) as usize);
        let ranges: Vec<_> = [low, high].into_iter().filter(|(_, bytes)| *bytes > 0).collect();
        let memory = GuestMemoryMmap::from_ranges(&ranges).unwrap();
        let limits = Limits { max_pools: config.max_pools, batch_max: 130 };
        let client = store.add_client(config).unwrap();
        Self { dispatcher: Dispatcher::new(client, 2, limits), memory }
    }

    fn op(&self, request: Request) -> i64 {
        self.dispatcher.call(&self.memory, 0, &request.encode())
    }

    fn pool(&self, flags: PoolFlags) -> PoolId {
        let uuid = if flags == PoolFlags::Shared { Uuid(SHARED) } else { Uuid::default() };
        PoolId(self.op(Request::NewPool { flags, uuid }).try_into().unwrap())
    }

    fn write_bytes(&self, bytes: &[u8], at: u64) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    fn fill(&self, at: Gpa, byte: u8) {
        self.write(at, &[byte; PAGE_SIZE]);
    }

    fn write(&self, at: Gpa, page: &Page) {
        crate::page(&self.memory, at).unwrap().copy_from(page);
    }

    fn page(&self, at: Gpa) -> Page {
        let mut page = [0; PAGE_SIZE];
        crate::page(&self.memory, at).unwrap().copy_to(&mut page);
        page
    }

    /// Puts a page of `byte`.
    fn put(&self, pool: PoolId, index: u32, byte: u8) -> i64 {
        self.fill(OUT, byte);
        self.op(Request::Put { pool, key: key(index), page: OUT })
    }

    /// Gets a page: the byte that it is full of, or the answer if that is not 1.
    fn get(&self, pool: PoolId, index: u32) -> Result<u8, i64> {
        self.fill(BACK, 0xee);
        match self.op(Request::Get { pool, key: key(index), page: BACK }) {
            1 => {
                let page = self.page(BACK);
                assert!(page.iter().all(|byte| *byte == page[0]), "a torn page");
                Ok(page[0])
            }
            answer => {
                assert_eq!(self.page(BACK), [0xee; PAGE_SIZE], "no hit, but the guest page changed");
                Err(answer)
            }
        }
    }
}

/// A page that no codec can make smaller; each number has its own.
fn incompressible(number: u64) -> Page {
    let mut page = [0; PAGE_SIZE];
    let mut random = tmem_bare::random::Random::new(number);
    page.as_chunks_mut::<8>().0.iter_mut().for_each(|bytes| *bytes = random.draw().to_le_bytes());
    page
}

fn key(index: u32) -> Key {
    Key { object: ObjectId([7, 8, 9]), index }
}

/// A miss, as [`Guest::get`] shows it.
const MISS: Result<u8, i64> = Err(0);
