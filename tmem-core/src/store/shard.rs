//! A shard: its part of the index, and of every client's and pool's books. One lock guards all of it.
//!
//! Counters and credit of a client are kept once per shard, as plain numbers under the shard's lock: threads that work
//! on different shards share no cache line.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::control::Word;
use crate::account::{Account, Accounting};
use crate::evict::Policy;
use crate::index::{CHUNK_BYTES, Entry, Header, Index, NIL, SPAN};
use crate::pages::{Form, Stored};
use crate::usage::ClientCounters;

/// Metadata charged for a page in a shared pool, to the client that put it: its entry and links (23 bytes with what
/// blocks waste) in an array that is at least a quarter full, because members share arrays.
const SHARED_PAGE: u64 = 92;
/// Bytes charged for naming a further chunk at its object's chunk 0: a B-tree of 4-byte keys, with 5 to 11 of them in
/// leaves of 56 bytes and as many leaves in nodes of 152.
const FURTHER_BYTES: u64 = 24;
/// Bytes charged for an object that has further chunks: the B-tree's first leaf, as malloc rounds it, and the tree's line
/// in a vector that may be half empty after it grew.
const SET_BYTES: u64 = 72 + 2 * (size_of::<BTreeSet<u32>>() + size_of::<u32>()) as u64;

/// What kind of pool an attachment is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Persistent,
    Ephemeral,
    Shared,
}

/// A client's access to a pool, as the shard knows it.
pub(super) struct Attach {
    /// The word in the client's pool table; 0 when there is none. An operation that holds another word came too late.
    pub(super) word: u64,
    pub(super) client: u16,
    pub(super) kind: Kind,
}

/// A client, as the shard knows it.
pub(super) struct Local {
    pub(super) account: Arc<Account>,
    /// Bytes granted to the client that this shard may spend.
    pub(super) credit: u64,
    pub(super) metadata: u64,
    /// Bytes charged for what the policy remembers, or saved up for it; part of `metadata`.
    pub(super) saved: u64,
    pub(super) persistent: u64,
    pub(super) ephemeral: u64,
    pub(super) frozen: bool,
    pub(super) counters: ClientCounters,
    pub(super) queue: Box<dyn Policy>,
}

/// One shard.
pub(super) struct Shard {
    pub(super) index: Index,
    pub(super) attaches: Vec<Attach>,
    pub(super) pools: Vec<Line>,
    pub(super) clients: Vec<Option<Local>>,
    /// Numbers of an object's chunks beyond chunk 0, named by `Header::further`.
    further: Vec<BTreeSet<u32>>,
    unused: Vec<u32>,
    /// Pages by form, for reports and for the compressor.
    pub(super) raw: u64,
    pub(super) lz4: u64,
    pub(super) zstd: u64,
    pub(super) same: u64,
    /// Raw pages known not to compress.
    pub(super) hard: u64,
    /// LZ4 pages known not to compress further.
    pub(super) firm: u64,
    /// Where the compressor goes on.
    pub(super) hand: u32,
}

/// A pool, as the shard knows it.
#[derive(Clone, Copy)]
pub(super) struct Line {
    /// Head of the list of the pool's chunks.
    pub(super) chunks: u32,
    pub(super) shared: bool,
}

/// A client's accounts outside the shard, needed to spend and to return bytes.
pub(super) type Ledger<'a> = &'a dyn Accounting;

impl Local {
    pub(super) fn new(account: Arc<Account>, queue: Box<dyn Policy>) -> Self {
        Self {
            account,
            credit: 0,
            metadata: 0,
            saved: 0,
            persistent: 0,
            ephemeral: 0,
            frozen: false,
            counters: ClientCounters::default(),
            queue,
        }
    }

    /// Charges bytes, unless the client's cap forbids it.
    pub(super) fn charge(&mut self, ledger: Ledger<'_>, bytes: u64) -> bool {
        if self.credit < bytes {
            self.credit += ledger.grant(&self.account, bytes - self.credit);
        }
        let enough = self.credit >= bytes;
        if enough {
            self.credit -= bytes;
        }
        enough
    }

