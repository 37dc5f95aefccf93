//! Putting a page under a key.

use super::Store;
use super::clients::{Access, ClientState};
use super::shard::{Expect, Gone, Linked, NewPage};
use super::site::{Both, NoChunk, Site};
use crate::account::Denied;
use crate::error::OpError;
use crate::index::SPAN;
use crate::key::{Key, Kind, PoolId};
use crate::live::LivePage;
use crate::pages::{NoRoom, Stored};

/// Times that a put makes room before it is refused. Each time is bounded, so a put's work is.
pub(super) const TRIES: u32 = 8;
/// The same of a put within its client's reservation: each time may free a few frames of a sparse segment, and the first of
/// them go to the reserve that was lent for moving its records.
const TRIES_OWED: u32 = 64;
/// Times that nodes are made anew when others remove them meanwhile.
const CHAINS: u32 = 64;

/// How linking ended.
pub(super) enum Ended {
    /// The page is stored.
    Done,
    /// It is not, and has been freed.
    Refused(OpError),
    /// It is not, for want of room, and there was nothing more to be had.
    Full(Stored, Denied),
    /// What was expected does not hold.
    Changed(Stored),
}

/// Where a page is to be linked, for whom, and how.
pub(super) struct Order<'a> {
    pub(super) client: &'a ClientState,
    pub(super) access: Access,
    pub(super) site: Site,
    pub(super) place: u32,
    pub(super) expect: Expect,
    /// A refusal drops the page that is there.
    pub(super) drop_old: bool,
}

impl Order<'_> {
    fn new_page(&self) -> NewPage {
        NewPage { client: self.client.number(), place: self.place, expect: self.expect }
    }

    fn kind(&self) -> Kind {
        self.access.ticket().kind()
    }
}

impl Store {
    pub(crate) fn put(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        page: LivePage<'_>,
    ) -> Result<(), OpError> {
        let order = self.order(client, pool, key)?;
        let Ok(stored) = self.create(&order, page) else {
            return Err(self.refuse(&order, OpError::NoMemory));
        };
        match self.link(&order, stored) {
            Ended::Done => Ok(()),
            Ended::Refused(why) => Err(why),
            Ended::Full(stored, _) | Ended::Changed(stored) => {
                self.pages.free(stored);
                Err(self.refuse(&order, OpError::NoMemory))
            }
        }
    }

