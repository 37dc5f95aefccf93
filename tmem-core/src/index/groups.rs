//! A hash table of chunk numbers that costs one cache miss to look in.
//!
//! A group is one cache line: a byte of the hash of each of twelve chunks, their numbers, and how many chunks belong here
//! that are in a group further on because this one was full (the layout of F14: N. Bronson and X. Shi, "Open-sourcing F14",
//! 2019). A shard's table does not stay in the caches of a processor that copies pages, so what counts is how many lines
//! are asked for one after the other.

use crate::pages::NoRoom;

/// Chunks in a group.
const ROOM: usize = 12;
/// The table grows when there are so many chunks for each group.
const FULL: usize = 10;
/// Bytes that a chunk costs here after the table grew, when it is emptiest.
pub(super) const CHUNK_BYTES: u64 = (size_of::<Group>() * 2).div_ceil(FULL) as u64;

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Group {
    /// Bytes 0 to 11, lowest first: tags of the chunks, 0 where there is none. Bytes 12 to 15: chunks that passed by.
    tags: [u32; 4],
    chunks: [u32; ROOM],
}

/// Chunk numbers by hash.
#[derive(Default)]
pub(super) struct Groups {
    /// A power of two, or none.
    groups: Vec<Group>,
    len: usize,
}

impl Group {
    /// Places that have the tag.
    fn places(&self, tag: u8) -> Places {
        const ONES: u128 = 0x0101_0101_0101_0101_0101_0101;
        const LOW: u128 = ONES * 0x7f;
        let [a, b, c, _] = self.tags.map(u128::from);
        let differ = (a | b << 32 | c << 64) ^ (ONES * u128::from(tag));
        // The top bit of each byte that is not zero: of itself, or by a carry out of its other bits.
        let other = ((differ & LOW) + LOW) | differ;
        Places(!other & (ONES << 7))
    }

    fn chunk(&self, place: usize) -> u32 {
        self.chunks.get(place).copied().unwrap_or_default()
    }

    fn set_tag(&mut self, place: usize, tag: u8) {
        if let Some(word) = self.tags.get_mut(place / 4) {
            let at = place % 4 * 8;
            *word = *word & !(0xff << at) | u32::from(tag) << at;
        }
    }

    fn passed(&self) -> u32 {
        self.tags[3]
    }

    /// Puts a chunk into a free place, if there is one.
    fn add(&mut self, tag: u8, chunk: u32) -> bool {
        let Some(place) = self.places(0).next() else { return false };
        self.set_tag(place, tag);
        if let Some(slot) = self.chunks.get_mut(place) {
            *slot = chunk;
        }
        true
    }
}

/// Places in a group, as the top bits of bytes.
struct Places(u128);

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros();
        self.0 &= self.0.wrapping_sub(1);
        (bit < u128::BITS).then_some(bit as usize / 8)
    }
}

/// Where a hash is looked for: its groups one after the other, and its tag. Shards use bits 40 and up, so the group is taken
/// from the lowest, and the tag from the top.
#[derive(Clone, Copy)]
struct Probe {
    at: usize,
    step: usize,
    mask: usize,
    tag: u8,
}

impl Probe {
    fn new(hash: u64, groups: usize) -> Self {
        let mask = groups.wrapping_sub(1);
        let tag = ((hash >> 56) as u8).max(1);
        // An odd step visits all of a power of two.
        Self { at: hash as usize & mask, step: usize::from(tag) * 2 + 1, mask, tag }
    }

    fn go_on(&mut self) {
        self.at = (self.at + self.step) & self.mask;
    }
}

impl Groups {
    /// Chunks there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes of memory that the table holds.
    pub(super) fn held(&self) -> u64 {
        (self.groups.capacity() * size_of::<Group>()) as u64
    }

