//! Putting a page under a key.

use super::Store;
use super::control::{ClientState, Word};
use super::shard::{Gone, Kind, Shard};
use super::site::{Both, Site, home_key};
use crate::error::OpError;
use crate::index::{Entry, Header, SPAN};
use crate::key::{Key, PoolId};
use crate::live::LivePage;
use crate::pages::{NoRoom, Stored};
use crate::sync::atomic::Ordering;

/// Times that a put makes room before it is refused. Each time evicts a page, so a put's work is bounded.
pub(super) const TRIES: u32 = 8;
/// Passes of the background compressor that a fresh page survives.
pub(super) const YOUNG: u32 = 1;

/// What must hold of the key for a page to be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Nothing.
    Any,
    /// No page is stored.
    Absent,
    /// A page is stored, and its chunk has this version.
    Version(u32),
}

/// How linking ended.
pub(super) enum Linked {
    /// Done; the page that was there before is to be freed.
    Done(Option<Stored>),
    /// Refused. The page and, if it was dropped, the old one are to be freed.
    Refused(OpError, Stored, Option<Stored>),
    /// The client's cap has no room, and it was not the last try.
    Full(Stored),
    /// What was expected does not hold.
    Changed(Stored),
}

/// Where a page is to be linked, for whom, and how.
pub(super) struct Order<'a> {
    pub(super) client: &'a ClientState,
    pub(super) word: Word,
    pub(super) site: Site,
    pub(super) slot: u32,
    pub(super) expect: Expect,
    /// Refuse instead of asking for room.
    pub(super) last: bool,
    /// A refusal drops the page that is there.
    pub(super) drop_old: bool,
}

impl Store {
    pub(crate) fn put(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        page: LivePage<'_>,
    ) -> Result<(), OpError> {
        let mut order = self.order(client, pool, key)?;
        let Ok(stored) = self.create(client, page) else {
            return Err(self.refuse(&order, OpError::NoMemory));
        };
        match self.link(&mut order, stored) {
            Linked::Done(_) => Ok(()),
            Linked::Refused(why, ..) => Err(why),
            // Any page is expected, and the last try is never full.
            Linked::Full(_) | Linked::Changed(_) => Err(OpError::NoMemory),
        }
    }

