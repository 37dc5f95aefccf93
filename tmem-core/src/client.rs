//! A client's handle: everything a guest can ask for, and the switches its host has.

use std::sync::Arc;

use crate::error::OpError;
use crate::key::{Key, ObjectId, PoolId, PoolKind, SharedUuid};
use crate::page::{PAGE_SIZE, Page, PageRange};
use crate::store::{Account, Books, METADATA_PER_PAGE, Pool, Store};
use crate::usage::{ClientCounters, ClientUsage};

/// One guest's access to a [`Store`]: a handle to clone and share between vCPU threads.
///
/// The client is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

struct Handle {
    store: Arc<Store>,
    slot: usize,
}

const PAGE_COST: u64 = PAGE_SIZE as u64 + METADATA_PER_PAGE;

impl Client {
    pub(crate) fn new(store: Arc<Store>, slot: usize) -> Self {
        Self(Arc::new(Handle { store, slot }))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Books, usize) -> Result<R, OpError>) -> Result<R, OpError> {
        f(&mut self.0.store.books.lock(), self.0.slot)
    }

    /// Creates a pool, or joins a shared one, under the lowest free number of this client's table.
    ///
    /// # Errors
    /// [`OpError::NotPermitted`], [`OpError::NoFreePool`], [`OpError::NoMemory`], [`OpError::Closed`].
    pub fn new_pool(&self, kind: PoolKind) -> Result<PoolId, OpError> {
        self.with(|books, slot| {
            let account = books.account(slot)?;
            let allowed = match &kind {
                PoolKind::Persistent => account.config.persistent,
                PoolKind::Ephemeral => account.config.ephemeral,
                PoolKind::Shared(uuid) => account.config.shared.contains(uuid),
            };
            if !allowed {
                return Err(OpError::NotPermitted);
            }
            let free = account.table.iter().position(Option::is_none).ok_or(OpError::NoFreePool)?;
            let joined = match &kind {
                PoolKind::Shared(_) => {
                    books.pools.iter().position(|p| p.as_ref().is_some_and(|p| p.kind == kind))
                }
                _ => None,
            };
            let pool = joined.unwrap_or_else(|| {
                books.pools.push(Some(Pool { kind, members: 0, pages: Default::default() }));
                books.pools.len() - 1
            });
            books.pool_at(pool)?.members += 1;
            if let Some(entry) = books.account(slot)?.table.get_mut(free) {
                *entry = Some(pool);
            }
            Ok(PoolId::new(free as u32))
        })
    }

    /// Destroys a pool, or leaves a shared one. Its keys are gone when this returns.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn destroy_pool(&self, pool: PoolId) -> Result<(), OpError> {
        self.with(|books, slot| books.leave(slot, pool))
    }

    /// Stores a page under a key, replacing what was there.
    ///
    /// # Errors
    /// On any error no page is stored under the key. [`OpError::Frozen`], [`OpError::NoMemory`],
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn put(&self, pool: PoolId, key: &Key, page: &Page) -> Result<(), OpError> {
        self.with(|books, slot| books.put(slot, pool, key, page))
    }

    /// Copies the page under a key to `page`, and tells whether there was one (otherwise `page` is unchanged). A get
    /// from a private ephemeral pool removes the page.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Corrupt`], [`OpError::Closed`].
    pub fn get(&self, pool: PoolId, key: &Key, page: &mut Page) -> Result<bool, OpError> {
        self.with(|books, slot| {
            let at = books.lookup(slot, pool)?;
            let kind = books.pool_at(at)?.kind;
            let found = books.look(slot, at, key, |stored| *page = *stored)?;
            if found && kind == PoolKind::Ephemeral {
                books.remove(at, key)?;
            }
            Ok(found)
        })
    }

    /// Removes a page; 1 when there was one, else 0.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn flush_page(&self, pool: PoolId, key: &Key) -> Result<u64, OpError> {
        self.flush_range(pool, key.object, key.index, 1)
    }

    /// Removes all pages of an object and tells how many there were.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn flush_object(&self, pool: PoolId, object: ObjectId) -> Result<u64, OpError> {
        self.flush_range(pool, object, 0, 1 << 32)
    }

    /// Removes the pages `first .. first + count` of an object and tells how many there were. A range that reaches
    /// beyond the last index ends there.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn flush_range(
        &self,
        pool: PoolId,
        object: ObjectId,
        first: u32,
        count: u64,
    ) -> Result<u64, OpError> {
        let Some(last) =
            count.checked_sub(1).map(|n| u64::from(first).saturating_add(n).min(u64::from(u32::MAX)))
        else {
            return self.with(|books, slot| books.lookup(slot, pool).map(|_| 0));
        };
        self.with(|books, slot| {
            let at = books.lookup(slot, pool)?;
            let range = Key::new(object, first)..=Key::new(object, last as u32);
            let keys: Vec<Key> = books.pool_at(at)?.pages.range(range).map(|(k, _)| *k).collect();
            for key in &keys {
                books.remove(at, key)?;
            }
            books.account(slot)?.counters.flushed_pages += keys.len() as u64;
            Ok(keys.len() as u64)
        })
    }

    /// Copies a range of a stored page to the same place in `page`, and tells whether there was a page. The page stays
    /// stored, in pools of every kind.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Corrupt`], [`OpError::Closed`].
    pub fn read(&self, pool: PoolId, key: &Key, range: PageRange, page: &mut Page) -> Result<bool, OpError> {
        self.with(|books, slot| {
            let at = books.lookup(slot, pool)?;
            books.look(slot, at, key, |stored| range.copy(stored, page))
        })
    }

    /// Copies a range of `page` to the same place in the stored page. When there is none, one is stored whose rest is
    /// zero.
    ///
    /// # Errors
    /// As [`put`](Self::put), after which no page is stored under the key, and [`OpError::Corrupt`].
    pub fn write(&self, pool: PoolId, key: &Key, range: PageRange, page: &Page) -> Result<(), OpError> {
        self.with(|books, slot| {
            let at = books.lookup(slot, pool)?;
            let mut new = [0; PAGE_SIZE];
            if let Some((_, old)) = books.pool_at(at)?.pages.get(key) {
                new = **old;
            }
            range.copy(page, &mut new);
            books.put(slot, pool, key, &new)
        })
    }

    /// Swaps `page` with the stored page, and tells whether there was one. When there was none, `page` is stored and
    /// left as it is.
    ///
    /// # Errors
    /// As [`put`](Self::put) and [`OpError::Corrupt`], but unlike after a refused put **nothing changed**: the stored
    /// page and `page` are what they were.
    pub fn xchg(&self, pool: PoolId, key: &Key, page: &mut Page) -> Result<bool, OpError> {
        self.with(|books, slot| {
            let at = books.lookup(slot, pool)?;
            let new = *page;
            let found = books.look(slot, at, key, |stored| *page = *stored)?;
            let old = *page;
            if let Err(why) = books.put(slot, pool, key, &new) {
                *page = new;
                if found {
                    books.pool_at(at)?.pages.insert(*key, (slot, Box::new(old)));
                    books.count(at, slot, 1)?;
                }
                return Err(why);
            }
            Ok(found)
        })
    }

    /// Refuses puts from now on.
    pub fn freeze(&self) {
        self.set_frozen(true);
    }

    /// Accepts puts again.
    pub fn thaw(&self) {
        self.set_frozen(false);
    }

    fn set_frozen(&self, frozen: bool) {
        if let Some(Some(account)) = self.0.store.books.lock().clients.get_mut(self.0.slot) {
            account.frozen = frozen;
        }
    }

    /// What the client holds; zero after it was closed.
    pub fn usage(&self) -> ClientUsage {
        let books = self.0.store.books.lock();
        let Some(Some(account)) = books.clients.get(self.0.slot) else { return ClientUsage::default() };
        ClientUsage {
            bytes: (account.persistent + account.ephemeral) * PAGE_COST,
            metadata_bytes: (account.persistent + account.ephemeral) * METADATA_PER_PAGE,
            persistent_pages: account.persistent,
            ephemeral_pages: account.ephemeral,
            cap_bytes: account.config.cap_bytes,
            pools: account.table.iter().flatten().count() as u32,
            frozen: account.frozen,
        }
    }

    /// What the client has done; zero after it was closed.
    pub fn counters(&self) -> ClientCounters {
        let books = self.0.store.books.lock();
        books.clients.get(self.0.slot).and_then(Option::as_ref).map(|a| a.counters).unwrap_or_default()
    }

    /// The name it was configured with; empty after it was closed.
    pub fn name(&self) -> String {
        let books = self.0.store.books.lock();
        books
            .clients
            .get(self.0.slot)
            .and_then(Option::as_ref)
            .map(|a| a.config.name.clone())
            .unwrap_or_default()
    }

    /// Changes the cap, in bytes. A client above its new cap keeps its persistent pages and stores no more.
    pub fn set_cap(&self, cap_bytes: u64) {
        if let Some(Some(account)) = self.0.store.books.lock().clients.get_mut(self.0.slot) {
            account.config.cap_bytes = cap_bytes;
        }
    }

    /// Lets the client join the shared pool of that name.
    pub fn allow_shared(&self, uuid: SharedUuid) {
        if let Some(Some(account)) = self.0.store.books.lock().clients.get_mut(self.0.slot)
            && !account.config.shared.contains(&uuid)
        {
            account.config.shared.push(uuid);
        }
    }

    /// Forbids the shared pool of that name, and expels the client from it if it had joined.
    pub fn revoke_shared(&self, uuid: SharedUuid) {
        let _ = self.with(|books, slot| {
            books.account(slot)?.config.shared.retain(|u| *u != uuid);
            let table = books.account(slot)?.table.clone();
            for (id, at) in table.iter().enumerate() {
                if let Some(at) = at
                    && books.pool_at(*at)?.kind == PoolKind::Shared(uuid)
                {
                    books.leave(slot, PoolId::new(id as u32))?;
                }
            }
            Ok(())
        });
    }

    /// Ends the client: the guest is gone. Its pools disappear, and every later operation is refused.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Handle {
    fn close(&self) {
        let mut books = self.store.books.lock();
        let max = books.clients.get(self.slot).and_then(Option::as_ref).map_or(0, |a| a.table.len());
        for id in 0..max {
            let _ = books.leave(self.slot, PoolId::new(id as u32));
        }
        if let Some(account) = books.clients.get_mut(self.slot) {
            *account = None;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Books {
    fn account(&mut self, slot: usize) -> Result<&mut Account, OpError> {
        self.clients.get_mut(slot).and_then(Option::as_mut).ok_or(OpError::Closed)
    }

    fn lookup(&mut self, slot: usize, pool: PoolId) -> Result<usize, OpError> {
        self.account(slot)?.table.get(pool.get() as usize).copied().flatten().ok_or(OpError::NoSuchPool)
    }

    fn pool_at(&mut self, at: usize) -> Result<&mut Pool, OpError> {
        self.pools.get_mut(at).and_then(Option::as_mut).ok_or(OpError::NoSuchPool)
    }

    fn look(&mut self, slot: usize, at: usize, key: &Key, f: impl FnOnce(&Page)) -> Result<bool, OpError> {
        let found = self.pool_at(at)?.pages.get(key).map(|(_, page)| f(page)).is_some();
        let counters = &mut self.account(slot)?.counters;
        counters.gets += 1;
        counters.hits += u64::from(found);
        Ok(found)
    }

    fn count(&mut self, at: usize, owner: usize, by: i64) -> Result<(), OpError> {
        self.pages = self.pages.saturating_add_signed(by as isize);
        let persistent = self.pool_at(at)?.kind == PoolKind::Persistent;
        let account = self.account(owner)?;
        let pages = if persistent { &mut account.persistent } else { &mut account.ephemeral };
        *pages = pages.saturating_add_signed(by);
        Ok(())
    }

    fn remove(&mut self, at: usize, key: &Key) -> Result<bool, OpError> {
        let Some((owner, _)) = self.pool_at(at)?.pages.remove(key) else { return Ok(false) };
        self.count(at, owner, -1)?;
        Ok(true)
    }

    fn put(&mut self, slot: usize, pool: PoolId, key: &Key, page: &Page) -> Result<(), OpError> {
        let at = self.lookup(slot, pool)?;
        self.remove(at, key)?;
        let result = self.room(slot).and_then(|()| {
            self.pool_at(at)?.pages.insert(*key, (slot, Box::new(*page)));
            self.count(at, slot, 1)
        });
        let counters = &mut self.account(slot)?.counters;
        match result {
            Ok(()) => counters.puts += 1,
            Err(_) => counters.puts_refused += 1,
        }
        result
    }

    fn room(&mut self, slot: usize) -> Result<(), OpError> {
        let account = self.account(slot)?;
        if account.frozen {
            return Err(OpError::Frozen);
        }
        if (account.persistent + account.ephemeral + 1) * PAGE_COST > account.config.cap_bytes {
            return if self.evict(Some(slot))? { self.room(slot) } else { Err(OpError::NoMemory) };
        }
        Ok(())
    }

    fn evict(&mut self, from: Option<usize>) -> Result<bool, OpError> {
        let victim = self.pools.iter().enumerate().find_map(|(at, pool)| {
            let pool = pool.as_ref().filter(|p| p.kind != PoolKind::Persistent)?;
            let mut pages = pool.pages.iter();
            pages.find(|(_, (owner, _))| from.is_none_or(|f| f == *owner)).map(|(k, (o, _))| (at, *k, *o))
        });
        let Some((at, key, owner)) = victim else { return Ok(false) };
        self.remove(at, &key)?;
        self.account(owner)?.counters.evicted += 1;
        Ok(true)
    }

    fn leave(&mut self, slot: usize, pool: PoolId) -> Result<(), OpError> {
        let at = self.lookup(slot, pool)?;
        if let Some(entry) = self.account(slot)?.table.get_mut(pool.get() as usize) {
            *entry = None;
        }
        let members = &mut self.pool_at(at)?.members;
        *members -= 1;
        let gone = *members == 0;
        let pages = &self.pool_at(at)?.pages;
        let mine: Vec<Key> = pages.iter().filter(|(_, (o, _))| *o == slot).map(|(k, _)| *k).collect();
        for key in &mine {
            self.remove(at, key)?;
        }
        if gone && let Some(pool) = self.pools.get_mut(at) {
            *pool = None;
        }
        Ok(())
    }
}