    /// Returns charged bytes.
    pub(super) fn refund(&mut self, ledger: Ledger<'_>, bytes: u64) {
        self.credit += bytes;
        let keep = ledger.keep();
        if self.credit > keep {
            ledger.give_back(&self.account, self.credit - keep / 2);
            self.credit = keep / 2;
        }
    }

    /// Charges what the policy wants to remember, if the cap has room for it, and tells whether all of it is paid for.
    pub(super) fn pay(&mut self, ledger: Ledger<'_>) -> bool {
        let wants = self.queue.wants() as u64;
        let less = self.saved.saturating_sub(wants);
        self.saved -= less;
        self.metadata -= less;
        self.refund(ledger, less);
        let more = wants - self.saved;
        if more > 0 && self.charge(ledger, more) {
            self.saved += more;
            self.metadata += more;
        }
        self.saved >= wants
    }

    /// Puts by half of what an eviction freed for what the policy wants to remember. So its memory grows with evictions,
    /// and a client at its cap stays below it.
    pub(super) fn save(&mut self, freed: u64) {
        let wants = self.queue.wants() as u64;
        let more = wants.saturating_sub(self.saved).min(freed / 2).min(self.credit);
        self.credit -= more;
        self.saved += more;
        self.metadata += more;
    }

    /// Returns what was charged for the policy's memory: the client is gone, and the policy goes with it.
    pub(super) fn forgo(&mut self) {
        let saved = std::mem::take(&mut self.saved);
        self.metadata -= saved;
        self.credit += saved;
    }

    /// Returns all credit.
    pub(super) fn settle(&mut self, ledger: Ledger<'_>) {
        ledger.give_back(&self.account, std::mem::take(&mut self.credit));
    }
}

impl Shard {
    pub(super) fn new(index: Index) -> Self {
        Self {
            index,
            attaches: Vec::new(),
            pools: Vec::new(),
            clients: Vec::new(),
            further: Vec::new(),
            unused: Vec::new(),
            raw: 0,
            lz4: 0,
            zstd: 0,
            same: 0,
            hard: 0,
            firm: 0,
            hand: 0,
        }
    }

    /// The kind of pool behind an attachment, if the operation's word is the current one and the client's.
    pub(super) fn check(&self, word: u64, attach: u32, client: u16) -> Option<Kind> {
        let attach = self.attaches.get(attach as usize)?;
        (attach.word == word && attach.client == client).then_some(attach.kind)
    }

    /// A client that has not been retired.
    pub(super) fn client(&mut self, client: u16) -> &mut Local {
        let local = self.clients.get_mut(usize::from(client)).and_then(Option::as_mut);
        local.expect("a client's slot is kept until nothing is charged to it")
    }

    /// Lets a client's policy work on the index.
    pub(super) fn with_queue(&mut self, client: u16, work: impl FnOnce(&mut dyn Policy, &mut Index)) {
        if let Some(local) = self.clients.get_mut(usize::from(client)).and_then(Option::as_mut) {
            work(&mut *local.queue, &mut self.index);
        }
    }

    /// Metadata bytes that one more page in the chunk costs its putter.
    pub(super) fn page_cost(&self, header: &Header, kind: Kind) -> u64 {
        match kind {
            Kind::Shared => SHARED_PAGE,
            _ => self.index.grown_bytes(header) - self.index.array_bytes(header),
        }
    }

    /// Pages that may be compressed: raw ones, and with `deep` what LZ4 made.
    pub(super) fn compressible(&self, deep: bool) -> u64 {
        let packed = if deep { self.lz4 - self.firm } else { 0 };
        self.raw - self.hard + packed
    }

