//! Chunks as a whole: made, told of, charged, removed.

use super::{Bank, Shard};
use crate::account::Denied;
use crate::index::{CHUNK_BYTES, ChunkKey, Header, NOBODY, SPAN};
use crate::key::Kind;

/// What a chunk of a shared pool costs: itself, and all nodes up to the object's root, because members share those and any
/// of them may leave.
fn shared_bytes(key: &ChunkKey) -> u64 {
    let (mut bytes, mut key) = (CHUNK_BYTES, *key);
    while !key.is_root() {
        (key, _) = key.parent();
        bytes += CHUNK_BYTES;
    }
    bytes
}

impl Shard {
    /// The number of a chunk or a node.
    pub(in crate::store) fn find(&self, hash: u64, key: &ChunkKey) -> Option<u32> {
        self.index.find(hash, key)
    }

    /// What is told of at a node: which of 64 things below it are there. Nothing when there is no such node.
    pub(in crate::store) fn told(&self, hash: u64, key: &ChunkKey) -> u64 {
        self.find(hash, key).map_or(0, |chunk| {
            let header = self.index.header(chunk);
            if key.is_root() { u64::from(header.tops()) } else { header.map() }
        })
    }

    /// Adds a chunk or a node. In a private pool its client is charged for it now, in a shared one with its first page.
    pub(in crate::store) fn create(
        &mut self,
        bank: Bank<'_>,
        hash: u64,
        key: ChunkKey,
        kind: Kind,
        client: u16,
    ) -> Result<u32, Denied> {
        let owner = if kind == Kind::Shared { NOBODY } else { client };
        if owner != NOBODY {
            self.ledger(owner).charge(bank, kind, CHUNK_BYTES, CHUNK_BYTES)?;
        }
        let made = self.index.create(hash, key, owner, kind, &|| bank.frame());
        if made.is_err() && owner != NOBODY {
            self.ledger(owner).refund(bank, kind, CHUNK_BYTES, CHUNK_BYTES);
        }
        made.map_err(|_| Denied::Cap)
    }

    /// Notes at a node that what `bit` stands for is there.
    pub(in crate::store) fn tell(&mut self, chunk: u32, bit: u32) {
        self.index.tell(chunk, bit);
    }

    /// Notes that it is there no more. True when nothing else is.
    pub(in crate::store) fn untell(&mut self, chunk: u32, bit: u32) -> bool {
        self.index.untell(chunk, bit)
    }

    /// Removes a chunk or a node if nothing is in it or under it. True when it is gone.
    pub(in crate::store) fn destroy_if_idle(&mut self, bank: Bank<'_>, chunk: u32) -> bool {
        let header = self.index.header(chunk);
        let idle = header.is_idle();
        if idle {
            self.destroy(bank, chunk, &header);
        }
        idle
    }

    /// Removes a chunk that has no pages, or a node whatever is under it.
    fn destroy(&mut self, bank: Bank<'_>, chunk: u32, header: &Header) {
        self.index.destroy(chunk);
        if header.owner() != NOBODY {
            let bytes = charged(header);
            self.ledger(header.owner()).refund(bank, header.kind(), bytes, bytes);
        }
    }

    /// Charges the first page of a chunk in a shared pool for the chunk.
    pub(super) fn adopt(
        &mut self,
        bank: Bank<'_>,
        chunk: u32,
        header: &mut Header,
        client: u16,
    ) -> Result<(), Denied> {
        if header.kind() == Kind::Shared && header.owner() == NOBODY {
            let bytes = shared_bytes(header.key());
            self.ledger(client).charge(bank, Kind::Shared, bytes, bytes)?;
            self.index.set_owner(chunk, client);
            *header = self.index.header(chunk);
        }
        Ok(())
    }

    /// Ends that when the last page of the chunk is gone.
    pub(super) fn abandon(&mut self, bank: Bank<'_>, chunk: u32, header: &mut Header) {
        if header.kind() == Kind::Shared && header.map() == 0 && header.owner() != NOBODY {
            let bytes = shared_bytes(header.key());
            self.ledger(header.owner()).refund(bank, Kind::Shared, bytes, bytes);
            self.index.set_owner(chunk, NOBODY);
            *header = self.index.header(chunk);
        }
    }

    /// Charges a chunk of a shared pool to whoever has a page in it and room for it under its cap, instead of `client`.
    /// False when nobody has: then the pages have to go.
    pub(in crate::store) fn hand_over(&mut self, bank: Bank<'_>, chunk: u32, client: u16) -> bool {
        let header = self.index.header(chunk);
        if header.owner() != client || header.map() == 0 {
            return true;
        }
        let bytes = shared_bytes(header.key());
        for place in 0..SPAN {
            let Some(heir) = self.index.entry(&header, place).map(|entry| entry.owner()) else { continue };
            if heir != client && self.ledger(heir).charge(bank, Kind::Shared, bytes, bytes).is_ok() {
                self.ledger(client).refund(bank, Kind::Shared, bytes, bytes);
                self.index.set_owner(chunk, heir);
                return true;
            }
        }
        false
    }

    /// The first chunk in a pool's list.
    pub(in crate::store) fn first_of(&self, pool: u32) -> Option<u32> {
        self.index.first_of(pool)
    }

    /// Removes a chunk of a pool that nobody can reach, unless it has pages. True when it is gone.
    pub(in crate::store) fn destroy_unreachable(&mut self, bank: Bank<'_>, chunk: u32) -> bool {
        let header = self.index.header(chunk);
        let empty = header.key().level > 0 || header.map() == 0;
        if empty {
            self.destroy(bank, chunk, &header);
        }
        empty
    }

    /// The header of a chunk, if the number is one's.
    pub(in crate::store) fn chunk_if_any(&self, chunk: u32) -> Option<Header> {
        self.index.chunk_if_any(chunk)
    }

    /// The places of a client's pages in a chunk.
    pub(in crate::store) fn places_of(&self, header: &Header, client: u16) -> u64 {
        if header.key().level > 0 {
            return 0;
        }
        let owns =
            |place: &u32| self.index.entry(header, *place).is_some_and(|entry| entry.owner() == client);
        (0..SPAN).filter(owns).fold(0, |map, place| map | 1 << place)
    }

    /// Moves the arrays of a few chunks out of frames that are nearly empty. Tells how many, and whether it came round.
    pub(in crate::store) fn tidy(&mut self) -> (u32, bool) {
        let end = self.index.chunk_numbers();
        let mut moved = 0;
        for _ in 0..super::SCAN.min(end) {
            if self.tidy_hand >= end {
                self.tidy_hand = 0;
                return (moved, true);
            }
            if let Some(mut header) = self.index.chunk_if_any(self.tidy_hand)
                && header.key().level == 0
            {
                moved += u32::from(self.index.tidy(self.tidy_hand, &mut header));
            }
            self.tidy_hand += 1;
        }
        (moved, end == 0)
    }
}

/// What the chunk's owner is charged for it, without its entries.
fn charged(header: &Header) -> u64 {
    if header.kind() == Kind::Shared { shared_bytes(header.key()) } else { CHUNK_BYTES }
}
