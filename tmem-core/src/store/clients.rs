//! Clients and pools: what changes rarely. One lock, taken on the path of a page only to look for a victim.

use std::collections::HashMap;
use std::sync::Arc;

use super::Store;
use super::shard::Ledger;
use crate::account::Account;
use crate::config::{ClientConfig, Share};
use crate::error::{OpError, StoreError};
use crate::evict::Policies;
use crate::fallible;
use crate::index::{MOST_POOLS, NOBODY};
use crate::key::{Kind, PoolId, SharedUuid};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Most clients: an entry of the index has 13 bits for its owner, and one of them is nobody.
const MOST_CLIENTS: usize = NOBODY as usize;

/// The right of a client to use a pool, as it stands in the client's pool table: serial number (42 bits, never 0), kind (2)
/// and pool (20).
///
/// Whoever works on a pool's pages looks under the shard's lock whether the ticket is still the table's; who takes it out
/// of the table goes through all locks before anything else. So an operation that was overtaken by the end of its pool
/// finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    fn new(serial: u64, kind: Kind, pool: u32) -> Self {
        Self(serial << 22 | u64::from(kind.bits()) << 20 | u64::from(pool))
    }

    pub(super) fn pool(self) -> u32 {
        self.0 as u32 & 0xf_ffff
    }

    pub(super) fn kind(self) -> Kind {
        Kind::from_bits((self.0 >> 20) as u32)
    }
}

/// A ticket, and where in its client's table it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    id: PoolId,
    ticket: Ticket,
}

