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

/// Credit above which a shard returns what a client's pages freed, in bytes: four slices.
const KEEP: u64 = 256 << 10;
/// Metadata charged for a page in a shared pool, to the client that put it: its entry and links (20 bytes) in an array
/// that is at least a quarter full, because members share arrays.
const SHARED_PAGE: u64 = 80;
/// Bytes charged for naming a further chunk at its object's chunk 0: a B-tree of 4-byte keys in nodes of 56 bytes at
/// least half full.
const FURTHER_BYTES: u64 = 16;

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
    pub(super) packed: u64,
    pub(super) same: u64,
    /// Raw pages known not to compress.
    pub(super) hard: u64,
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
        if self.credit > KEEP {
            ledger.give_back(&self.account, self.credit - KEEP / 2);
            self.credit = KEEP / 2;
        }
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
            packed: 0,
            same: 0,
            hard: 0,
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

    /// Counts a page in or out of the totals by form.
    pub(super) fn count(&mut self, entry: &Entry, by: i64) {
        if entry.is_hard() {
            self.hard = self.hard.wrapping_add_signed(by);
        }
        let total = match entry.form() {
            Form::Raw => &mut self.raw,
            Form::Lz4 => &mut self.packed,
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
        let bytes = CHUNK_BYTES + if key.number == 0 { 0 } else { FURTHER_BYTES };
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
        if let Some(set) = self.further.get_mut(header.further as usize) {
            set.clear();
            self.unused.push(header.further);
        }
        if let Some(line) = self.pools.get_mut(header.key.pool as usize) {
            self.index.destroy(chunk, &mut line.chunks);
        }
        let bytes = chunk_bytes(&header);
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
        let bytes = chunk_bytes(&header);
        let leaver = self.client(client);
        leaver.metadata -= bytes;
        leaver.refund(ledger, bytes);
        let heir_local = self.client(heir);
        ledger.force(&heir_local.account, bytes);
        heir_local.metadata += bytes;
        self.index.set_owner(chunk, heir);
    }

    /// Notes at an object's chunk 0 that it has chunk `number`.
    pub(super) fn register(&mut self, home: u32, number: u32) {
        let mut at = self.index.header(home).further;
        if at == NIL {
            at = self.unused.pop().unwrap_or_else(|| {
                self.further.push(BTreeSet::new());
                self.further.len() as u32 - 1
            });
            self.index.set_further(home, at);
        }
        if let Some(set) = self.further.get_mut(at as usize) {
            set.insert(number);
        }
    }

    /// Forgets chunk `number`. True when chunk 0 has no other.
    pub(super) fn unregister(&mut self, home: u32, number: u32) -> bool {
        let at = self.index.header(home).further;
        let Some(set) = self.further.get_mut(at as usize) else { return true };
        set.remove(&number);
        if !set.is_empty() {
            return false;
        }
        self.unused.push(at);
        self.index.set_further(home, NIL);
        true
    }

    /// The object's first chunk beyond chunk 0 whose number is at least `from`.
    pub(super) fn next_further(&self, home: &Header, from: u32) -> Option<u32> {
        self.further.get(home.further as usize)?.range(from..).next().copied()
    }
}

/// What a chunk is charged without its entries.
fn chunk_bytes(header: &Header) -> u64 {
    CHUNK_BYTES + if header.key.number == 0 { 0 } else { FURTHER_BYTES }
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