    /// The chunk of that hash for which `is` holds.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut probe = Probe::new(hash, self.groups.len());
        for _ in 0..self.groups.len() {
            let group = self.groups.get(probe.at)?;
            let mut chunks = group.places(probe.tag).map(|place| group.chunk(place));
            let found = chunks.find(|chunk| is(*chunk));
            if found.is_some() || group.passed() == 0 {
                return found;
            }
            probe.go_on();
        }
        None
    }

    /// Makes room for one more chunk.
    pub(super) fn reserve(&mut self, hash: impl Fn(u32) -> u64) -> Result<(), NoRoom> {
        if self.len < self.groups.len() * FULL {
            return Ok(());
        }
        let want = (self.groups.len() * 2).max(1);
        let mut groups = Vec::new();
        groups.try_reserve_exact(want).map_err(|_| NoRoom)?;
        groups.resize(want, Group::default());
        let old = std::mem::replace(&mut self.groups, groups);
        self.len = 0;
        for group in &old {
            let free = group.places(0).fold(0u32, |map, place| map | 1 << place);
            for place in (0..ROOM).filter(|place| free >> place & 1 == 0) {
                let chunk = group.chunk(place);
                self.insert(hash(chunk), chunk);
            }
        }
        Ok(())
    }

    /// Adds a chunk, for which there is room.
    pub(super) fn insert(&mut self, hash: u64, chunk: u32) {
        let mut probe = Probe::new(hash, self.groups.len());
        while let Some(group) = self.groups.get_mut(probe.at) {
            if group.add(probe.tag, chunk) {
                break;
            }
            group.tags[3] += 1;
            probe.go_on();
        }
        self.len += 1;
    }

    /// Removes a chunk.
    pub(super) fn remove(&mut self, hash: u64, chunk: u32) {
        let first = Probe::new(hash, self.groups.len());
        let mut probe = first;
        for passed in 0..self.groups.len() {
            let Some(group) = self.groups.get_mut(probe.at) else { return };
            let place = group.places(probe.tag).find(|place| group.chunk(*place) == chunk);
            if let Some(place) = place {
                group.set_tag(place, 0);
                self.len -= 1;
                self.forget(first, passed);
                return;
            }
            probe.go_on();
        }
    }

    /// One chunk less has passed by the first groups of a probe.
    fn forget(&mut self, mut probe: Probe, groups: usize) {
        for _ in 0..groups {
            if let Some(group) = self.groups.get_mut(probe.at) {
                group.tags[3] -= 1;
            }
            probe.go_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few different hashes, so that groups overflow.
    fn hash(chunk: u32) -> u64 {
        u64::from(chunk % 97).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn what_is_added_is_found_until_it_is_removed() {
        let mut groups = Groups::default();
        let find = |groups: &Groups, chunk: u32| groups.find(hash(chunk), |found| found == chunk);
        for chunk in 0..5000 {
            assert_eq!(find(&groups, chunk), None);
            groups.reserve(hash).unwrap();
            groups.insert(hash(chunk), chunk);
        }
        assert_eq!(groups.len(), 5000);
        for chunk in (0..5000).step_by(3) {
            groups.remove(hash(chunk), chunk);
        }
        for chunk in 0..5000 {
            assert_eq!(find(&groups, chunk), (chunk % 3 != 0).then_some(chunk));
        }
        (0..5000).filter(|chunk| chunk % 3 != 0).for_each(|chunk| groups.remove(hash(chunk), chunk));
        assert_eq!(groups.len(), 0);
        assert!(groups.groups.iter().all(|group| group.tags == [0; 4]), "nothing is left behind");
    }

    #[test]
    fn every_place_of_a_group_is_told_by_its_tag() {
        let mut group = Group::default();
        for chunk in 0..ROOM as u32 {
            assert!(group.add(chunk as u8 + 1, chunk));
        }
        assert!(!group.add(99, 99));
        for place in 0..ROOM {
            assert_eq!(group.places(place as u8 + 1).collect::<Vec<_>>(), [place]);
        }
        group.set_tag(5, 0);
        group.set_tag(6, 1);
        assert_eq!(group.places(0).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn the_emptiest_table_costs_what_is_charged() {
        let mut groups = Groups::default();
        for chunk in 0..3000 {
            groups.reserve(|chunk| u64::from(chunk) << 3).unwrap();
            groups.insert(u64::from(chunk) << 3, chunk);
            if groups.groups.len() > 1 {
                assert!(groups.held() <= CHUNK_BYTES * groups.len() as u64);
            }
        }
    }
}