    /// An order to put a page under a key, whatever is there.
    pub(super) fn order<'a>(
        &self,
        client: &'a ClientState,
        pool: PoolId,
        key: &Key,
    ) -> Result<Order<'a>, OpError> {
        let access = client.access(pool)?;
        let site = self.site(&access, key.object, key.index);
        let place = key.index % SPAN;
        Ok(Order { client, access, site, place, expect: Expect::Any, drop_old: true })
    }

    /// Creates a page, making room in a full store if need be.
    pub(super) fn create(&self, order: &Order<'_>, page: LivePage<'_>) -> Result<Stored, NoRoom> {
        let owed = order.client.account().is_owed();
        for _ in 0..if owed { TRIES_OWED } else { TRIES } {
            match self.pages.create(page) {
                Err(NoRoom) if self.make_room(order.client, order.kind()) => {}
                done => return done,
            }
        }
        self.pages.create(page)
    }

    /// Links a page, making room under the client's limits if need be. Frees what it replaces.
    pub(super) fn link(&self, order: &Order<'_>, mut stored: Stored) -> Ended {
        for _ in 0..TRIES {
            match self.link_once(order, stored) {
                Ended::Full(back, denied) => {
                    stored = back;
                    if !self.make_allowance(order.client, order.kind(), denied) {
                        break;
                    }
                }
                ended => return ended,
            }
        }
        self.link_once(order, stored)
    }

    fn link_once(&self, order: &Order<'_>, stored: Stored) -> Ended {
        let mut shard = self.lock(order.site.shard());
        if let Some(chunk) = order.site.find(&shard) {
            if let Err(why) = order.client.admits(&order.access) {
                drop(shard);
                return self.turn_away(order, stored, why);
            }
            let linked = shard.link(&*self.bank, chunk, order.new_page(), stored);
            drop(shard);
            return self.linked(order, linked);
        }
        drop(shard);
        let mut stored = stored;
        for _ in 0..CHAINS {
            // The locks are gone before what is left to do.
            let tried = self.link_new(order, &mut self.lock_both(&order.site), stored);
            match tried {
                Ok(linked) => return self.linked(order, linked),
                Err(NotLinked::Refused(why, stored)) => return self.turn_away(order, stored, why),
                Err(NotLinked::Orphan(back)) => stored = back,
            }
            match self.make_parents(order.client, &order.access, &order.site) {
                Ok(()) => {}
                Err(NoChunk::Denied(denied)) => return self.linked(order, Linked::Denied(denied, stored)),
                Err(NoChunk::Refused(why)) => return self.turn_away(order, stored, why),
            }
        }
        self.linked(order, Linked::Denied(Denied::Cap, stored))
    }

    /// Links the page under the locks of its chunk, which is made if need be.
    pub(super) fn link_new(
        &self,
        order: &Order<'_>,
        both: &mut Both<'_>,
        stored: Stored,
    ) -> Result<Linked, NotLinked> {
        if let Err(why) = order.client.admits(&order.access) {
            return Err(NotLinked::Refused(why, stored));
        }
        let found = order.site.find(both.near());
        let chunk = match (found, order.expect) {
            (Some(chunk), _) => chunk,
            (None, Expect::Version(_)) => return Ok(Linked::Changed(stored)),
            (None, _) => match self.make(order.client, &order.access, both) {
                None => return Err(NotLinked::Orphan(stored)),
                Some(Err(denied)) => return Ok(Linked::Denied(denied, stored)),
                Some(Ok(chunk)) => chunk,
            },
        };
        Ok(both.near().link(&*self.bank, chunk, order.new_page(), stored))
    }

    /// What is left to do with no lock held.
    pub(super) fn linked(&self, order: &Order<'_>, linked: Linked) -> Ended {
        match linked {
            Linked::Done(old) => {
                old.into_iter().for_each(|old| self.pages.free(old));
                if order.kind() != Kind::Persistent {
                    order.client.set_ephemeral(true);
                }
                Ended::Done
            }
            Linked::Denied(denied, stored) => {
                // The chunk, or nodes above it, may have been made for this page.
                self.reap(&order.site);
                Ended::Full(stored, denied)
            }
            Linked::Changed(stored) => Ended::Changed(stored),
        }
    }

    fn turn_away(&self, order: &Order<'_>, stored: Stored, why: OpError) -> Ended {
        self.pages.free(stored);
        Ended::Refused(self.refuse(order, why))
    }

    /// Refuses a put: counts, and drops the page under the key if the order says so.
    pub(super) fn refuse(&self, order: &Order<'_>, why: OpError) -> OpError {
        let mut shard = self.lock(order.site.shard());
        if !order.client.holds(&order.access) {
            return OpError::NoSuchPool;
        }
        shard.ledger(order.client.number()).count(|counters| counters.puts_refused += 1);
        drop(shard);
        if order.drop_old {
            self.drop_page(order.client, &order.access, &order.site, order.place);
        }
        why
    }

    /// Removes a page without counting it as flushed.
    fn drop_page(&self, client: &ClientState, access: &Access, site: &Site, place: u32) {
        let mut shard = self.lock(site.shard());
        if !client.holds(access) {
            return;
        }
        let found = site.find(&shard);
        let gone = found.and_then(|chunk| shard.unlink(&*self.bank, chunk, place, Gone::Dropped));
        drop(shard);
        self.release(site, gone);
    }

    /// Frees a page that left the index, and its chunk if nothing is in that now.
    pub(super) fn release(&self, site: &Site, gone: Option<(Stored, bool)>) {
        if let Some((stored, idle)) = gone {
            self.pages.free(stored);
            if idle {
                self.reap(site);
            }
        }
    }
}

/// Why a page was not linked under its chunk's locks.
pub(super) enum NotLinked {
    Refused(OpError, Stored),
    /// Nothing tells of the chunk yet.
    Orphan(Stored),
}