    /// Counts a page in or out of the totals by form.
    pub(super) fn count(&mut self, entry: &Entry, by: i64) {
        if entry.is_hard() {
            let stuck = if entry.form() == Form::Raw { &mut self.hard } else { &mut self.firm };
            *stuck = stuck.wrapping_add_signed(by);
        }
        let total = match entry.form() {
            Form::Raw => &mut self.raw,
            Form::Lz4 => &mut self.lz4,
            Form::Zstd => &mut self.zstd,
            Form::Same => &mut self.same,
        };
        *total = total.wrapping_add_signed(by);
    }

    /// Removes a page from the index, the queue and the books. `queued` is false when its policy has forgotten it.
    pub(super) fn unlink(
        &mut self,
        ledger: Ledger<'_>,
        chunk: u32,
        header: &mut Header,
        slot: u32,
        kind: Kind,
        why: Gone,
    ) -> Option<Stored> {
        let entry = self.index.entry(header, slot)?;
        let owner = entry.owner();
        if kind != Kind::Persistent && why != Gone::Evicted {
            let token = chunk * SPAN + slot;
            self.with_queue(owner, |queue, index| queue.remove(index, token, why == Gone::Taken));
        }
        let before = self.index.array_bytes(header);
        self.index.remove(chunk, header, slot, || ledger.block());
        let saved = match kind {
            Kind::Shared => SHARED_PAGE,
            _ => before - self.index.array_bytes(header),
        };
        let stored = entry.stored();
        self.count(&entry, -1);
        let local = self.client(owner);
        local.metadata -= saved;
        local.refund(ledger, saved + stored.bytes());
        let pages = if kind == Kind::Persistent { &mut local.persistent } else { &mut local.ephemeral };
        *pages -= 1;
        Some(stored)
    }

    /// Adds a chunk and charges it to `client`.
    pub(super) fn create_chunk(
        &mut self,
        ledger: Ledger<'_>,
        hash: u64,
        header: (crate::index::ChunkKey, Kind),
        client: u16,
    ) -> Option<u32> {
        let (key, kind) = header;
        let bytes = chunk_bytes(key.number, kind == Kind::Shared);
        if !self.client(client).charge(ledger, bytes) {
            return None;
        }
        let mut list = self.pools.get(key.pool as usize)?.chunks;
        let linked = kind != Kind::Persistent;
        let made = self.index.create(hash, key, client, linked, &mut list, || ledger.block());
        let Ok(chunk) = made else {
            self.client(client).refund(ledger, bytes);
            return None;
        };
        if let Some(line) = self.pools.get_mut(key.pool as usize) {
            line.chunks = list;
        }
        self.client(client).metadata += bytes;
        Some(chunk)
    }

    /// Removes an empty chunk.
    pub(super) fn destroy_chunk(&mut self, ledger: Ledger<'_>, chunk: u32) {
        let header = self.index.header(chunk);
        if header.further != NIL {
            self.drop_set(header.further);
        }
        if let Some(line) = self.pools.get_mut(header.key.pool as usize) {
            self.index.destroy(chunk, &mut line.chunks);
        }
        let bytes = self.charged(&header);
        let owner = self.client(header.owner);
        owner.metadata -= bytes;
        owner.refund(ledger, bytes);
    }

    /// Charges a chunk of a shared pool to somebody else than `client`: who owns a page in it, or else any member.
    pub(super) fn hand_over(&mut self, ledger: Ledger<'_>, chunk: u32, client: u16) {
        let header = self.index.header(chunk);
        let mut owners =
            (0..SPAN).filter_map(|slot| self.index.entry(&header, slot)).map(|entry| entry.owner());
        let mut members =
            self.attaches.iter().filter(|a| a.word != 0 && Word(a.word).pool() == header.key.pool);
        let Some(heir) = owners.next().or_else(|| members.next().map(|a| a.client)) else { return };
        let bytes = self.charged(&header);
        let leaver = self.client(client);
        leaver.metadata -= bytes;
        leaver.refund(ledger, bytes);
        let heir_local = self.client(heir);
        ledger.force(&heir_local.account, bytes);
        heir_local.metadata += bytes;
        self.index.set_owner(chunk, heir);
    }

