//! Operations that depend on the page that is there: write and exchange.
//!
//! The page is read, the new one is made with no lock held, and it is linked only if the chunk has not changed since. A
//! modification that loses so too often does all of it under its chunk's locks, which nobody can win against: it is
//! refused for want of room only, never for having rivals.

use super::Store;
use super::clients::ClientState;
use super::put::{Ended, NotLinked, Order, TRIES};
use super::shard::Expect;
use super::site::{Both, NoChunk};
use crate::error::OpError;
use crate::key::{Key, PoolId};
use crate::page::{PAGE_SIZE, Page, PageRange};
use crate::pages::{Damaged, NoRoom};

/// Attempts against other operations on the same 64 pages before their shard is kept locked. Each costs about as much
/// as a put, which rivals do not wait for.
const ATTEMPTS: u32 = 16;

/// What becomes of the page.
#[derive(Clone, Copy)]
enum Change<'a> {
    /// A range of it is replaced. A refusal drops the page.
    Write(PageRange, &'a Page),
    /// All of it is replaced. A refusal keeps the page.
    Swap(&'a Page),
}

impl Change<'_> {
    fn apply(&self, old: &Page) -> Page {
        match *self {
            Change::Write(range, page) => {
                let mut new = *old;
                range.copy(page, &mut new);
                new
            }
            Change::Swap(page) => *page,
        }
    }

    fn refusal_drops(&self) -> bool {
        matches!(self, Change::Write(..))
    }
}

impl Store {
    pub(crate) fn write(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        range: PageRange,
        page: &Page,
    ) -> Result<(), OpError> {
        self.modify(client, pool, key, Change::Write(range, page)).map(|_| ())
    }

    pub(crate) fn xchg(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        page: &mut Page,
    ) -> Result<bool, OpError> {
        let old = self.modify(client, pool, key, Change::Swap(page))?;
        Ok(old.map(|old| *page = old).is_some())
    }

    /// Changes a page, and returns what it was.
    fn modify(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        change: Change<'_>,
    ) -> Result<Option<Page>, OpError> {
        let mut order = self.order(client, pool, key)?;
        order.drop_old = change.refusal_drops();
        for _ in 0..ATTEMPTS {
            let mut old = [0; PAGE_SIZE];
            let seen = self.look(client, &order.access, &order.site, order.place, &mut old);
            let seen = seen.map_err(|why| self.refuse(&order, why))?;
            let stored = self.create(&order, (&change.apply(&old)).into());
            let stored = stored.map_err(|NoRoom| self.refuse(&order, OpError::NoMemory))?;
            order.expect = seen.map_or(Expect::Absent, |seen| Expect::Version(seen.version));
            match self.link(&order, stored) {
                Ended::Done => return Ok(seen.map(|_| old)),
                Ended::Refused(why) => return Err(why),
                Ended::Changed(stored) => self.pages.free(stored),
                Ended::Full(stored, _) => {
                    self.pages.free(stored);
                    return Err(self.refuse(&order, OpError::NoMemory));
                }
            }
        }
        order.expect = Expect::Any;
        self.modify_alone(&order, change)
    }

    /// Changes a page with its chunk's locks held throughout.
    fn modify_alone(&self, order: &Order<'_>, change: Change<'_>) -> Result<Option<Page>, OpError> {
        for _ in 0..=TRIES {
            let mut both = self.lock_both(&order.site);
            let mut old = [0; PAGE_SIZE];
            let Ok(found) = self.read_locked(order, &mut both, &mut old)? else {
                drop(both);
                return Err(self.refuse(order, OpError::Corrupt));
            };
            let made = self.pages.create((&change.apply(&old)).into());
            let linked = made.map(|stored| self.link_new(order, &mut both, stored));
            drop(both);
            let room = match linked {
                Ok(Ok(linked)) => match self.linked(order, linked) {
                    Ended::Done => return Ok(found.then_some(old)),
                    Ended::Refused(why) => return Err(why),
                    Ended::Changed(stored) => {
                        self.pages.free(stored);
                        true
                    }
                    Ended::Full(stored, denied) => {
                        self.pages.free(stored);
                        self.make_allowance(order.client, order.access.ticket().kind(), denied)
                    }
                },
                Ok(Err(NotLinked::Refused(why, stored))) => {
                    self.pages.free(stored);
                    return Err(self.refuse(order, why));
                }
                Ok(Err(NotLinked::Orphan(stored))) => {
                    self.pages.free(stored);
                    match self.make_parents(order.client, &order.access, &order.site) {
                        Ok(()) => true,
                        Err(NoChunk::Denied(denied)) => {
                            self.make_allowance(order.client, order.access.ticket().kind(), denied)
                        }
                        Err(NoChunk::Refused(why)) => return Err(self.refuse(order, why)),
                    }
                }
                Err(NoRoom) => self.make_room(order.client, order.access.ticket().kind()),
            };
            if !room {
                break;
            }
        }
        self.reap(&order.site);
        Err(self.refuse(order, OpError::NoMemory))
    }

    /// Reads a page, and tells whether there is one.
    fn read_locked(
        &self,
        order: &Order<'_>,
        both: &mut Both<'_>,
        page: &mut Page,
    ) -> Result<Result<bool, Damaged>, OpError> {
        // An operation that was overtaken by the end of its pool must see none of another's pages.
        if !order.client.holds(&order.access) {
            return Err(OpError::NoSuchPool);
        }
        let shard = both.near();
        let Some((entry, _)) = order.site.find(shard).and_then(|chunk| shard.page(chunk, order.place)) else {
            return Ok(Ok(false));
        };
        let fetched = self.pages.fetch(&entry.stored(), page);
        Ok(self.pages.finish(fetched, page).map(|()| true))
    }
}
