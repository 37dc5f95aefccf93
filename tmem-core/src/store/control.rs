//! What changes rarely: clients and pools. One lock, never taken on the path of a page.

use std::collections::HashMap;
use std::sync::Arc;

use super::Store;
use super::shard::{Attach, Kind, Line, Local};
use crate::account::Account;
use crate::config::{ClientConfig, Share};
use crate::error::{OpError, StoreError};
use crate::evict::Policies;
use crate::index::NIL;
use crate::key::{PoolId, SharedUuid};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Most clients: an entry of the index has 13 bits for its owner.
pub(super) const MOST_CLIENTS: usize = 1 << 13;
/// Most pools, and most attachments to pools: a word of a pool table has 20 bits for each.
pub(super) const MOST_POOLS: usize = 1 << 20;

/// An entry of a client's pool table: serial number (24 bits, never 0), attachment (20) and pool (20).
///
/// The shard compares the whole word and the client before it works, so an operation that was overtaken by the
/// destruction of its pool finds nothing; a serial number that comes round again can only meet the same client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    fn new(serial: u32, attach: u32, pool: u32) -> Self {
        Self(u64::from(serial) << 40 | u64::from(attach) << 20 | u64::from(pool))
    }

    pub(super) fn attach(self) -> u32 {
        (self.0 >> 20) as u32 & 0xf_ffff
    }

    pub(super) fn pool(self) -> u32 {
        self.0 as u32 & 0xf_ffff
    }
}

/// A client, as its handle and the store know it.
pub(crate) struct ClientState {
    pub(crate) slot: u16,
    pub(crate) name: String,
    pub(crate) account: Arc<Account>,
    /// Words, 0 for no pool.
    pub(super) table: Box<[AtomicU64]>,
    pub(crate) closed: AtomicBool,
    /// The client may have ephemeral pages.
    pub(super) ephemeral: AtomicBool,
    /// The shard to look for a victim in next.
    pub(super) hand: AtomicUsize,
    pub(super) policies: Policies,
    pub(super) allowed: Mutex<ClientConfig>,
    /// Pools that the client left and that are still being released.
    pub(super) leaving: AtomicU32,
}

impl ClientState {
    /// Whether the client has a pool of that number.
    pub(crate) fn has_pool(&self, pool: PoolId) -> Result<(), OpError> {
        self.word(pool.get()).map(|_| ())
    }

    /// The word of a pool.
    pub(super) fn word(&self, pool: u32) -> Result<Word, OpError> {
        match self.table.get(pool as usize).map(|word| word.load(Ordering::Acquire)) {
            None | Some(0) if self.closed.load(Ordering::Acquire) => Err(OpError::Closed),
            None | Some(0) => Err(OpError::NoSuchPool),
            Some(word) => Ok(Word(word)),
        }
    }
}

/// A pool, as the store knows it.
pub(super) struct Pool {
    pub(super) shared: Option<SharedUuid>,
    pub(super) members: u32,
    /// Clients that left and whose pages are still being released: the slot must not be taken for another pool.
    pub(super) leavers: u32,
}

/// Clients and pools by slot.
#[derive(Default)]
pub(super) struct Control {
    pub(super) clients: Vec<Option<Arc<ClientState>>>,
    pub(super) pools: Vec<Option<Pool>>,
    /// Slots of `pools` that are free.
    pub(super) unused_pools: Vec<u32>,
    pub(super) unused_attaches: Vec<u32>,
    pub(super) attaches: u32,
    pub(super) shared: HashMap<SharedUuid, u32>,
    serial: u32,
}

impl Control {
    /// Frees the slot of a pool that has no pages any more.
    pub(super) fn free_pool(&mut self, pool: u32) {
        if let Some(slot) = self.pools.get_mut(pool as usize) {
            *slot = None;
            self.unused_pools.push(pool);
        }
    }

