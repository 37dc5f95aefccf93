//! Creating, joining, leaving and destroying pools; closing clients; freezing them.

use super::Store;
use super::clients::{Access, ClientState, Left, Registry};
use super::release::Job;
use crate::error::OpError;
use crate::key::{Kind, PoolId, PoolKind, SharedUuid};
use crate::usage::{ClientCounters, ClientUsage};

/// Pools that a client has left and that are not released yet, at most: making and destroying pools in a loop must not make
/// the store's tables grow for ever.
const MOST_LEAVING: u32 = 1024;

impl Store {
    pub(crate) fn new_pool(&self, client: &ClientState, kind: PoolKind) -> Result<PoolId, OpError> {
        let mut registry = self.registry.lock();
        if client.is_closed() {
            return Err(OpError::Closed);
        }
        let allowed = client.allowed().lock();
        let (pool_kind, permitted, shared) = match kind {
            PoolKind::Persistent => (Kind::Persistent, allowed.persistent, None),
            PoolKind::Ephemeral => (Kind::Ephemeral, allowed.ephemeral, None),
            PoolKind::Shared(uuid) => (Kind::Shared, allowed.shared.contains(&uuid), Some(uuid)),
        };
        drop(allowed);
        if !permitted {
            return Err(OpError::NotPermitted);
        }
        if client.leaving() >= MOST_LEAVING {
            return Err(OpError::NoFreePool);
        }
        let id = client.free_id().ok_or(OpError::NoFreePool)?;
        let bytes = self.pool_bytes();
        if !self.charge_client(client, bytes) {
            return Err(OpError::NoMemory);
        }
        let ticket = self.background.jobs.promise(1).and_then(|()| {
            let ticket = registry.join(pool_kind, shared);
            if ticket.is_none() {
                self.background.jobs.break_promise(1);
            }
            ticket
        });
        let Some(ticket) = ticket else {
            self.bank.give_back(client.account(), bytes);
            return Err(OpError::NoMemory);
        };
        // Published last: before this no operation can name the pool.
        client.set_ticket(id, Some(ticket));
        Ok(id)
    }

    /// Charges exactly `bytes` outside any shard.
    fn charge_client(&self, client: &ClientState, bytes: u64) -> bool {
        let mut granted = self.bank.grant(client.account(), bytes);
        if granted == 0 {
            self.call_in(client.number());
            granted = self.bank.grant(client.account(), bytes);
        }
        if granted > bytes {
            self.bank.give_back(client.account(), granted - bytes);
        }
        granted != 0
    }

    pub(crate) fn destroy_pool(&self, client: &ClientState, pool: PoolId) -> Result<(), OpError> {
        let mut registry = self.registry.lock();
        let access = client.access(pool)?;
        self.leave(&mut registry, client, &access);
        Ok(())
    }

    /// Ends a client's access to a pool, and the pool when it was the last. It takes as many locks as there are shards, and
    /// looks at no page.
    fn leave(&self, registry: &mut Registry, client: &ClientState, access: &Access) {
        client.set_ticket(access.id(), None);
        // When this returns no operation uses the ticket.
        self.pass_all();
        self.bank.give_back(client.account(), self.pool_bytes());
        client.leaves();
        let (pool, number) = (access.ticket().pool(), client.number());
        self.add_job(match registry.leave(pool) {
            Left::Members => Job::Leaver { pool, client: number, shard: 0, chunk: 0 },
            Left::Nobody => Job::Drain { pool, client: number, shard: 0 },
        });
    }

    pub(crate) fn allow_shared(&self, client: &ClientState, uuid: SharedUuid) {
        let mut allowed = client.allowed().lock();
        if !allowed.shared.contains(&uuid) {
            allowed.shared.push(uuid);
        }
    }

    pub(crate) fn revoke_shared(&self, client: &ClientState, uuid: SharedUuid) {
        let mut registry = self.registry.lock();
        client.allowed().lock().shared.retain(|allowed| *allowed != uuid);
        let Some(pool) = registry.shared_pool(uuid) else { return };
        for access in client.all_access() {
            if access.ticket().pool() == pool {
                self.leave(&mut registry, client, &access);
            }
        }
    }

    pub(crate) fn close(&self, client: &ClientState) {
        let mut registry = self.registry.lock();
        if !client.shut() {
            return;
        }
        for access in client.all_access() {
            self.leave(&mut registry, client, &access);
        }
        {
            let _all = self.lock_all();
            self.shares.close(client.account());
        }
        self.add_job(Job::Retire { client: client.number() });
    }

    pub(crate) fn usage(&self, client: &ClientState) -> ClientUsage {
        let _registry = self.registry.lock();
        if client.is_closed() {
            return ClientUsage::default();
        }
        let pools = client.all_access().count() as u32;
        let mut usage = ClientUsage {
            cap_bytes: client.account().cap(),
            metadata_bytes: self.pool_bytes() * u64::from(pools),
            pools,
            frozen: client.is_frozen(),
            ..Default::default()
        };
        let mut credit = 0;
        for number in 0..self.shards.len() {
            let mut shard = self.lock(number);
            let ledger = shard.ledger(client.number());
            credit += ledger.credit();
            usage.metadata_bytes += ledger.metadata();
            usage.persistent_pages += ledger.persistent();
            usage.ephemeral_pages += ledger.ephemeral();
        }
        usage.bytes = client.account().granted().saturating_sub(credit);
        usage
    }

    pub(crate) fn counters(&self, client: &ClientState) -> ClientCounters {
        let _registry = self.registry.lock();
        let mut sum = ClientCounters::default();
        if client.is_closed() {
            return sum;
        }
        for number in 0..self.shards.len() {
            sum.add(self.lock(number).ledger(client.number()).counters());
        }
        sum
    }
}
