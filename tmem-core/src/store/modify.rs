//! Operations that depend on the page that is there: write and exchange.
//!
//! The page is read, the new one is made with no lock held, and it is linked only if the chunk has not changed since.
//! After a few failures the client is one that races with itself; it is refused like a put without room.

use super::Store;
use super::control::ClientState;
use super::link::{Expect, Linked};
use crate::error::OpError;
use crate::index::SPAN;
use crate::key::{Key, PoolId};
use crate::page::{PAGE_SIZE, Page, PageRange};

/// Attempts against other operations on the same 64 pages.
const ATTEMPTS: u32 = 256;

impl Store {
    pub(crate) fn write(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        range: PageRange,
        page: &Page,
    ) -> Result<(), OpError> {
        let word = client.word(pool.get())?;
        let site = self.site(word, key.object, key.index);
        let slot = key.index % SPAN;
        for _ in 0..ATTEMPTS {
            let mut new = [0; PAGE_SIZE];
            let seen = match self.look(client, word, &site, slot, &mut new, false) {
                Ok(seen) => seen,
                Err(why) => return Err(self.refuse(client, word, &site, slot, why, true)),
            };
            range.copy(page, &mut new);
            let Ok(stored) = self.create(client, &new) else {
                return Err(self.refuse(client, word, &site, slot, OpError::NoMemory, true));
            };
            let expect = if seen.found { Expect::Version(seen.version) } else { Expect::Absent };
            match self.link(client, word, &site, slot, stored, expect, true) {
                Linked::Changed(stored) => self.pages.free(stored),
                Linked::Refused(why, ..) => return Err(why),
                Linked::Done(_) | Linked::Full(_) => return Ok(()),
            }
        }
        Err(self.refuse(client, word, &site, slot, OpError::NoMemory, true))
    }

    pub(crate) fn xchg(
        &self,
        client: &ClientState,
        pool: PoolId,
        key: &Key,
        page: &mut Page,
    ) -> Result<bool, OpError> {
        let word = client.word(pool.get())?;
        let site = self.site(word, key.object, key.index);
        let slot = key.index % SPAN;
        for _ in 0..ATTEMPTS {
            let mut old = [0; PAGE_SIZE];
            let seen = match self.look(client, word, &site, slot, &mut old, false) {
                Ok(seen) => seen,
                Err(why) => return Err(self.refuse(client, word, &site, slot, why, false)),
            };
            let Ok(stored) = self.create(client, page) else {
                return Err(self.refuse(client, word, &site, slot, OpError::NoMemory, false));
            };
            let expect = if seen.found { Expect::Version(seen.version) } else { Expect::Absent };
            match self.link(client, word, &site, slot, stored, expect, false) {
                Linked::Changed(stored) => self.pages.free(stored),
                Linked::Refused(why, ..) => return Err(why),
                Linked::Done(_) | Linked::Full(_) => {
                    if seen.found {
                        *page = old;
                    }
                    return Ok(seen.found);
                }
            }
        }
        Err(self.refuse(client, word, &site, slot, OpError::NoMemory, false))
    }
}
