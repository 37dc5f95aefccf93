//! Pages in a shard: looked for, linked, replaced, unlinked.

use super::{Bank, Shard};
use crate::account::Denied;
use crate::evict::Policy;
use crate::index::{Entry, Header, SPAN};
use crate::key::Kind;
use crate::page::Page;
use crate::pages::{Fetched, PageStore, Stored};

/// Metadata charged for a page in a shared pool, to the client that put it: its entry and links (23 bytes with what
/// frames waste) in an array that is at least a quarter full, because members share arrays.
const SHARED_PAGE: u64 = 92;
/// Passes of the background compressor that a fresh page survives.
pub(in crate::store) const YOUNG: u32 = 1;
/// Pages with links that are unlinked under one lock: each touches two neighbours.
const LINKED_AT_ONCE: u32 = 32;

/// What must hold of the key for a page to be linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Expect {
    /// Nothing.
    Any,
    /// No page is stored.
    Absent,
    /// A page is stored, and its chunk has this version.
    Version(u32),
}

/// A page that is to be linked.
#[derive(Clone, Copy)]
pub(in crate::store) struct NewPage {
    pub(in crate::store) client: u16,
    pub(in crate::store) place: u32,
    pub(in crate::store) expect: Expect,
}

/// How linking ended.
pub(in crate::store) enum Linked {
    /// Done; the page that was there before is to be freed.
    Done(Option<Stored>),
    /// There is no room.
    Denied(Denied, Stored),
    /// What was expected does not hold.
    Changed(Stored),
}

/// What looking for a page found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Seen {
    /// Version of the chunk at that time.
    pub(in crate::store) version: u32,
}

/// Why a page leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Gone {
    /// An exclusive get took it.
    Taken,
    /// It was flushed or replaced, or its pool is gone.
    Dropped,
    /// Its policy chose it, and has forgotten it.
    Evicted,
}

/// Pages taken out of a chunk under its lock, to be freed after it is released.
pub(in crate::store) struct Removed {
    pages: [Stored; SPAN as usize],
    count: usize,
    /// Some were left for the next time.
    pub(in crate::store) more: bool,
    /// Nothing is in the chunk any more.
    pub(in crate::store) idle: bool,
}

impl Removed {
    pub(in crate::store) fn none() -> Self {
        Self { pages: [const { Stored::NOTHING }; SPAN as usize], count: 0, more: false, idle: false }
    }

    pub(in crate::store) fn count(&self) -> u32 {
        self.count as u32
    }

    fn push(&mut self, stored: Stored) {
        if let Some(slot) = self.pages.get_mut(self.count) {
            *slot = stored;
            self.count += 1;
        }
    }

    /// Frees the pages; called with no lock held.
    pub(in crate::store) fn free(self, pages: &dyn PageStore) {
        self.pages.into_iter().take(self.count).for_each(|page| pages.free(page));
    }
}

impl Shard {
    /// Lets a client's policy work on the index.
    fn with_policy<T>(
        &mut self,
        client: u16,
        work: impl FnOnce(&mut dyn Policy, &mut crate::index::Index) -> T,
    ) -> Option<T> {
        let ledger = self.ledgers.get_mut(usize::from(client))?.as_deref_mut()?;
        Some(work(ledger.policy(), &mut self.index))
    }

    /// Metadata bytes that one more page in the chunk costs its putter.
    fn page_cost(&self, header: &Header) -> u64 {
        match header.kind() {
            Kind::Shared => SHARED_PAGE,
            _ => self.index.grown_bytes(header) - self.index.array_bytes(header),
        }
    }

    /// The page at a place of a chunk, and the chunk's version.
    pub(in crate::store) fn page(&self, chunk: u32, place: u32) -> Option<(Entry, Seen)> {
        let header = self.index.header(chunk);
        let entry = self.index.entry(&header, place)?;
        Some((entry, Seen { version: header.version() }))
    }

