//! The operations, one guest page at a time.

use std::sync::atomic::{AtomicBool, Ordering};

use tmem_abi::{Errno, Gpa, PoolFlags, QUERY_FROZEN, QueryReply, Request};
use tmem_core::{Client, Key, ObjectId, Page, PageRange, PoolId, PoolKind, SharedUuid};
use vm_memory::GuestMemoryBackend;

use crate::answer::{Answer, count, errno};
use crate::dispatcher::Limits;
use crate::memory::{self, Dirty, GuestPage};

/// One vCPU in the middle of a call.
pub(super) struct Caller<'a, M> {
    pub(super) client: &'a Client,
    pub(super) memory: &'a M,
    pub(super) limits: &'a Limits,
    pub(super) stopped: &'a AtomicBool,
    /// Where guest pages are copied. It may hold this same guest's older data, never another's.
    pub(super) scratch: &'a mut Page,
}

impl<'a, M: GuestMemoryBackend> Caller<'a, M> {
    /// Runs anything but a batch.
    pub(super) fn run(&mut self, request: Request) -> Answer {
        match request {
            Request::NewPool { flags, uuid } => {
                self.client.new_pool(kind(flags, uuid)).map(|id| i64::from(id.get())).map_err(errno)
            }
            Request::DestroyPool { pool: id } => {
                self.client.destroy_pool(pool(id)).map(|()| 0).map_err(errno)
            }
            Request::Put { pool: id, key: k, page } => self.put(pool(id), &key(k), page),
            Request::Get { pool: id, key: k, page } => self.get(pool(id), &key(k), page),
            Request::FlushPage { pool: id, key: k } => {
                self.client.flush_page(pool(id), &key(k)).map(count).map_err(errno)
            }
            Request::FlushObject { pool: id, object } => {
                let flush = |steps| self.client.flush_object(pool(id), ObjectId(object.0), steps);
                self.in_slices(flush).map(count)
            }
            Request::FlushRange { pool: id, object, first, count: pages } => {
                let object = ObjectId(object.0);
                let flush = |steps| self.client.flush_range(pool(id), object, first, pages, steps);
                self.in_slices(flush).map(count)
            }
            Request::Read { pool: id, key: k, range, page } => {
                self.read(pool(id), &key(k), page_range(range), page)
            }
            Request::Write { pool: id, key: k, range, page } => {
                self.write(pool(id), &key(k), page_range(range), page)
            }
            Request::Xchg { pool: id, key: k, page } => self.xchg(pool(id), &key(k), page),
            Request::Query { page } => self.query(page),
            // A batch within a batch; the dispatcher takes the others away before they get here.
            Request::Batch { .. } => Err(Errno::Invalid),
        }
    }

    /// Whether the guest is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// The guest's page at `gpa`.
    pub(super) fn page(&self, gpa: Gpa) -> Result<GuestPage<'a, Dirty<'a, M>>, Errno> {
        memory::page(self.memory, gpa).map_err(|_| Errno::Fault)
    }

    /// The guest's page at `gpa` for a put under `key`: if there is none, the put has failed, and a failed put leaves
    /// no older page behind.
    pub(super) fn page_to_put(
        &self,
        pool: PoolId,
        key: &Key,
        gpa: Gpa,
    ) -> Result<GuestPage<'a, Dirty<'a, M>>, Errno> {
        self.page(gpa).map_err(|fault| match self.client.flush_page(pool, key) {
            Ok(_) => fault,
            Err(error) => errno(error),
        })
    }

    fn put(&mut self, pool: PoolId, key: &Key, gpa: Gpa) -> Answer {
        let page = self.page_to_put(pool, key, gpa)?;
        self.client.put(pool, key, page.live()).map(|()| 0).map_err(errno)
    }

    /// The store is asked even if the guest's page is bad: an exclusive get removes its page nevertheless.
    pub(super) fn get(&mut self, pool: PoolId, key: &Key, gpa: Gpa) -> Answer {
        let page = self.page(gpa);
        let found = self.client.get(pool, key, self.scratch).map_err(errno)?;
        let page = page?;
        if found {
            page.copy_from(self.scratch);
        }
        Ok(i64::from(found))
    }

    fn read(&mut self, pool: PoolId, key: &Key, range: PageRange, gpa: Gpa) -> Answer {
        let page = self.page(gpa)?;
        let found = self.client.read(pool, key, range, self.scratch).map_err(errno)?;
        if found {
            let bytes = self.scratch.get(range.offset()..range.offset() + range.len()).unwrap_or_default();
            if !page.write_at(range.offset(), bytes) {
                return Err(Errno::Invalid);
            }
        }
        Ok(i64::from(found))
    }

    fn write(&mut self, pool: PoolId, key: &Key, range: PageRange, gpa: Gpa) -> Answer {
        self.page_to_put(pool, key, gpa)?.copy_to(self.scratch);
        self.client.write(pool, key, range, self.scratch).map(|()| 0).map_err(errno)
    }

    /// The page is found before the store is asked, so that a bad one changes nothing.
    fn xchg(&mut self, pool: PoolId, key: &Key, gpa: Gpa) -> Answer {
        let page = self.page(gpa)?;
        page.copy_to(self.scratch);
        let found = self.client.xchg(pool, key, self.scratch).map_err(errno)?;
        if found {
            page.copy_from(self.scratch);
        }
        Ok(i64::from(found))
    }

    fn query(&mut self, gpa: Gpa) -> Answer {
        let page = self.page(gpa)?;
        let usage = self.client.usage();
        let counters = self.client.counters();
        let reply = QueryReply {
            size: QueryReply::SIZE as u32,
            flags: if usage.frozen { QUERY_FROZEN } else { 0 },
            max_pools: self.limits.max_pools,
            pools: usage.pools,
            cap_bytes: usage.cap_bytes,
            used_bytes: usage.bytes,
            metadata_bytes: usage.metadata_bytes,
            persistent_pages: usage.persistent_pages,
            ephemeral_pages: usage.ephemeral_pages,
            puts: counters.puts.saturating_add(counters.puts_refused),
            puts_refused: counters.puts_refused,
            gets: counters.gets,
            gets_hit: counters.hits,
            pages_flushed: counters.flushed_pages,
            pages_evicted: counters.evicted,
            reserved: [0; 3],
        };
        if !page.write_at(0, &reply.to_bytes()) {
            return Err(Errno::Fault);
        }
        Ok(QueryReply::SIZE as i64)
    }
}

pub(super) fn pool(id: tmem_abi::PoolId) -> PoolId {
    PoolId::new(id.0)
}

pub(super) fn key(key: tmem_abi::Key) -> Key {
    Key::new(ObjectId(key.object.0), key.index)
}

pub(super) fn kind(flags: PoolFlags, uuid: tmem_abi::Uuid) -> PoolKind {
    match flags {
        PoolFlags::Persistent => PoolKind::Persistent,
        PoolFlags::Ephemeral => PoolKind::Ephemeral,
        PoolFlags::Shared => PoolKind::Shared(SharedUuid(uuid.0)),
    }
}

fn page_range(range: tmem_abi::ByteRange) -> PageRange {
    PageRange::new(range.offset(), range.length()).expect("a ByteRange lies inside a page by construction")
}
