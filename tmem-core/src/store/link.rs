//! Putting a page under a key.

use super::Store;
use super::control::{ClientState, Word};
use super::shard::{Gone, Kind, Shard};
use super::site::{Both, Site, home_key};
use crate::error::OpError;
use crate::index::{Entry, NIL, SPAN};
use crate::key::{Key, PoolId};
use crate::page::Page;
use crate::pages::{NoRoom, Stored};
use crate::sync::atomic::Ordering;

/// Times that a put makes room before it is refused. Each time evicts a page, so a put's work is bounded.
const TRIES: u32 = 8;
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

/// What is to be linked, and how.
struct Order<'a> {
    client: &'a ClientState,
    word: Word,
    site: Site,
    slot: u32,
    expect: Expect,
    /// Refuse instead of asking for room.
    last: bool,
    /// A refusal drops the page that is there.
    drop_old: bool,
}

impl Store {
    pub(crate) fn put(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        page: &Page,
    ) -> Result<(), OpError> {
        let word = client.word(pool.get())?;
        let site = self.site(word, key.object, key.index);
        let Ok(stored) = self.create(client, page) else {
            return Err(self.refuse(client, word, &site, key.index % SPAN, OpError::NoMemory, true));
        };
        match self.link(client, word, &site, key.index % SPAN, stored, Expect::Any, true) {
            Linked::Done(_) => Ok(()),
            Linked::Refused(why, ..) => Err(why),
            // Any page is expected, and the last try is never full.
            Linked::Full(_) | Linked::Changed(_) => Err(OpError::NoMemory),
        }
    }

    /// Creates a page, making room in a full store if need be.
    pub(super) fn create(&self, client: &ClientState, page: &Page) -> Result<Stored, NoRoom> {
        for _ in 0..TRIES {
            match self.pages.create(page) {
                Err(NoRoom) if self.make_room(client) => {}
                done => return done,
            }
        }
        self.pages.create(page)
    }

    /// Links a page, making room under the client's cap if need be. Frees what is to be freed.
    #[expect(clippy::too_many_arguments, reason = "a key's place, a page and what to do with them")]
    pub(super) fn link(
        &self,
        client: &ClientState,
        word: Word,
        site: &Site,
        slot: u32,
        mut stored: Stored,
        expect: Expect,
        drop_old: bool,
    ) -> Linked {
        let mut order = Order { client, word, site: *site, slot, expect, last: false, drop_old };
        for tries in 0..=TRIES {
            match self.link_once(&order, stored) {
                Linked::Full(back) => {
                    stored = back;
                    order.last = tries + 1 == TRIES || !self.make_allowance(client);
                }
                ended => return self.freed(site, ended),
            }
        }
        unreachable!("the last try is not full")
    }

    fn freed(&self, site: &Site, linked: Linked) -> Linked {
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
                self.reap(site);
                Linked::Refused(why, none, None)
            }
            other => other,
        }
    }

    /// Refuses a put: drops the page under the key and counts.
    pub(super) fn refuse(
        &self,
        client: &ClientState,
        word: Word,
        site: &Site,
        slot: u32,
        why: OpError,
        drop_old: bool,
    ) -> OpError {
        let mut shard = self.shard(site.shard).lock();
        if shard.check(word.0, word.attach(), client.slot).is_none() {
            return OpError::NoSuchPool;
        }
        shard.client(client.slot).counters.puts_refused += 1;
        drop(shard);
        if drop_old {
            self.drop_page(client, word, site, slot);
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
        if order.expect != Expect::Any && order.expect != Expect::Absent {
            return Linked::Changed(stored);
        }
        if site.key.number == 0 {
            return match self.admit(order, &mut shard) {
                Ok(kind) => {
                    match shard.create_chunk(&*self.books, site.hash, (site.key, kind), order.client.slot) {
                        Some(chunk) => self.link_in(order, &mut shard, chunk, stored),
                        None => self.no_room(order, &mut shard, stored, None),
                    }
                }
                Err(why) => Linked::Refused(why, stored, None),
            };
        }
        drop(shard);
        let mut both = self.lock_both(site);
        if let Some(chunk) = both.far.index.find(site.hash, &site.key) {
            return self.link_in(order, &mut both.far, chunk, stored);
        }
        match self.admit(order, &mut both.far) {
            Ok(kind) => match self.create_far(order, &mut both, kind) {
                Some(chunk) => self.link_in(order, &mut both.far, chunk, stored),
                None => self.no_room(order, &mut both.far, stored, None),
            },
            Err(why) => Linked::Refused(why, stored, None),
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
        let Some(chunk) = both.far.create_chunk(ledger, site.hash, (site.key, kind), client) else {
            let home = both.home();
            let header = home.index.header(at);
            if header.map == 0 && header.further == NIL {
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
        if let Some(old) = old
            && old.owner() == client
        {
            // In place: only the difference in size is charged.
            let (more, less) = (stored.bytes(), old.stored().bytes());
            let local = shard.client(client);
            if more > less && !local.charge(ledger, more - less) {
                return self.no_room(order, shard, stored, Some(chunk));
            }
            if less > more {
                local.refund(ledger, less - more);
            }
            local.counters.puts += 1;
            shard.count(&old, -1);
            shard.count(&entry, 1);
            if kind != Kind::Persistent {
                self.requeue(shard, client, chunk * SPAN + slot, |shard| {
                    shard.index.replace(chunk, &mut header, slot, entry);
                });
            } else {
                shard.index.replace(chunk, &mut header, slot, entry);
            }
            return Linked::Done(Some(old.stored()));
        }
        let mut gone = None;
        if old.is_some() {
            // Another member's page in a shared pool: it is ephemeral, and may go before ours is sure to fit.
            gone = shard.unlink(ledger, chunk, &mut header, slot, kind, Gone::Dropped);
        }
        let cost = shard.page_cost(&header, kind);
        if !shard.client(client).charge(ledger, cost + stored.bytes()) {
            gone.into_iter().for_each(|old| self.pages.free(old));
            return self.no_room(order, shard, stored, Some(chunk));
        }
        if shard.index.insert(chunk, &mut header, slot, entry, || ledger.block()).is_err() {
            shard.client(client).refund(ledger, cost + stored.bytes());
            gone.into_iter().for_each(|old| self.pages.free(old));
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
            if let Some(local) = shard.clients.get_mut(usize::from(client)).and_then(Option::as_mut) {
                local.queue.insert(&mut shard.index, chunk * SPAN + slot);
            }
            if !order.client.ephemeral.load(Ordering::Relaxed) {
                order.client.ephemeral.store(true, Ordering::Relaxed);
            }
        }
        Linked::Done(gone)
    }

    /// A page's content changed: for its policy it went and came.
    fn requeue(&self, shard: &mut Shard, client: u16, token: u32, change: impl FnOnce(&mut Shard)) {
        if let Some(local) = shard.clients.get_mut(usize::from(client)).and_then(Option::as_mut) {
            local.queue.remove(&mut shard.index, token, false);
        }
        change(shard);
        if let Some(local) = shard.clients.get_mut(usize::from(client)).and_then(Option::as_mut) {
            local.queue.insert(&mut shard.index, token);
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