    /// Nothing is left of a pool in the name of a client that left it.
    pub(super) fn has_left(&self, client: u16) {
        if let Some(Some(client)) = self.clients.get(usize::from(client)) {
            client.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(super) fn open_clients(&self) -> u32 {
        let open = |client: &&Arc<ClientState>| !client.closed.load(Ordering::Acquire);
        self.clients.iter().flatten().filter(open).count() as u32
    }

    pub(super) fn open_pools(&self) -> u32 {
        self.pools.iter().flatten().filter(|pool| pool.members > 0).count() as u32
    }

    /// A word that was not used lately for a new attachment to a pool.
    pub(super) fn next_word(&mut self, pool: u32) -> Option<Word> {
        let attach = match self.unused_attaches.pop() {
            Some(attach) => attach,
            None if (self.attaches as usize) < MOST_POOLS => {
                self.attaches += 1;
                self.attaches - 1
            }
            None => return None,
        };
        self.serial = self.serial % 0xff_ffff + 1;
        Some(Word::new(self.serial, attach, pool))
    }
}

impl Store {
    /// Bytes charged for a client's and a pool's lines in every shard.
    fn line_bytes(&self, each: usize) -> u64 {
        (self.shards.len() * each) as u64
    }

    /// Bytes charged for a pool.
    pub(super) fn pool_bytes(&self) -> u64 {
        self.line_bytes(size_of::<Attach>() + size_of::<Line>()) + size_of::<Pool>() as u64
    }

    pub(super) fn enrol(&self, config: ClientConfig) -> Result<Arc<ClientState>, StoreError> {
        let mut control = self.control.lock();
        let free = control.clients.iter().position(Option::is_none).unwrap_or(control.clients.len());
        if free >= MOST_CLIENTS {
            return Err(StoreError::NoRoom { clients: free });
        }
        self.check_reservation(&control, config.share, 0)?;
        let account = Arc::new(Account::new(config.cap_bytes, config.share));
        let state = Arc::new(ClientState {
            slot: free as u16,
            name: config.name.clone(),
            account: Arc::clone(&account),
            table: (0..config.max_pools).map(|_| AtomicU64::new(0)).collect(),
            closed: AtomicBool::new(false),
            ephemeral: AtomicBool::new(false),
            hand: AtomicUsize::new(0),
            policies: Policies::new(self.config.eviction, self.shards.len()),
            allowed: Mutex::new(config),
            leaving: AtomicU32::new(0),
        });
        for (number, shard) in self.shards.iter().enumerate() {
            let mut shard = shard.lock();
            let local = Some(Local::new(Arc::clone(&account), state.policies.make(number)));
            match shard.clients.get_mut(free) {
                Some(slot) => *slot = local,
                None => shard.clients.push(local),
            }
        }
        match control.clients.get_mut(free) {
            Some(slot) => *slot = Some(Arc::clone(&state)),
            None => control.clients.push(Some(Arc::clone(&state))),
        }
        Ok(state)
    }

    /// Refuses a reservation that, with those of all clients but for `less` bytes, does not fit in the store.
    fn check_reservation(&self, control: &Control, share: Share, less: u64) -> Result<(), StoreError> {
        let open = control.clients.iter().flatten().filter(|c| !c.closed.load(Ordering::Acquire));
        let reserved = open.map(|client| client.account.reservation()).sum::<u64>() - less;
        if share.reservation_bytes > self.config.capacity_bytes.saturating_sub(reserved) {
            let (field, value) = ("reservation_bytes", share.reservation_bytes);
            let why = "all reservations together are more than the store's capacity: reserve less";
            return Err(StoreError::Config { field, value, why });
        }
        Ok(())
    }

    pub(crate) fn set_share(&self, client: &ClientState, share: Share) -> Result<(), StoreError> {
        share.check()?;
        let control = self.control.lock();
        let less = if client.closed.load(Ordering::Acquire) { 0 } else { client.account.reservation() };
        self.check_reservation(&control, share, less)?;
        client.account.set_share(share);
        Ok(())
    }

    /// Takes a slot for a pool, known to every shard.
    pub(super) fn take_pool_slot(&self, control: &mut Control, shared: Option<SharedUuid>) -> Option<u32> {
        let slot = control.unused_pools.pop().map_or(control.pools.len(), |slot| slot as usize);
        if slot >= MOST_POOLS {
            return None;
        }
        if slot == control.pools.len() {
            control.pools.push(None);
            self.shards.iter().for_each(|shard| shard.lock().pools.push(Line { chunks: NIL, shared: false }));
        }
        for shard in &self.shards {
            if let Some(line) = shard.lock().pools.get_mut(slot) {
                line.shared = shared.is_some();
            }
        }
        *control.pools.get_mut(slot)? = Some(Pool { shared, members: 0, leavers: 0 });
        Some(slot as u32)
    }

    /// Makes an attachment known to every shard.
    pub(super) fn attach(&self, word: Word, client: u16, kind: Kind) {
        for shard in &self.shards {
            let attaches = &mut shard.lock().attaches;
            let number = word.attach() as usize;
            while attaches.len() <= number {
                attaches.push(Attach { word: 0, client: 0, kind: Kind::Persistent });
            }
            if let Some(attach) = attaches.get_mut(number) {
                *attach = Attach { word: word.0, client, kind };
            }
        }
    }

    /// Ends an attachment in every shard: when this returns no operation uses it.
    pub(super) fn detach(&self, word: Word) {
        for shard in &self.shards {
            if let Some(attach) = shard.lock().attaches.get_mut(word.attach() as usize) {
                attach.word = 0;
            }
        }
    }
}
