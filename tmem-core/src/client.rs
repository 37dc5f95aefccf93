//! A client's handle: everything a guest can ask for, and the switches its host has.

use std::sync::Arc;

use crate::config::Share;
use crate::error::{OpError, StoreError};
use crate::key::{Key, ObjectId, PoolId, PoolKind, SharedUuid};
use crate::live::LivePage;
use crate::page::{Page, PageRange};
use crate::store::{ClientState, Store};
use crate::usage::{ClientCounters, ClientUsage, Flushed};

/// One guest's access to a [`Store`]: a handle to clone and share between vCPU threads.
///
/// The client is closed when the last clone is dropped.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Client").field(&self.name()).finish()
    }
}

struct Handle {
    store: Arc<Store>,
    state: Arc<ClientState>,
}

impl Client {
    pub(crate) fn new(store: Arc<Store>, state: Arc<ClientState>) -> Self {
        Self(Arc::new(Handle { store, state }))
    }

    /// Creates a pool, or joins a shared one, under the lowest free number of this client's table.
    ///
    /// # Errors
    /// [`OpError::NotPermitted`], [`OpError::NoFreePool`], [`OpError::NoMemory`], [`OpError::Closed`].
    pub fn new_pool(&self, kind: PoolKind) -> Result<PoolId, OpError> {
        self.0.store.new_pool(&self.0.state, kind)
    }

    /// Destroys a pool, or leaves a shared one. Its keys are gone when this returns.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn destroy_pool(&self, pool: PoolId) -> Result<(), OpError> {
        self.0.store.destroy_pool(&self.0.state, pool)
    }

    /// Stores a page under a key, replacing what was there. A page of a guest is copied once, from where it is.
    ///
    /// # Errors
    /// On any error no page is stored under the key. [`OpError::Frozen`], [`OpError::NoMemory`],
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn put<'p>(&self, pool: PoolId, key: &Key, page: impl Into<LivePage<'p>>) -> Result<(), OpError> {
        self.0.store.put(&self.0.state, pool, key, page.into())
    }

    /// Copies the page under a key to `page`, and tells whether there was one (otherwise `page` is unchanged). A get
    /// from a private ephemeral pool removes the page.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Corrupt`], [`OpError::Closed`].
    pub fn get(&self, pool: PoolId, key: &Key, page: &mut Page) -> Result<bool, OpError> {
        self.0.store.get(&self.0.state, pool, key, page)
    }

    /// Removes a page; 1 when there was one, else 0.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn flush_page(&self, pool: PoolId, key: &Key) -> Result<u64, OpError> {
        self.0.store.flush_page(&self.0.state, pool, key)
    }

    /// Removes all pages of an object, in at most `steps` steps, of a chunk of 64 pages, 16 pages in it, or a node
    /// above chunks each (16 steps if it is less).
    ///
    /// What is gone is gone at once. When there is more, the same call goes on with it; all that was stored before the first
    /// call is gone after the last one.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn flush_object(&self, pool: PoolId, object: ObjectId, steps: u32) -> Result<Flushed, OpError> {
        self.0.store.flush_between(&self.0.state, pool, object, (0, u32::MAX), steps)
    }

    /// Removes the pages `first .. first + count` of an object, as [`flush_object`](Self::flush_object) does. A range that
    /// reaches beyond the last index ends there.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Closed`].
    pub fn flush_range(
        &self,
        pool: PoolId,
        object: ObjectId,
        first: u32,
        count: u64,
        steps: u32,
    ) -> Result<Flushed, OpError> {
        let Some(beyond) = count.checked_sub(1) else {
            return self.0.state.has_pool(pool).map(|()| Flushed::default());
        };
        let last = u64::from(first).saturating_add(beyond).min(u64::from(u32::MAX)) as u32;
        self.0.store.flush_between(&self.0.state, pool, object, (first, last), steps)
    }

    /// Copies a range of a stored page to the same place in `page`, and tells whether there was a page. The page stays
    /// stored, in pools of every kind.
    ///
    /// # Errors
    /// [`OpError::NoSuchPool`], [`OpError::Corrupt`], [`OpError::Closed`].
    pub fn read(&self, pool: PoolId, key: &Key, range: PageRange, page: &mut Page) -> Result<bool, OpError> {
        self.0.store.read(&self.0.state, pool, key, range, page)
    }

    /// Copies a range of `page` to the same place in the stored page. When there is none, one is stored whose rest is
    /// zero.
    ///
    /// # Errors
    /// As [`put`](Self::put), after which no page is stored under the key, and [`OpError::Corrupt`].
    pub fn write(&self, pool: PoolId, key: &Key, range: PageRange, page: &Page) -> Result<(), OpError> {
        self.0.store.write(&self.0.state, pool, key, range, page)
    }

    /// Swaps `page` with the stored page, and tells whether there was one. When there was none, `page` is stored and
    /// left as it is.
    ///
    /// # Errors
    /// As [`put`](Self::put) and [`OpError::Corrupt`], but unlike after a refused put **nothing changed**: the stored
    /// page and `page` are what they were.
    pub fn xchg(&self, pool: PoolId, key: &Key, page: &mut Page) -> Result<bool, OpError> {
        self.0.store.xchg(&self.0.state, pool, key, page)
    }

    /// Refuses puts from now on.
    pub fn freeze(&self) {
        self.0.store.set_frozen(&self.0.state, true);
    }

    /// Accepts puts again.
    pub fn thaw(&self) {
        self.0.store.set_frozen(&self.0.state, false);
    }

    /// What the client holds; zero after it was closed.
    pub fn usage(&self) -> ClientUsage {
        self.0.store.usage(&self.0.state)
    }

    /// What the client has done; zero after it was closed.
    pub fn counters(&self) -> ClientCounters {
        self.0.store.counters(&self.0.state)
    }

    /// The name it was configured with.
    pub fn name(&self) -> &str {
        self.0.state.name()
    }

    /// Changes the cap, in bytes. A client above its new cap stores no more; its ephemeral pages are evicted by
    /// [`Store::maintain`] until it is not, and its persistent ones stay.
    pub fn set_cap(&self, cap_bytes: u64) {
        self.0.store.set_cap(&self.0.state, cap_bytes);
    }

    /// What the client is owed when the store is full.
    pub fn share(&self) -> Share {
        self.0.state.account().share()
    }

    /// Changes what the client is owed when the store is full.
    ///
    /// # Errors
    /// [`StoreError::Config`] for a weight out of range, and for more reserved than there is.
    pub fn set_share(&self, share: Share) -> Result<(), StoreError> {
        self.0.store.set_share(&self.0.state, share)
    }

    /// Lets the client join the shared pool of that name.
    pub fn allow_shared(&self, uuid: SharedUuid) {
        self.0.store.allow_shared(&self.0.state, uuid);
    }

    /// Forbids the shared pool of that name, and expels the client from it if it had joined.
    pub fn revoke_shared(&self, uuid: SharedUuid) {
        self.0.store.revoke_shared(&self.0.state, uuid);
    }

    /// Evicts up to `pages` of the client's ephemeral pages, in the order of its policy, and tells how many went: for an
    /// embedder that wants memory back from this guest rather than from all.
    pub fn shrink(&self, pages: u32) -> u32 {
        self.0.store.shrink(&self.0.state, pages)
    }

    /// Ends the client: the guest is gone. Its pools disappear at once, their memory is released by
    /// [`Store::maintain`], and every later operation is refused.
    pub fn close(&self) {
        self.0.store.close(&self.0.state);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.store.close(&self.state);
    }
}
