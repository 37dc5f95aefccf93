//! Creating, joining, leaving and destroying pools; closing clients; freezing them.

use super::Store;
use super::control::{ClientState, Control, Word};
use super::maintain::Job;
use super::shard::Kind;
use crate::error::OpError;
use crate::key::{PoolId, PoolKind, SharedUuid};
use crate::sync::atomic::Ordering;
use crate::usage::{ClientCounters, ClientUsage};

/// Pools that a client has left and that are not released yet, at most: making and destroying pools in a loop must not make
/// the store's tables grow for ever.
const MOST_LEAVING: u32 = 1024;

impl Store {
    pub(crate) fn new_pool(&self, client: &ClientState, kind: PoolKind) -> Result<PoolId, OpError> {
        let mut control = self.control.lock();
        if client.closed.load(Ordering::Acquire) {
            return Err(OpError::Closed);
        }
        let allowed = client.allowed.lock();
        let (local_kind, permitted, shared) = match kind {
            PoolKind::Persistent => (Kind::Persistent, allowed.persistent, None),
            PoolKind::Ephemeral => (Kind::Ephemeral, allowed.ephemeral, None),
            PoolKind::Shared(uuid) => (Kind::Shared, allowed.shared.contains(&uuid), Some(uuid)),
        };
        drop(allowed);
        if !permitted {
            return Err(OpError::NotPermitted);
        }
        if client.leaving.load(Ordering::Relaxed) >= MOST_LEAVING {
            return Err(OpError::NoFreePool);
        }
        let free = client.table.iter().position(|word| word.load(Ordering::Relaxed) == 0);
        let free = free.ok_or(OpError::NoFreePool)?;
        let bytes = self.pool_bytes();
        if !self.charge_client(client, bytes) {
            return Err(OpError::NoMemory);
        }
        let word = self.take_word(&mut control, shared);
        let Some(word) = word else {
            self.books.give_back(&client.account, bytes);
            return Err(OpError::NoMemory);
        };
        if let Some(Some(pool)) = control.pools.get_mut(word.pool() as usize) {
            pool.members += 1;
        }
        self.attach(word, client.slot, local_kind);
        // Published last: before this no operation can name the pool.
        if let Some(entry) = client.table.get(free) {
            entry.store(word.0, Ordering::Release);
        }
        Ok(PoolId::new(free as u32))
    }

    fn take_word(&self, control: &mut Control, shared: Option<SharedUuid>) -> Option<Word> {
        if let Some(pool) = shared.and_then(|uuid| control.shared.get(&uuid).copied()) {
            return control.next_word(pool);
        }
        let pool = self.take_pool_slot(control, shared)?;
        let word = control.next_word(pool);
        match (word, shared) {
            (None, _) => {
                control.free_pool(pool);
            }
            (Some(_), Some(uuid)) => {
                control.shared.insert(uuid, pool);
            }
            (Some(_), None) => {}
        }
        word
    }

    /// Charges exactly `bytes` outside any shard.
    fn charge_client(&self, client: &ClientState, bytes: u64) -> bool {
        let mut granted = self.books.grant(&client.account, bytes);
        if granted == 0 {
            self.call_in(client.slot);
            granted = self.books.grant(&client.account, bytes);
        }
        if granted > bytes {
            self.books.give_back(&client.account, granted - bytes);
        }
        granted != 0
    }

    pub(crate) fn destroy_pool(&self, client: &ClientState, pool: PoolId) -> Result<(), OpError> {
        let mut control = self.control.lock();
        let word = client.word(pool.get())?;
        self.leave(&mut control, client, pool.get(), word);
        Ok(())
    }

    /// Ends a client's access to a pool, and the pool when it was the last.
    fn leave(&self, control: &mut Control, client: &ClientState, id: u32, word: Word) {
        if let Some(entry) = client.table.get(id as usize) {
            entry.store(0, Ordering::Release);
        }
        self.detach(word);
        control.unused_attaches.push(word.attach());
        self.books.give_back(&client.account, self.pool_bytes());
        let number = word.pool();
        let Some(Some(pool)) = control.pools.get_mut(number as usize) else { return };
        pool.members -= 1;
        let kind = match pool.shared {
            Some(_) => Kind::Shared,
            None => Kind::Persistent,
        };
        client.leaving.fetch_add(1, Ordering::Relaxed);
        if pool.members > 0 {
            pool.leavers += 1;
            self.add_job(Job::Leaver { pool: number, client: client.slot, shard: 0, chunk: 0 });
            return;
        }
        if let Some(uuid) = pool.shared {
            control.shared.remove(&uuid);
        }
        let shared = kind == Kind::Shared;
        self.add_job(Job::Drain { pool: number, client: client.slot, shared, shard: 0 });
    }

    pub(crate) fn allow_shared(&self, client: &ClientState, uuid: SharedUuid) {
        let mut allowed = client.allowed.lock();
        if !allowed.shared.contains(&uuid) {
            allowed.shared.push(uuid);
        }
    }

    pub(crate) fn revoke_shared(&self, client: &ClientState, uuid: SharedUuid) {
        let mut control = self.control.lock();
        client.allowed.lock().shared.retain(|allowed| *allowed != uuid);
        let Some(pool) = control.shared.get(&uuid).copied() else { return };
        for id in 0..client.table.len() as u32 {
            if let Ok(word) = client.word(id)
                && word.pool() == pool
            {
                self.leave(&mut control, client, id, word);
            }
        }
    }

    pub(crate) fn close(&self, client: &ClientState) {
        let mut control = self.control.lock();
        if client.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        for id in 0..client.table.len() as u32 {
            if let Ok(word) = client.word(id) {
                self.leave(&mut control, client, id, word);
            }
        }
        self.add_job(Job::Retire { client: client.slot });
    }

    pub(crate) fn set_frozen(&self, client: &ClientState, frozen: bool) {
        let _control = self.control.lock();
        if client.closed.load(Ordering::Acquire) {
            return;
        }
        self.shards.iter().for_each(|shard| shard.lock().client(client.slot).frozen = frozen);
    }

    pub(crate) fn usage(&self, client: &ClientState) -> ClientUsage {
        let _control = self.control.lock();
        if client.closed.load(Ordering::Acquire) {
            return ClientUsage::default();
        }
        let pools = client.table.iter().filter(|word| word.load(Ordering::Relaxed) != 0).count() as u32;
        let mut usage = ClientUsage {
            cap_bytes: client.account.cap(),
            metadata_bytes: self.pool_bytes() * u64::from(pools),
            pools,
            ..Default::default()
        };
        let mut credit = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let local = shard.client(client.slot);
            credit += local.credit;
            usage.metadata_bytes += local.metadata;
            usage.persistent_pages += local.persistent;
            usage.ephemeral_pages += local.ephemeral;
            usage.frozen = local.frozen;
        }
        usage.bytes = client.account.granted().saturating_sub(credit);
        usage
    }

    pub(crate) fn counters(&self, client: &ClientState) -> ClientCounters {
        let _control = self.control.lock();
        let mut sum = ClientCounters::default();
        if client.closed.load(Ordering::Acquire) {
            return sum;
        }
        for shard in &self.shards {
            let counters = shard.lock().client(client.slot).counters;
            sum.puts += counters.puts;
            sum.puts_refused += counters.puts_refused;
            sum.gets += counters.gets;
            sum.hits += counters.hits;
            sum.flushed_pages += counters.flushed_pages;
            sum.evicted += counters.evicted;
        }
        sum
    }
}