    /// Copies out a page that stays, and notes that it was wanted.
    pub(in crate::store) fn read(
        &mut self,
        chunk: u32,
        place: u32,
        pages: &dyn PageStore,
        page: &mut Page,
    ) -> Option<(Fetched, Seen)> {
        let header = self.index.header(chunk);
        let mut entry = self.index.entry(&header, place)?;
        let fetched = pages.fetch(&entry.stored(), page);
        if header.is_linked() {
            self.with_policy(entry.owner(), |policy, index| policy.hit(index, chunk * SPAN + place));
        } else if entry.age() < YOUNG {
            entry.set_age(YOUNG);
            self.index.touch(&header, place, entry);
        }
        Some((fetched, Seen { version: header.version() }))
    }

    /// Links a page into a chunk.
    pub(in crate::store) fn link(
        &mut self,
        bank: Bank<'_>,
        chunk: u32,
        new: NewPage,
        stored: Stored,
    ) -> Linked {
        let mut header = self.index.header(chunk);
        let old = self.index.entry(&header, new.place);
        let holds = match new.expect {
            Expect::Any => true,
            Expect::Absent => old.is_none(),
            Expect::Version(version) => old.is_some() && header.version() == version,
        };
        if !holds {
            return Linked::Changed(stored);
        }
        if let Some(old) = old {
            return self.replace(bank, (chunk, header), new, stored, old);
        }
        let kind = header.kind();
        let cost = self.page_cost(&header);
        if let Err(denied) = self.adopt(bank, chunk, &mut header, new.client) {
            return Linked::Denied(denied, stored);
        }
        let (bytes, entry) = (cost + stored.bytes(), young(&stored, new.client));
        let mut denied = self.ledger(new.client).charge(bank, kind, bytes, cost).err();
        if denied.is_none()
            && self.index.insert(chunk, &mut header, new.place, entry, &|| bank.frame()).is_err()
        {
            self.ledger(new.client).refund(bank, kind, bytes, cost);
            denied = Some(Denied::Cap);
        }
        if let Some(denied) = denied {
            self.abandon(bank, chunk, &mut header);
            return Linked::Denied(denied, stored);
        }
        self.tally.count(&entry, 1);
        self.tally.count_kind(kind, 1);
        let ledger = self.ledger(new.client);
        ledger.count_page(kind, 1);
        ledger.count(|counters| counters.puts += 1);
        if kind != Kind::Persistent {
            self.with_policy(new.client, |policy, index| policy.insert(index, chunk * SPAN + new.place));
        }
        Linked::Done(None)
    }

    /// Puts the page in the place of another, which may be another member's in a shared pool.
    fn replace(
        &mut self,
        bank: Bank<'_>,
        (chunk, mut header): (u32, Header),
        new: NewPage,
        stored: Stored,
        old: Entry,
    ) -> Linked {
        let (client, owner, kind) = (new.client, old.owner(), header.kind());
        // From one page of a client to its next only the difference in size is charged; from one member's to another's
        // what the page costs in the index changes hands as well.
        let passes = if owner == client { 0 } else { self.page_cost(&header) };
        let (more, less) = (stored.bytes() + passes, old.stored().bytes() + passes);
        let (charge, refund) = if owner == client {
            (more.saturating_sub(less), less.saturating_sub(more))
        } else {
            (more, less)
        };
        if let Err(denied) = self.ledger(client).charge(bank, kind, charge, passes) {
            return Linked::Denied(denied, stored);
        }
        let token = chunk * SPAN + new.place;
        if kind != Kind::Persistent {
            self.with_policy(owner, |policy, index| policy.remove(index, token, false));
        }
        let leaver = self.ledger(owner);
        leaver.refund(bank, kind, refund, passes);
        leaver.count_page(kind, -1);
        let comer = self.ledger(client);
        comer.count_page(kind, 1);
        comer.count(|counters| counters.puts += 1);
        let entry = young(&stored, client);
        self.tally.count(&old, -1);
        self.tally.count(&entry, 1);
        self.index.replace(chunk, &mut header, new.place, entry);
        if kind != Kind::Persistent {
            self.with_policy(client, |policy, index| policy.insert(index, token));
        }
        Linked::Done(Some(old.stored()))
    }