    /// Lets an object have further chunks, at the cost of its chunk 0's owner. False when the cap forbids it.
    ///
    /// In shared pools that is charged with chunk 0, because it may be another member's.
    pub(super) fn open_set(&mut self, ledger: Ledger<'_>, home: u32) -> bool {
        let header = self.index.header(home);
        if header.further != NIL {
            return true;
        }
        if !self.is_shared(&header) {
            let owner = self.client(header.owner);
            if !owner.charge(ledger, SET_BYTES) {
                return false;
            }
            owner.metadata += SET_BYTES;
        }
        let at = self.unused.pop().unwrap_or_else(|| {
            self.further.push(BTreeSet::new());
            self.further.len() as u32 - 1
        });
        self.index.set_further(home, at);
        true
    }

    /// Ends that, once an object has no further chunks.
    pub(super) fn close_set(&mut self, ledger: Ledger<'_>, home: u32) {
        let header = self.index.header(home);
        if !self.is_shared(&header) {
            let owner = self.client(header.owner);
            owner.metadata -= SET_BYTES;
            owner.refund(ledger, SET_BYTES);
        }
        self.drop_set(header.further);
        self.index.set_further(home, NIL);
    }

    fn drop_set(&mut self, at: u32) {
        if let Some(set) = self.further.get_mut(at as usize) {
            set.clear();
            self.unused.push(at);
        }
        if self.unused.len() == self.further.len() {
            // Nothing is charged for these any more.
            (self.further, self.unused) = (Vec::new(), Vec::new());
        }
    }

    fn is_shared(&self, header: &Header) -> bool {
        self.pools.get(header.key.pool as usize).is_some_and(|line| line.shared)
    }

    /// What the chunk's owner is charged for it, without its entries.
    fn charged(&self, header: &Header) -> u64 {
        let shared = self.is_shared(header);
        let set = if header.further != NIL && !shared { SET_BYTES } else { 0 };
        chunk_bytes(header.key.number, shared) + set
    }

    /// Bytes of metadata that the shard holds, as far as it grows with what clients store.
    pub(super) fn held(&self) -> u64 {
        let sets = (self.further.len() - self.unused.len()) as u64 * SET_BYTES;
        let names: usize = self.further.iter().map(BTreeSet::len).sum();
        self.index.held() + sets + names as u64 * FURTHER_BYTES
    }

    /// Notes at an object's chunk 0, whose set is open, that it has chunk `number`.
    pub(super) fn register(&mut self, home: u32, number: u32) {
        let at = self.index.header(home).further;
        if let Some(set) = self.further.get_mut(at as usize) {
            set.insert(number);
        }
    }

    /// Forgets chunk `number`. True when chunk 0 has no other.
    pub(super) fn unregister(&mut self, ledger: Ledger<'_>, home: u32, number: u32) -> bool {
        let at = self.index.header(home).further;
        let Some(set) = self.further.get_mut(at as usize) else { return true };
        set.remove(&number);
        let last = set.is_empty();
        if last {
            self.close_set(ledger, home);
        }
        last
    }

    /// The object's first chunk beyond chunk 0 whose number is at least `from`.
    pub(super) fn next_further(&self, home: &Header, from: u32) -> Option<u32> {
        self.further.get(home.further as usize)?.range(from..).next().copied()
    }
}

/// What creating a chunk costs.
fn chunk_bytes(number: u32, shared: bool) -> u64 {
    CHUNK_BYTES
        + match (number, shared) {
            (0, false) => 0,
            (0, true) => SET_BYTES,
            _ => FURTHER_BYTES,
        }
}

/// Why a page leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// An exclusive get took it.
    Taken,
    /// It was flushed or replaced, or its pool is gone.
    Dropped,
    /// Its policy chose it, and has forgotten it.
    Evicted,
}