impl Access {
    pub(super) fn id(&self) -> PoolId {
        self.id
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

/// A client, as its handle and the store know it.
pub(crate) struct ClientState {
    number: u16,
    name: String,
    account: Arc<Account>,
    /// Tickets, 0 for no pool.
    table: Box<[AtomicU64]>,
    closed: AtomicBool,
    frozen: AtomicBool,
    /// The client may have ephemeral pages.
    ephemeral: AtomicBool,
    /// The shard to look for a victim in next.
    hand: AtomicUsize,
    /// A job evicts its pages above its cap.
    lowering: AtomicBool,
    policies: Policies,
    allowed: Mutex<ClientConfig>,
    /// Pools that the client left and that are still being released.
    leaving: AtomicU32,
}

impl ClientState {
    pub(super) fn number(&self) -> u16 {
        self.number
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }

    /// What it may do.
    pub(super) fn allowed(&self) -> &Mutex<ClientConfig> {
        &self.allowed
    }

    /// Whether the client has a pool of that number.
    pub(crate) fn has_pool(&self, pool: PoolId) -> Result<(), OpError> {
        self.access(pool).map(|_| ())
    }

    /// The right to use a pool.
    pub(super) fn access(&self, pool: PoolId) -> Result<Access, OpError> {
        match self.table.get(pool.get() as usize).map(|word| word.load(Ordering::Acquire)) {
            None | Some(0) if self.is_closed() => Err(OpError::Closed),
            None | Some(0) => Err(OpError::NoSuchPool),
            Some(word) => Ok(Access { id: pool, ticket: Ticket(word) }),
        }
    }

    /// Whether the right is still there. Asked under a shard's lock, the answer holds until it is released.
    pub(super) fn holds(&self, access: &Access) -> bool {
        let word = self.table.get(access.id.get() as usize);
        word.is_some_and(|word| word.load(Ordering::Acquire) == access.ticket.0)
    }

    /// Whether the client may store into the pool now; asked as [`holds`](Self::holds) is.
    pub(super) fn admits(&self, access: &Access) -> Result<(), OpError> {
        if !self.holds(access) {
            return Err(OpError::NoSuchPool);
        }
        if self.frozen.load(Ordering::Acquire) {
            return Err(OpError::Frozen);
        }
        if self.account.is_over_cap() {
            return Err(OpError::NoMemory);
        }
        Ok(())
    }

    /// A number of the table that no pool has.
    pub(super) fn free_id(&self) -> Option<PoolId> {
        let free = self.table.iter().position(|word| word.load(Ordering::Relaxed) == 0)?;
        Some(PoolId::new(free as u32))
    }

    /// Publishes a right, or takes it out of the table.
    pub(super) fn set_ticket(&self, pool: PoolId, ticket: Option<Ticket>) {
        if let Some(word) = self.table.get(pool.get() as usize) {
            word.store(ticket.map_or(0, |ticket| ticket.0), Ordering::Release);
        }
    }

    /// All rights.
    pub(super) fn all_access(&self) -> impl Iterator<Item = Access> {
        (0..self.table.len() as u32).filter_map(|id| self.access(PoolId::new(id)).ok())
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the client; true if it was open.
    pub(super) fn shut(&self) -> bool {
        !self.closed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    pub(super) fn has_ephemeral(&self) -> bool {
        self.ephemeral.load(Ordering::Relaxed)
    }

    pub(super) fn set_ephemeral(&self, has: bool) {
        if self.has_ephemeral() != has {
            self.ephemeral.store(has, Ordering::Relaxed);
        }
    }

    /// The next shard to look for a victim in.
    pub(super) fn next_shard(&self) -> usize {
        self.hand.fetch_add(1, Ordering::Relaxed)
    }

    /// Begins to be lowered to its cap; true unless it is at it.
    pub(super) fn starts_lowering(&self) -> bool {
        !self.lowering.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_lowered(&self) {
        self.lowering.store(false, Ordering::Release);
    }

    /// Pools that it left and that are not released yet.
    pub(super) fn leaving(&self) -> u32 {
        self.leaving.load(Ordering::Relaxed)
    }

    pub(super) fn leaves(&self) {
        self.leaving.fetch_add(1, Ordering::Relaxed);
    }
}

/// A pool, as the store knows it.
struct Pool {
    shared: Option<SharedUuid>,
    members: u32,
    /// Clients that left and whose pages are still being released: the number must not be taken for another pool.
    leavers: u32,
}

/// What is left of a pool when a member leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Others.
    Members,
    /// Nobody: all of its pages go.
    Nobody,
}

/// Clients and pools by number.
#[derive(Default)]
pub(super) struct Registry {
    clients: Vec<Option<Arc<ClientState>>>,
    pools: Vec<Option<Pool>>,
    /// Numbers of pools that are free.
    unused_pools: Vec<u32>,
    shared: HashMap<SharedUuid, u32>,
    serial: u64,
}

impl Registry {
    /// Clients from number `from` on, as many as may be looked at under one lock, and the next number.
    pub(super) fn some_clients(&self, from: usize, most: usize) -> &[Option<Arc<ClientState>>] {
        let end = (from + most).min(self.clients.len());
        self.clients.get(from..end).unwrap_or_default()
    }

    pub(super) fn client(&self, number: u16) -> Option<&Arc<ClientState>> {
        self.clients.get(usize::from(number))?.as_ref()
    }

    /// Forgets a client that has nothing any more.
    pub(super) fn remove_client(&mut self, number: u16) -> Option<Arc<ClientState>> {
        self.clients.get_mut(usize::from(number))?.take()
    }

    pub(super) fn open_clients(&self) -> u32 {
        self.clients.iter().flatten().filter(|client| !client.is_closed()).count() as u32
    }

    /// Clients that are not retired.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn all_clients(&self) -> impl Iterator<Item = &Arc<ClientState>> {
        self.clients.iter().flatten()
    }

    pub(super) fn open_pools(&self) -> u32 {
        self.pools.iter().flatten().filter(|pool| pool.members > 0).count() as u32
    }

    /// The number of a shared pool that is there.
    pub(super) fn shared_pool(&self, uuid: SharedUuid) -> Option<u32> {
        self.shared.get(&uuid).copied()
    }

    /// A right to a new pool, or to the shared one of that name. `None` when there is no memory, or no number.
    pub(super) fn join(&mut self, kind: Kind, shared: Option<SharedUuid>) -> Option<Ticket> {
        let number = match shared.and_then(|uuid| self.shared_pool(uuid)) {
            Some(number) => number,
            None => self.make_pool(shared)?,
        };
        self.pools.get_mut(number as usize)?.as_mut()?.members += 1;
        self.serial = self.serial % ((1 << 42) - 1) + 1;
        Some(Ticket::new(self.serial, kind, number))
    }

    fn make_pool(&mut self, shared: Option<SharedUuid>) -> Option<u32> {
        self.shared.try_reserve(1).ok()?;
        // So that freeing a number takes no memory.
        self.unused_pools.try_reserve(self.pools.len() + 1 - self.unused_pools.len()).ok()?;
        let pool = Some(Pool { shared, members: 0, leavers: 0 });
        let number = match self.unused_pools.pop() {
            Some(number) => {
                *self.pools.get_mut(number as usize)? = pool;
                number
            }
            None if self.pools.len() < MOST_POOLS => {
                fallible::push(&mut self.pools, pool)?;
                self.pools.len() as u32 - 1
            }
            None => return None,
        };
        if let Some(uuid) = shared {
            self.shared.insert(uuid, number);
        }
        Some(number)
    }

    /// One member less.
    pub(super) fn leave(&mut self, number: u32) -> Left {
        let Some(Some(pool)) = self.pools.get_mut(number as usize) else { return Left::Nobody };
        pool.members -= 1;
        if pool.members > 0 {
            pool.leavers += 1;
            return Left::Members;
        }
        if let Some(uuid) = pool.shared {
            self.shared.remove(&uuid);
        }
        Left::Nobody
    }

    /// Nothing is left of a pool in the name of a client that left it; others are still there.
    pub(super) fn has_left(&mut self, number: u32, client: u16) {
        if let Some(Some(pool)) = self.pools.get_mut(number as usize) {
            pool.leavers -= 1;
        }
        self.released(client);
    }

    /// Frees the number of a pool that has no pages any more, unless pages of a client that left it before are still being
    /// released.
    pub(super) fn free_pool(&mut self, number: u32, client: u16) -> bool {
        let Some(slot) = self.pools.get_mut(number as usize) else { return true };
        if slot.as_ref().is_some_and(|pool| pool.leavers > 0) {
            return false;
        }
        *slot = None;
        self.unused_pools.push(number);
        self.released(client);
        true
    }

    fn released(&self, client: u16) {
        if let Some(client) = self.client(client) {
            client.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Store {
    /// Bytes charged for a pool: its part of the registry, of every shard's heads and of the list of jobs.
    pub(super) fn pool_bytes(&self) -> u64 {
        (self.shards.len() * size_of::<u32>() + 2 * size_of::<Option<Pool>>() + 64) as u64
    }

    pub(super) fn enrol(&self, config: ClientConfig) -> Result<Arc<ClientState>, StoreError> {
        let mut registry = self.registry.lock();
        let free = registry.clients.iter().position(Option::is_none).unwrap_or(registry.clients.len());
        let no_room = || StoreError::NoRoom { clients: free };
        if free >= MOST_CLIENTS {
            return Err(no_room());
        }
        self.check_reservation(config.share, 0)?;
        if free == registry.clients.len() {
            fallible::push(&mut registry.clients, None).ok_or_else(no_room)?;
        }
        self.background.jobs.promise_client().ok_or_else(no_room)?;
        let account = Arc::new(Account::new(config.cap_bytes, config.share));
        let mut table = Vec::new();
        table.try_reserve_exact(config.max_pools as usize).map_err(|_| no_room())?;
        table.extend((0..config.max_pools).map(|_| AtomicU64::new(0)));
        let state = Arc::new(ClientState {
            number: free as u16,
            name: config.name.clone(),
            account: Arc::clone(&account),
            table: table.into_boxed_slice(),
            closed: AtomicBool::new(false),
            frozen: AtomicBool::new(false),
            ephemeral: AtomicBool::new(false),
            hand: AtomicUsize::new(0),
            lowering: AtomicBool::new(false),
            policies: Policies::new(self.config.eviction, self.shards.len(), Arc::clone(&self.arena)),
            allowed: Mutex::new(config),
            leaving: AtomicU32::new(0),
        });
        for number in 0..self.shards.len() {
            let ledger = fallible::boxed(Ledger::new(Arc::clone(&account), state.policies.make(number)));
            let added = ledger.and_then(|ledger| self.lock(number).add_ledger(free as u16, ledger));
            if added.is_none() {
                (0..number).for_each(|number| drop(self.lock(number).take_ledger(free as u16)));
                return Err(no_room());
            }
        }
        self.shares.join(&account);
        if let Some(slot) = registry.clients.get_mut(free) {
            *slot = Some(Arc::clone(&state));
        }
        Ok(state)
    }

    /// Refuses a reservation that, with those of all clients but for `less` bytes, does not fit in the store.
    fn check_reservation(&self, share: Share, less: u64) -> Result<(), StoreError> {
        let reserved = self.shares.reserved() - less;
        if share.reservation_bytes > self.shares.promised().saturating_sub(reserved) {
            let (field, value) = ("reservation_bytes", share.reservation_bytes);
            let why = "all reservations together are more than the store's capacity without what it needs for itself \
                       (a part in 12): reserve less";
            return Err(StoreError::Config { field, value, why });
        }
        Ok(())
    }

    pub(crate) fn set_share(&self, client: &ClientState, share: Share) -> Result<(), StoreError> {
        share.check()?;
        let _registry = self.registry.lock();
        if client.is_closed() {
            return Ok(());
        }
        self.check_reservation(share, client.account.reservation())?;
        let _all = self.lock_all();
        self.shares.set_share(&client.account, share);
        Ok(())
    }

    pub(crate) fn set_cap(&self, client: &ClientState, cap: u64) {
        client.account.set_cap(cap);
        // What shards hold to be spent is beyond a lower cap, too.
        self.call_in(client.number);
        if client.account.is_over_cap() {
            self.lower(client);
        }
    }

    pub(crate) fn set_frozen(&self, client: &ClientState, frozen: bool) {
        client.frozen.store(frozen, Ordering::Release);
        self.pass_all();
    }

    /// Returns the credit that shards hold for a client. False when they held none.
    pub(super) fn call_in(&self, client: u16) -> bool {
        let settle =
            |number| self.lock(number).ledger_if_any(client).is_some_and(|ledger| ledger.settle(&*self.bank));
        (0..self.shards.len()).filter(|number| settle(*number)).count() > 0
    }
}