    /// An order to put a page under a key, whatever is there.
    pub(super) fn order<'a>(
        &self,
        client: &'a ClientState,
        pool: PoolId,
        key: &Key,
    ) -> Result<Order<'a>, OpError> {
        let word = client.word(pool.get())?;
        let site = self.site(word, key.object, key.index);
        let slot = key.index % SPAN;
        Ok(Order { client, word, site, slot, expect: Expect::Any, last: false, drop_old: true })
    }

    /// Creates a page, making room in a full store if need be.
    pub(super) fn create(&self, client: &ClientState, page: LivePage<'_>) -> Result<Stored, NoRoom> {
        for _ in 0..TRIES {
            match self.pages.create(page) {
                Err(NoRoom) if self.make_room(client) => {}
                done => return done,
            }
        }
        self.pages.create(page)
    }

    /// Links a page, making room under the client's cap if need be. Frees what is to be freed.
    pub(super) fn link(&self, order: &mut Order<'_>, mut stored: Stored) -> Linked {
        for tries in 0..=TRIES {
            match self.link_once(order, stored) {
                Linked::Full(back) => {
                    stored = back;
                    order.last = tries + 1 == TRIES || !self.make_allowance(order.client);
                }
                ended => return self.freed(order, ended),
            }
        }
        unreachable!("the last try is not full")
    }

    /// Frees what linking left; called with no lock held.
    pub(super) fn freed(&self, order: &Order<'_>, linked: Linked) -> Linked {
        match linked {
            Linked::Done(Some(old)) => {
                self.pages.free(old);
                Linked::Done(None)
            }
            Linked::Refused(why, new, old) => {
                let none = Stored { a: 0, b: 0, form: crate::pages::Form::Same, units: 0 };
                self.pages.free(new);
                old.into_iter().for_each(|old| self.pages.free(old));
                // Its chunk may have been made for this page, or lost its last one.
                self.reap(&order.site);
                Linked::Refused(why, none, None)
            }
            other => other,
        }
    }

    /// Refuses a put: counts, and drops the page under the key if the order says so.
    pub(super) fn refuse(&self, order: &Order<'_>, why: OpError) -> OpError {
        let client = order.client.slot;
        let mut shard = self.shard(order.site.shard).lock();
        if shard.check(order.word.0, order.word.attach(), client).is_none() {
            return OpError::NoSuchPool;
        }
        shard.client(client).counters.puts_refused += 1;
        drop(shard);
        if order.drop_old {
            self.drop_page(order.client, order.word, &order.site, order.slot);
        }
        why
    }

    fn link_once(&self, order: &Order<'_>, stored: Stored) -> Linked {
        let site = &order.site;
        let mut shard = self.shard(site.shard).lock();
        if let Some(chunk) = shard.index.find(site.hash, &site.key) {
            return self.link_in(order, &mut shard, chunk, stored);
        }
        // A new chunk. Chunk 0 needs one lock, the others also that of chunk 0, which knows of them all.
        drop(shard);
        self.link_both(order, &mut self.lock_both(site), stored)
    }

    /// Links the page under the locks of its chunk, which is created if need be.
    pub(super) fn link_both(&self, order: &Order<'_>, both: &mut Both<'_>, stored: Stored) -> Linked {
        let site = &order.site;
        if let Some(chunk) = both.far.index.find(site.hash, &site.key) {
            return self.link_in(order, &mut both.far, chunk, stored);
        }
        if let Expect::Version(_) = order.expect {
            return Linked::Changed(stored);
        }
        let kind = match self.admit(order, &mut both.far) {
            Ok(kind) => kind,
            Err(why) => return Linked::Refused(why, stored, None),
        };
        let made = if site.key.number == 0 {
            both.far.create_chunk(&*self.books, site.hash, (site.key, kind), order.client.slot)
        } else {
            self.create_far(order, both, kind)
        };
        match made {
            Some(chunk) => self.link_in(order, &mut both.far, chunk, stored),
            None => self.no_room(order, &mut both.far, stored, None),
        }
    }

    /// Whether the client may store into the pool now.
    fn admit(&self, order: &Order<'_>, shard: &mut Shard) -> Result<Kind, OpError> {
        let client = order.client.slot;
        let kind = shard.check(order.word.0, order.word.attach(), client).ok_or(OpError::NoSuchPool)?;
        let local = shard.client(client);
        if local.frozen {
            local.counters.puts_refused += 1;
            return Err(OpError::Frozen);
        }
        Ok(kind)
    }

    /// Creates a chunk other than 0, and makes the object's chunk 0 know it.
    fn create_far(&self, order: &Order<'_>, both: &mut Both<'_>, kind: Kind) -> Option<u32> {
        let (site, ledger, client) = (&order.site, &*self.books, order.client.slot);
        let home_key = home_key(&site.key);
        let home = both.home();
        let at = match home.index.find(site.home_hash, &home_key) {
            Some(at) => at,
            None => home.create_chunk(ledger, site.home_hash, (home_key, kind), client)?,
        };
        let opened = home.open_set(ledger, at);
        let chunk =
            if opened { both.far.create_chunk(ledger, site.hash, (site.key, kind), client) } else { None };
        let Some(chunk) = chunk else {
            let home = both.home();
            let header = home.index.header(at);
            if opened && home.next_further(&header, 0).is_none() {
                home.close_set(ledger, at);
            }
            if header.map == 0 && home.next_further(&home.index.header(at), 0).is_none() {
                home.destroy_chunk(ledger, at);
            }
            return None;
        };
        both.home().register(at, site.key.number);
        Some(chunk)
    }

    /// Links the page into a chunk.
    fn link_in(&self, order: &Order<'_>, shard: &mut Shard, chunk: u32, stored: Stored) -> Linked {
        let ledger = &*self.books;
        let client = order.client.slot;
        let slot = order.slot;
        let mut header = shard.index.header(chunk);
        let kind = match self.admit(order, shard) {
            Ok(kind) => kind,
            Err(OpError::Frozen) if order.drop_old => {
                let old = self.unlink_old(order, shard, chunk);
                return Linked::Refused(OpError::Frozen, stored, old);
            }
            Err(why) => return Linked::Refused(why, stored, None),
        };
        let old = shard.index.entry(&header, slot);
        let holds = match order.expect {
            Expect::Any => true,
            Expect::Absent => old.is_none(),
            Expect::Version(version) => old.is_some() && header.version == version,
        };
        if !holds {
            return Linked::Changed(stored);
        }
        let mut entry = Entry::new(&stored, client);
        entry.set_age(YOUNG);
        if let Some(old) = old {
            return self.replace_in(order, shard, (chunk, header, kind), stored, old);
        }
        let cost = shard.page_cost(&header, kind);
        if !shard.client(client).charge(ledger, cost + stored.bytes()) {
            return self.no_room(order, shard, stored, Some(chunk));
        }
        if shard.index.insert(chunk, &mut header, slot, entry, || ledger.block()).is_err() {
            shard.client(client).refund(ledger, cost + stored.bytes());
            return self.no_room(order, shard, stored, Some(chunk));
        }
        shard.count(&entry, 1);
        let local = shard.client(client);
        local.metadata += cost;
        local.counters.puts += 1;
        if kind == Kind::Persistent {
            local.persistent += 1;
        } else {
            local.ephemeral += 1;
            self.enqueue(order.client, shard, chunk * SPAN + slot);
        }
        Linked::Done(None)
    }

    /// Puts the page in the place of another, which may be another member's in a shared pool.
    fn replace_in(
        &self,
        order: &Order<'_>,
        shard: &mut Shard,
        (chunk, mut header, kind): (u32, Header, Kind),
        stored: Stored,
        old: Entry,
    ) -> Linked {
        let ledger = &*self.books;
        let (client, owner) = (order.client.slot, old.owner());
        // From one page of a client to its next only the difference in size is charged; from one member's to another's
        // what the page costs in the index changes hands as well.
        let passes = if owner == client { 0 } else { shard.page_cost(&header, kind) };
        let (more, less) = (stored.bytes() + passes, old.stored().bytes() + passes);
        let (charge, refund) = if owner == client {
            (more.saturating_sub(less), less.saturating_sub(more))
        } else {
            (more, less)
        };
        if !shard.client(client).charge(ledger, charge) {
            return self.no_room(order, shard, stored, Some(chunk));
        }
        let token = chunk * SPAN + order.slot;
        if kind != Kind::Persistent {
            shard.with_queue(owner, |queue, index| queue.remove(index, token, false));
        }
        let leaver = shard.client(owner);
        leaver.refund(ledger, refund);
        if owner != client {
            leaver.metadata -= passes;
            leaver.ephemeral -= 1;
            let comer = shard.client(client);
            comer.metadata += passes;
            comer.ephemeral += 1;
        }
        shard.client(client).counters.puts += 1;
        let mut entry = Entry::new(&stored, client);
        entry.set_age(YOUNG);
        shard.count(&old, -1);
        shard.count(&entry, 1);
        shard.index.replace(chunk, &mut header, order.slot, entry);
        if kind != Kind::Persistent {
            self.enqueue(order.client, shard, token);
        }
        Linked::Done(Some(old.stored()))
    }

    /// Hands an ephemeral page to its client's policy.
    fn enqueue(&self, client: &ClientState, shard: &mut Shard, token: u32) {
        shard.with_queue(client.slot, |queue, index| queue.insert(index, token));
        if !client.ephemeral.load(Ordering::Relaxed) {
            client.ephemeral.store(true, Ordering::Relaxed);
        }
    }

    /// No room: ask for some, or refuse and drop what is there.
    fn no_room(&self, order: &Order<'_>, shard: &mut Shard, stored: Stored, chunk: Option<u32>) -> Linked {
        if !order.last {
            return Linked::Full(stored);
        }
        shard.client(order.client.slot).counters.puts_refused += 1;
        let old = chunk.filter(|_| order.drop_old).and_then(|chunk| self.unlink_old(order, shard, chunk));
        Linked::Refused(OpError::NoMemory, stored, old)
    }

    fn unlink_old(&self, order: &Order<'_>, shard: &mut Shard, chunk: u32) -> Option<Stored> {
        let kind = shard.check(order.word.0, order.word.attach(), order.client.slot)?;
        let mut header = shard.index.header(chunk);
        shard.unlink(&*self.books, chunk, &mut header, order.slot, kind, Gone::Dropped)
    }
}
