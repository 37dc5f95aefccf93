//! Removing pages: one, a range, an object.
//!
//! A range is walked chunk by chunk in ascending order, along what nodes tell, each chunk under its own lock and in steps of
//! a budget: every page that was stored before the first step is gone after the last one. What a step removed is gone at
//! once, so who comes again with the same range goes on where it ended.

use super::Store;
use super::clients::{Access, ClientState};
use super::shard::Gone;
use super::site::Site;
use crate::error::OpError;
use crate::index::{SPAN, TOP};
use crate::key::{Key, ObjectId, PoolId};
use crate::usage::Flushed;

/// One more than the highest chunk number.
const CHUNKS: u64 = 1 << 26;

/// Pages that are one more step.
const PAGES_A_STEP: u32 = 16;
/// Steps that are enough to come to a chunk from an object's root, and so further each time.
const LEAST: u32 = 16;

/// What looking for a chunk found.
enum Next {
    /// Chunks that there are: the number of the first of 64, and which.
    Chunks(u32, u64),
    /// None from the number on.
    None,
    /// The steps ended.
    Tired,
}

impl Store {
    pub(crate) fn flush_page(&self, client: &ClientState, pool: PoolId, key: &Key) -> Result<u64, OpError> {
        let access = client.access(pool)?;
        let site = self.site(&access, key.object, key.index);
        let mut shard = self.lock(site.shard());
        if !client.holds(&access) {
            return Err(OpError::NoSuchPool);
        }
        let Some(chunk) = site.find(&shard) else { return Ok(0) };
        let gone = shard.unlink(&*self.bank, chunk, key.index % SPAN, Gone::Dropped);
        let count = u64::from(gone.is_some());
        shard.ledger(client.number()).count(|counters| counters.flushed_pages += count);
        drop(shard);
        self.release(&site, gone);
        Ok(count)
    }

    /// Removes pages `first..=last` of an object, in at most `steps` steps of a chunk or 16 pages each.
    pub(crate) fn flush_between(
        &self,
        client: &ClientState,
        pool: PoolId,
        object: ObjectId,
        (first, last): (u32, u32),
        mut steps: u32,
    ) -> Result<Flushed, OpError> {
        let access = client.access(pool)?;
        let root = self.site(&access, object, 0);
        steps = steps.max(LEAST);
        let mut pages = 0;
        let mut at = first / SPAN;
        if at == 0 {
            let (count, more) = self.flush_chunk(client, &access, &root, (first, last), &mut steps)?;
            if more {
                return Ok(Flushed { pages: count, more });
            }
            (pages, at) = (count, 1);
        }
        while at <= last / SPAN {
            let (base, mut map) = match self.next_chunks(client, &access, &root, at, &mut steps)? {
                Next::Chunks(base, map) => (base, map),
                Next::None => break,
                Next::Tired => return Ok(Flushed { pages, more: true }),
            };
            while map != 0 {
                let number = base + map.trailing_zeros();
                if number > last / SPAN {
                    return Ok(Flushed { pages, more: false });
                }
                let site = self.sibling(&root, 0, number);
                let (count, more) = self.flush_chunk(client, &access, &site, (first, last), &mut steps)?;
                pages += count;
                if more {
                    return Ok(Flushed { pages, more });
                }
                map &= map - 1;
            }
            at = base + SPAN;
        }
        Ok(Flushed { pages, more: false })
    }

    /// Removes a chunk's pages in the range; returns how many, and whether there are more than there were steps.
    fn flush_chunk(
        &self,
        client: &ClientState,
        access: &Access,
        site: &Site,
        (first, last): (u32, u32),
        steps: &mut u32,
    ) -> Result<(u64, bool), OpError> {
        let start = site.key().number * SPAN;
        let low = first.saturating_sub(start).min(SPAN - 1);
        let high = last.saturating_sub(start).min(SPAN - 1);
        let range = (u64::MAX << low) & (u64::MAX >> (SPAN - 1 - high));
        let mut count = 0;
        while *steps > 0 {
            *steps -= 1;
            let mut shard = self.lock(site.shard());
            if !client.holds(access) {
                return Err(OpError::NoSuchPool);
            }
            let Some(chunk) = site.find(&shard) else { return Ok((count, false)) };
            let removed = shard.unlink_range(&*self.bank, chunk, range);
            count += u64::from(removed.count());
            let flushed = u64::from(removed.count());
            // A chunk with many pages is more work.
            *steps = steps.saturating_sub(removed.count() / PAGES_A_STEP);
            shard.ledger(client.number()).count(|counters| counters.flushed_pages += flushed);
            drop(shard);
            let (more, idle) = (removed.more, removed.idle);
            removed.free(&*self.pages);
            if idle {
                self.reap(site);
            }
            if !more {
                return Ok((count, false));
            }
        }
        Ok((count, true))
    }

    /// The chunks among 64 from number `from` on, in the first 64 that have any. Nodes are read one at a time, upwards and
    /// then down again: what was there all the time is told of at each of them.
    fn next_chunks(
        &self,
        client: &ClientState,
        access: &Access,
        root: &Site,
        from: u32,
        steps: &mut u32,
    ) -> Result<Next, OpError> {
        let (mut at, mut level) = (u64::from(from), 1);
        while at < CHUNKS {
            if *steps == 0 {
                return Ok(Next::Tired);
            }
            *steps -= 1;
            // A node spans 64 things of `unit` chunks.
            let unit = 6 * u32::from(level - 1);
            let number = (at >> unit >> 6) as u32;
            let first = at >> unit & 63;
            let map = self.told_at(client, access, &self.sibling(root, level, number))? & u64::MAX << first;
            if map != 0 {
                let child = u64::from(number) << 6 | u64::from(map.trailing_zeros());
                if level == 1 {
                    return Ok(Next::Chunks(number << 6, map));
                }
                at = at.max(child << unit);
                level -= 1;
            } else {
                at = (u64::from(number) + 1) << unit << 6;
                if number > 0 {
                    level += 1;
                    continue;
                }
                // The root tells of the nodes of number 0, each of which begins where the one below it ends.
                let tops = self.told_at(client, access, root)? & u64::MAX << (level + 1);
                level = tops.trailing_zeros() as u8;
                if level > TOP {
                    return Ok(Next::None);
                }
                at = at.max(1 << (6 * u32::from(level - 1)));
            }
        }
        Ok(Next::None)
    }

    fn told_at(&self, client: &ClientState, access: &Access, node: &Site) -> Result<u64, OpError> {
        let shard = self.lock(node.shard());
        if !client.holds(access) {
            return Err(OpError::NoSuchPool);
        }
        Ok(shard.told(node.hash(), node.key()))
    }
}
