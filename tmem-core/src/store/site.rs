//! Where a chunk is, the locks that making and removing one take, and the nodes that tell of it.
//!
//! Nodes stand in the shards of their own hashes, so an object's chunks spread over shards without anybody who knows of all
//! of them. Whatever is there is told of by its parent, and the parent's by its own, up to the object's root: both are
//! locked when one is made or removed, the shard with the lower number first, and parents are made before children.

use super::Store;
use super::clients::{Access, ClientState};
use super::shard::Shard;
use crate::account::Denied;
use crate::error::OpError;
use crate::index::{ChunkKey, SPAN, TOP};
use crate::key::ObjectId;
use crate::sync::MutexGuard;

/// The shard number is taken from these bits of a hash and up: the index uses the lowest 40 and the top eight.
const SHARD_BITS: u32 = 40;

/// A chunk of an object or a node of its chunks, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    key: ChunkKey,
    hash: u64,
    shard: usize,
    /// The object's hash.
    object: u64,
}

impl Site {
    pub(super) fn key(&self) -> &ChunkKey {
        &self.key
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn shard(&self) -> usize {
        self.shard
    }

    /// The chunk's number, if it is there.
    pub(super) fn find(&self, shard: &Shard) -> Option<u32> {
        shard.find(self.hash, &self.key)
    }
}

/// What a chunk could not be made for.
pub(super) enum NoChunk {
    Denied(Denied),
    Refused(OpError),
}

impl Store {
    /// The chunk that holds page `index` of an object.
    pub(super) fn site(&self, access: &Access, object: ObjectId, index: u32) -> Site {
        let pool = access.ticket().pool();
        let hash = self.hashes.object(pool, &object);
        self.site_of(ChunkKey::chunk(pool, object, index / SPAN), hash)
    }

    /// The chunk or node of that name.
    fn site_of(&self, key: ChunkKey, object: u64) -> Site {
        let hash = self.hashes.chunk(object, key.level, key.number);
        let shard = (hash >> SHARD_BITS) as usize & (self.shards.len() - 1);
        Site { key, hash, shard, object }
    }

    /// The site of a chunk whose name was read from the index.
    pub(super) fn site_from(&self, key: &ChunkKey) -> Site {
        self.site_of(*key, self.hashes.object(key.pool, &key.object))
    }

    /// Another chunk or node of the same object.
    pub(super) fn sibling(&self, site: &Site, level: u8, number: u32) -> Site {
        self.site_of(ChunkKey { level, number, ..site.key }, site.object)
    }

    /// The node that tells of a site, and by which bit.
    fn parent(&self, site: &Site) -> (Site, u32) {
        let (key, bit) = site.key.parent();
        (self.site_of(key, site.object), bit)
    }

    /// Locks a site's shard and that of its parent, the lower number first.
    pub(super) fn lock_both(&self, site: &Site) -> Both<'_> {
        let (parent, bit) = self.parent(site);
        let (near, far);
        match site.shard.cmp(&parent.shard) {
            std::cmp::Ordering::Equal => {
                near = self.lock(site.shard);
                far = None;
            }
            std::cmp::Ordering::Less => {
                near = self.lock(site.shard);
                far = Some(self.lock(parent.shard));
            }
            std::cmp::Ordering::Greater => {
                let first = self.lock(parent.shard);
                near = self.lock(site.shard);
                far = Some(first);
            }
        }
        Both { site: *site, parent, bit, near, far }
    }

    /// Makes a site's chunk under its locks and has its parent tell of it. `None` when it has no parent yet.
    pub(super) fn make(
        &self,
        client: &ClientState,
        access: &Access,
        both: &mut Both<'_>,
    ) -> Option<Result<u32, Denied>> {
        let (site, kind) = (both.site, access.ticket().kind());
        let root = site.key.is_root();
        let above = both.parent;
        let parent = if root { 0 } else { above.find(both.far())? };
        let made = both.near.create(&*self.bank, site.hash, site.key, kind, client.number());
        if made.is_ok() && !root {
            let bit = both.bit;
            both.far().tell(parent, bit);
        }
        Some(made)
    }

    /// Makes what is missing of the nodes above a site, from the object's root down. Somebody may remove one that is empty
    /// before its child is made; then the caller comes again.
    pub(super) fn make_parents(
        &self,
        client: &ClientState,
        access: &Access,
        site: &Site,
    ) -> Result<(), NoChunk> {
        let mut chain = [*site; TOP as usize + 1];
        let (mut at, mut count) = (*site, 0);
        for above in &mut chain {
            if at.key.is_root() {
                break;
            }
            (at, _) = self.parent(&at);
            *above = at;
            count += 1;
        }
        for node in chain.iter().take(count).rev() {
            let mut both = self.lock_both(node);
            if !client.holds(access) {
                return Err(NoChunk::Refused(OpError::NoSuchPool));
            }
            if node.find(&both.near).is_some() {
                continue;
            }
            match self.make(client, access, &mut both) {
                Some(Ok(_)) => {}
                Some(Err(denied)) => return Err(NoChunk::Denied(denied)),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Removes a chunk that has no pages, and what told of it and of nothing else. Called with no lock held, after the last
    /// page of a chunk went or a chunk could not be made; pages may have come meanwhile.
    pub(super) fn reap(&self, site: &Site) {
        let mut at = *site;
        for _ in 0..=TOP + 1 {
            let mut both = self.lock_both(&at);
            let near = at.find(&both.near);
            if let Some(chunk) = near
                && !both.near.destroy_if_idle(&*self.bank, chunk)
            {
                return;
            }
            if at.key.is_root() {
                return;
            }
            let (parent, bit) = (both.parent, both.bit);
            let above = parent.find(both.far());
            if let Some(above) = above
                && near.is_some()
                && !both.far().untell(above, bit)
            {
                return;
            }
            at = parent;
        }
    }
}

/// A site and its parent, locked: two shards, or one that is both.
pub(super) struct Both<'a> {
    site: Site,
    parent: Site,
    bit: u32,
    near: MutexGuard<'a, Shard>,
    far: Option<MutexGuard<'a, Shard>>,
}

impl Both<'_> {
    /// The site's shard.
    pub(super) fn near(&mut self) -> &mut Shard {
        &mut self.near
    }

    /// The parent's.
    fn far(&mut self) -> &mut Shard {
        self.far.as_deref_mut().unwrap_or(&mut self.near)
    }
}
