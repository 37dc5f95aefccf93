//! Where a key is: its shard, its chunk, its place in the chunk; and the two locks that creating a chunk takes.

use super::Store;
use super::control::Word;
use super::shard::Shard;
use crate::index::{ChunkKey, SPAN};
use crate::key::ObjectId;
use crate::sync::MutexGuard;

/// The shard number is taken from these bits of a hash and up: the index uses the lowest bits and the top eight.
const SHARD_BITS: u32 = 40;

/// A chunk of an object, and where it and the object's chunk 0 are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) key: ChunkKey,
    pub(super) hash: u64,
    pub(super) shard: usize,
    /// The object's hash, which is that of its chunk 0.
    pub(super) home_hash: u64,
    pub(super) home: usize,
}

impl Store {
    /// The chunk that holds page `index` of an object.
    pub(super) fn site(&self, word: Word, object: ObjectId, index: u32) -> Site {
        let home_hash = self.names.object(word.pool(), &object);
        self.site_of(ChunkKey { pool: word.pool(), object, number: index / SPAN }, home_hash)
    }

    /// The chunk of that name.
    pub(super) fn site_of(&self, key: ChunkKey, home_hash: u64) -> Site {
        let hash = self.names.chunk(home_hash, key.number);
        Site { key, hash, shard: self.shard_of(hash), home_hash, home: self.shard_of(home_hash) }
    }

    fn shard_of(&self, hash: u64) -> usize {
        (hash >> SHARD_BITS) as usize & (self.shards.len() - 1)
    }

    /// Locks the chunk's shard and that of its object's chunk 0, the lower number first.
    pub(super) fn lock_both(&self, site: &Site) -> Both<'_> {
        match site.shard.cmp(&site.home) {
            std::cmp::Ordering::Equal => Both { far: self.shard(site.shard).lock(), home: None },
            std::cmp::Ordering::Less => {
                let far = self.shard(site.shard).lock();
                Both { far, home: Some(self.shard(site.home).lock()) }
            }
            std::cmp::Ordering::Greater => {
                let home = self.shard(site.home).lock();
                Both { far: self.shard(site.shard).lock(), home: Some(home) }
            }
        }
    }

    /// Removes a chunk that has no pages, and its object's chunk 0 when that has none either. Called with no lock held,
    /// after the last page of a chunk went; pages may have come meanwhile.
    pub(super) fn reap(&self, site: &Site) {
        let mut both = self.lock_both(site);
        let ledger = &*self.books;
        let mut last = true;
        if site.key.number != 0 {
            let far = &mut *both.far;
            match far.index.find(site.hash, &site.key) {
                Some(chunk) if far.index.header(chunk).map == 0 => far.destroy_chunk(ledger, chunk),
                _ => return,
            }
            let home = both.home();
            let Some(chunk) = home.index.find(site.home_hash, &home_key(&site.key)) else { return };
            last = home.unregister(ledger, chunk, site.key.number);
        }
        let home = both.home();
        if last
            && let Some(chunk) = home.index.find(site.home_hash, &home_key(&site.key))
            && home.index.header(chunk).map == 0
            && home.next_further(&home.index.header(chunk), 0).is_none()
        {
            home.destroy_chunk(ledger, chunk);
        }
    }
}

/// The name of an object's chunk 0.
pub(super) fn home_key(key: &ChunkKey) -> ChunkKey {
    ChunkKey { number: 0, ..*key }
}

/// Two locked shards, or one that is both.
pub(super) struct Both<'a> {
    pub(super) far: MutexGuard<'a, Shard>,
    home: Option<MutexGuard<'a, Shard>>,
}

impl Both<'_> {
    pub(super) fn home(&mut self) -> &mut Shard {
        match &mut self.home {
            Some(home) => home,
            None => &mut self.far,
        }
    }
}