    /// Removes a page, if there is one, and tells whether nothing is in the chunk any more.
    pub(in crate::store) fn unlink(
        &mut self,
        bank: Bank<'_>,
        chunk: u32,
        place: u32,
        why: Gone,
    ) -> Option<(Stored, bool)> {
        let mut header = self.index.header(chunk);
        let stored = self.unlink_from(bank, chunk, &mut header, place, why)?;
        Some((stored, header.is_idle()))
    }

    fn unlink_from(
        &mut self,
        bank: Bank<'_>,
        chunk: u32,
        header: &mut Header,
        place: u32,
        why: Gone,
    ) -> Option<Stored> {
        let entry = self.index.entry(header, place)?;
        let (owner, kind) = (entry.owner(), header.kind());
        if kind != Kind::Persistent && why != Gone::Evicted {
            let token = chunk * SPAN + place;
            self.with_policy(owner, |policy, index| policy.remove(index, token, why == Gone::Taken));
        }
        let before = self.index.array_bytes(header);
        self.index.remove(chunk, header, place, &|| bank.frame());
        let saved = match kind {
            Kind::Shared => SHARED_PAGE,
            _ => before - self.index.array_bytes(header),
        };
        let stored = entry.stored();
        self.tally.count(&entry, -1);
        self.tally.count_kind(kind, -1);
        let ledger = self.ledger(owner);
        ledger.refund(bank, kind, saved + stored.bytes(), saved);
        ledger.count_page(kind, -1);
        self.abandon(bank, chunk, header);
        Some(stored)
    }

    /// Takes pages whose bits are set in `range` out of a chunk: all of them, or as many as may be under one lock.
    pub(in crate::store) fn unlink_range(&mut self, bank: Bank<'_>, chunk: u32, range: u64) -> Removed {
        let mut header = self.index.header(chunk);
        let mut removed = Removed::none();
        if header.key().level > 0 {
            return removed;
        }
        let most = if header.is_linked() { LINKED_AT_ONCE } else { SPAN };
        let mut left = header.map() & range;
        while left != 0 && removed.count() < most {
            // From the highest down, so that nothing has to move in a packed array.
            let place = 63 - left.leading_zeros();
            left &= !(1 << place);
            if let Some(stored) = self.unlink_from(bank, chunk, &mut header, place, Gone::Dropped) {
                removed.push(stored);
            }
        }
        removed.more = left != 0;
        removed.idle = header.is_idle();
        removed
    }

    /// Lets a client's policy choose a page, and removes it. Also tells the chunk's header as it is then.
    pub(in crate::store) fn evict(
        &mut self,
        bank: Bank<'_>,
        client: u16,
        must: bool,
    ) -> Option<(Stored, Header)> {
        let ledger = self.ledger_if_any(client)?;
        if ledger.ephemeral() == 0 {
            return None;
        }
        let grow = ledger.pay(bank);
        let token = self.with_policy(client, |policy, index| policy.victim(index, grow, must))??;
        let (chunk, place) = (token / SPAN, token % SPAN);
        let mut header = self.index.header(chunk);
        let stored = self.unlink_from(bank, chunk, &mut header, place, Gone::Evicted)?;
        let ledger = self.ledger(client);
        ledger.count(|counters| counters.evicted += 1);
        if !grow {
            ledger.save(stored.bytes());
        }
        ledger.settle(bank);
        Some((stored, header))
    }
}

fn young(stored: &Stored, client: u16) -> Entry {
    let mut entry = Entry::new(stored, client);
    entry.set_age(YOUNG);
    entry
}
