//! Operations that depend on the page that is there: write and exchange.
//!
//! The page is read, the new one is made with no lock held, and it is linked only if the chunk has not changed since. A
//! modification that loses so too often does all of it under its chunk's locks, which nobody can win against: it is
//! refused for want of room only, never for having rivals.

use super::Store;
use super::control::ClientState;
use super::link::{Expect, Linked, Order, TRIES};
use super::site::Both;
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
            let seen = self.look(client, order.word, &order.site, order.slot, &mut old, false);
            let seen = seen.map_err(|why| self.refuse(&order, why))?;
            let stored = self.create(client, (&change.apply(&old)).into());
            let stored = stored.map_err(|NoRoom| self.refuse(&order, OpError::NoMemory))?;
            order.expect = if seen.found { Expect::Version(seen.version) } else { Expect::Absent };
            match self.link(&mut order, stored) {
                Linked::Changed(stored) => self.pages.free(stored),
                Linked::Refused(why, ..) => return Err(why),
                Linked::Done(_) | Linked::Full(_) => return Ok(seen.found.then_some(old)),
            }
            order.last = false;
        }
        order.expect = Expect::Any;
        self.modify_alone(&mut order, change)
    }

    /// Changes a page with its chunk's locks held throughout.
    fn modify_alone(&self, order: &mut Order<'_>, change: Change<'_>) -> Result<Option<Page>, OpError> {
        for tries in 1..=TRIES {
            let mut both = self.lock_both(&order.site);
            let mut old = [0; PAGE_SIZE];
            let Ok(found) = self.read_locked(order, &both, &mut old)? else {
                drop(both);
                return Err(self.refuse(order, OpError::Corrupt));
            };
            let made = self.pages.create((&change.apply(&old)).into());
            let linked = made.map(|stored| self.link_both(order, &mut both, stored));
            drop(both);
            let room = match linked.map(|linked| self.freed(order, linked)) {
                Ok(Linked::Done(_)) => return Ok(found.then_some(old)),
                Ok(Linked::Refused(why, ..)) => return Err(why),
                Ok(Linked::Full(stored) | Linked::Changed(stored)) => {
                    self.pages.free(stored);
                    self.make_allowance(order.client)
                }
                Err(NoRoom) => !order.last && self.make_room(order.client),
            };
            if !room && order.last {
                break;
            }
            order.last = !room || tries + 1 == TRIES;
        }
        Err(self.refuse(order, OpError::NoMemory))
    }

    /// Reads a page, and tells whether there is one.
    fn read_locked(
        &self,
        order: &Order<'_>,
        both: &Both<'_>,
        page: &mut Page,
    ) -> Result<Result<bool, Damaged>, OpError> {
        let shard = &*both.far;
        // An operation that was overtaken by the end of its pool must see none of another's pages.
        shard.check(order.word.0, order.word.attach(), order.client.slot).ok_or(OpError::NoSuchPool)?;
        let found = shard.index.find(order.site.hash, &order.site.key);
        let Some(entry) = found.and_then(|chunk| shard.index.entry(&shard.index.header(chunk), order.slot))
        else {
            return Ok(Ok(false));
        };
        let fetched = self.pages.fetch(&entry.stored(), page);
        Ok(self.pages.finish(fetched, page).map(|()| true))
    }
}
