//! A hash table of chunk numbers that costs one cache miss to look in, and that grows by pieces.
//!
//! A group is one cache line: a byte of the hash of each of twelve chunks, their numbers, and how many chunks belong here
//! that are in a group further on because this one was full (the layout of F14: N. Bronson and X. Shi, "Open-sourcing F14",
//! 2019). A shard's table does not stay in the caches of a processor that copies pages, so what counts is how many lines
//! are asked for one after the other.
//!
//! A segment is 21 groups in a third of a frame. One that is full is split by the next bit of its chunks' hashes, and two
//! halves that emptied are put together again (extendible hashing: Fagin et al., 1979), so the table grows by moving at most
//! 252 chunks. The directory has a segment at the number that its first bits make, without leading zeros; what is not
//! there was not split yet, and is found without the highest bit. So it is never copied, either.

use crate::arena::{Arena, At, Heap, NoFrame, Source, Sparse};
use crate::pages::NoRoom;
use crate::steps;

/// Chunks in a group.
const ROOM: usize = 12;
/// Groups in a segment.
const GROUPS: usize = 21;
const SEGMENT_WORDS: usize = GROUPS * size_of::<Group>() / 4;
/// Chunks of a segment that is split.
const FULL: u32 = 210;
/// Chunks of two halves that are put together.
const FEW: u32 = 176;
/// Bytes that a chunk costs here when the table is emptiest.
pub(super) const CHUNK_BYTES: u64 = 4096u64.div_ceil(3 * FEW as u64 / 2);
/// Most bits of a hash that choose a segment; the group is chosen by the bits above these.
const MOST_DEPTH: u32 = 22;
const GROUP_BITS: u32 = 24;

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Group {
    /// Bytes 0 to 11, lowest first: tags of the chunks, 0 where there is none.
    tags: [u32; 3],
    /// Chunks that passed by (16 bits); in a segment's first group also its chunks (8) and its depth (8).
    counts: u32,
    chunks: [u32; ROOM],
}

const PASSED: u32 = 0xffff;
const LEN: u32 = 16;
const DEPTH: u32 = 24;

impl Group {
    /// Places that have the tag.
    fn places(&self, tag: u8) -> Places {
        const ONES: u128 = 0x0101_0101_0101_0101_0101_0101;
        const LOW: u128 = ONES * 0x7f;
        let [a, b, c] = self.tags.map(u128::from);
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
        self.counts & PASSED
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

    /// The chunks that are here.
    fn all(&self) -> impl Iterator<Item = u32> {
        let free = self.places(0).fold(0u32, |map, place| map | 1 << place);
        (0..ROOM).filter(move |place| free >> place & 1 == 0).map(|place| self.chunk(place))
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

fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// The group of a segment that a hash is looked for in first.
fn first_group(hash: u64) -> usize {
    ((hash >> GROUP_BITS & 0xffff) as usize * GROUPS) >> 16
}

/// A segment's groups.
struct Segment<'a>(&'a mut [Group; GROUPS]);

impl Segment<'_> {
    fn insert(&mut self, hash: u64, chunk: u32) {
        let mut at = first_group(hash);
        for _ in 0..GROUPS {
            let Some(group) = self.0.get_mut(at) else { return };
            if group.add(tag(hash), chunk) {
                break;
            }
            group.counts += 1;
            at = (at + 1) % GROUPS;
        }
        self.0[0].counts += 1 << LEN;
    }

    /// Removes a chunk; true if it was there.
    fn remove(&mut self, hash: u64, chunk: u32) -> bool {
        let first = first_group(hash);
        for passed in 0..GROUPS {
            let Some(group) = self.0.get_mut((first + passed) % GROUPS) else { return false };
            let place = group.places(tag(hash)).find(|place| group.chunk(*place) == chunk);
            if let Some(place) = place {
                group.set_tag(place, 0);
                // One chunk less has passed by the groups before.
                for before in 0..passed {
                    if let Some(group) = self.0.get_mut((first + before) % GROUPS) {
                        group.counts -= 1;
                    }
                }
                self.0[0].counts -= 1 << LEN;
                return true;
            }
        }
        false
    }

    fn clear(&mut self, depth: u32) {
        *self.0 = [Group::default(); GROUPS];
        self.0[0].counts = depth << DEPTH;
    }

    fn set_depth(&mut self, depth: u32) {
        self.0[0].counts = self.0[0].counts & ((1 << DEPTH) - 1) | depth << DEPTH;
    }
}

fn len_of(groups: &[Group; GROUPS]) -> u32 {
    groups[0].counts >> LEN & 0xff
}

fn depth_of(groups: &[Group; GROUPS]) -> u32 {
    groups[0].counts >> DEPTH
}

/// Chunk numbers by hash.
pub(super) struct Segments {
    /// Where segments are, plus 1.
    directory: Sparse,
    heap: Heap<1>,
    /// Segments by depth.
    depths: [u32; MOST_DEPTH as usize + 1],
    /// The deepest.
    depth: u32,
    most_depth: u32,
}

/// Where a segment is, as a word of the directory.
fn pack(at: At) -> u32 {
    (at.frame << 2 | u32::from(at.slot)) + 1
}

fn unpack(word: u32) -> At {
    At { frame: (word - 1) >> 2, slot: (word - 1) as u16 & 3 }
}

impl Segments {
    /// A table that may have so many chunks, and some more.
    pub(super) fn new(chunks: u64) -> Self {
        let segments = (chunks / u64::from(FEW / 2)).clamp(256, 1 << (MOST_DEPTH - 1));
        let most_depth = segments.next_power_of_two().ilog2() + 1;
        Self {
            directory: Sparse::new(1 << most_depth),
            heap: Heap::new([SEGMENT_WORDS]),
            depths: [0; MOST_DEPTH as usize + 1],
            depth: 0,
            most_depth,
        }
    }

    /// Chunks there are.
    #[cfg(test)]
    pub(super) fn len(&self, arena: &Arena) -> usize {
        let words = (0..self.directory.len() as u32).map(|at| self.directory.get(arena, at));
        words.filter(|word| *word != 0).map(|word| len_of(self.groups(arena, unpack(word))) as usize).sum()
    }

    /// The segment of a hash: its number in the directory, and where it is.
    fn locate(&self, arena: &Arena, hash: u64) -> Option<(u32, At)> {
        let mut at = (hash & ((1 << self.depth) - 1)) as u32;
        loop {
            let word = self.directory.get(arena, at);
            if word != 0 {
                return Some((at, unpack(word)));
            }
            // Without its highest bit.
            at &= !(1 << at.checked_ilog2()?);
        }
    }

    fn groups<'a>(&'a self, arena: &'a Arena, at: At) -> &'a [Group; GROUPS] {
        let words = self.heap.get(arena, at, 0);
        debug_assert!(words.len() == SEGMENT_WORDS && words.as_ptr().cast::<Group>().is_aligned());
        // SAFETY: the array is as long as the groups, and aligned to a line as every array of whole lines behind the first
        // line of a frame; any words are a group.
        unsafe { &*words.as_ptr().cast() }
    }

    fn segment<'a>(&'a mut self, arena: &'a Arena, at: At) -> Segment<'a> {
        let words = self.heap.get_mut(arena, at, 0);
        debug_assert!(words.len() == SEGMENT_WORDS && words.as_ptr().cast::<Group>().is_aligned());
        // SAFETY: as in groups, and the words are borrowed exclusively.
        Segment(unsafe { &mut *words.as_mut_ptr().cast() })
    }

    /// The chunk of that hash for which `is` holds.
    #[inline]
    pub(super) fn find(&self, arena: &Arena, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        let (_, at) = self.locate(arena, hash)?;
        let groups = self.groups(arena, at);
        let first = first_group(hash);
        for passed in 0..GROUPS {
            let group = groups.get((first + passed) % GROUPS)?;
            let mut chunks = group.places(tag(hash)).map(|place| group.chunk(place));
            let found = chunks.find(|chunk| is(*chunk));
            if found.is_some() || group.passed() == 0 {
                return found;
            }
        }
        None
    }

    /// Makes room for one more chunk of that hash. `rehash` tells the hash of a chunk that is there.
    pub(super) fn reserve(
        &mut self,
        arena: &Arena,
        hash: u64,
        more: Source<'_>,
        rehash: impl Fn(u32) -> u64,
    ) -> Result<(), NoRoom> {
        let Some((number, at)) = self.locate(arena, hash) else { return self.begin(arena, more) };
        let len = len_of(self.groups(arena, at));
        if len < FULL {
            return Ok(());
        }
        // A segment is not quite full when it is split; without memory for that it fills up.
        let _ = self.split(arena, number, at, more, rehash);
        let (_, at) = self.locate(arena, hash).ok_or(NoRoom)?;
        if len_of(self.groups(arena, at)) as usize == GROUPS * ROOM { Err(NoRoom) } else { Ok(()) }
    }

    fn begin(&mut self, arena: &Arena, more: Source<'_>) -> Result<(), NoRoom> {
        let at = self.heap.alloc(arena, 0, more).ok_or(NoRoom)?;
        if self.directory.set(arena, 0, pack(at), more).is_err() {
            self.heap.free(arena, at, 0);
            return Err(NoRoom);
        }
        self.segment(arena, at).clear(0);
        self.depths[0] = 1;
        Ok(())
    }

    fn split(
        &mut self,
        arena: &Arena,
        number: u32,
        at: At,
        more: Source<'_>,
        rehash: impl Fn(u32) -> u64,
    ) -> Result<(), NoFrame> {
        let depth = depth_of(self.groups(arena, at));
        if depth >= self.most_depth {
            return Err(NoFrame);
        }
        let new = self.heap.alloc(arena, 0, more).ok_or(NoFrame)?;
        if self.directory.set(arena, number | 1 << depth, pack(new), more).is_err() {
            self.heap.free(arena, new, 0);
            return Err(NoFrame);
        }
        let old = *self.groups(arena, at);
        self.segment(arena, at).clear(depth + 1);
        self.segment(arena, new).clear(depth + 1);
        for chunk in old.iter().flat_map(Group::all) {
            steps::touch(1);
            let hash = rehash(chunk);
            let half = if hash >> depth & 1 == 1 { new } else { at };
            self.segment(arena, half).insert(hash, chunk);
        }
        self.recount(depth, -1);
        self.recount(depth + 1, 2);
        Ok(())
    }

    fn recount(&mut self, depth: u32, by: i32) {
        if let Some(count) = self.depths.get_mut(depth as usize) {
            *count = count.wrapping_add_signed(by);
        }
        self.depth = self.depths.iter().rposition(|count| *count > 0).unwrap_or_default() as u32;
    }

    /// Adds a chunk, for which there is room.
    pub(super) fn insert(&mut self, arena: &Arena, hash: u64, chunk: u32) {
        if let Some((_, at)) = self.locate(arena, hash) {
            self.segment(arena, at).insert(hash, chunk);
        }
    }

    /// Removes a chunk. `rehash` tells the hash of one that is there.
    pub(super) fn remove(&mut self, arena: &Arena, hash: u64, chunk: u32, rehash: impl Fn(u32) -> u64) {
        let Some((number, at)) = self.locate(arena, hash) else { return };
        if self.segment(arena, at).remove(hash, chunk) {
            self.merge(arena, number, at, rehash);
        }
    }

    /// Puts a segment and its other half together, if both are nearly empty.
    fn merge(&mut self, arena: &Arena, number: u32, at: At, rehash: impl Fn(u32) -> u64) {
        let (len, depth) = (len_of(self.groups(arena, at)), depth_of(self.groups(arena, at)));
        if depth == 0 {
            if len == 0 {
                self.drop_segment(arena, number, at);
                self.recount(0, -1);
            }
            return;
        }
        let other_number = number ^ 1 << (depth - 1);
        let word = self.directory.get(arena, other_number);
        if len >= FEW || word == 0 {
            return;
        }
        let other = unpack(word);
        let groups = self.groups(arena, other);
        if depth_of(groups) != depth || len_of(groups) + len > FEW {
            return;
        }
        let (low, (high_number, high)) =
            if number < other_number { (at, (other_number, other)) } else { (other, (number, at)) };
        let moving = *self.groups(arena, high);
        self.segment(arena, low).set_depth(depth - 1);
        for chunk in moving.iter().flat_map(Group::all) {
            steps::touch(1);
            self.segment(arena, low).insert(rehash(chunk), chunk);
        }
        self.drop_segment(arena, high_number, high);
        self.recount(depth, -2);
        self.recount(depth - 1, 1);
    }

    fn drop_segment(&mut self, arena: &Arena, number: u32, at: At) {
        // Setting a word to zero takes no memory.
        let _ = self.directory.set(arena, number, 0, &|| None);
        self.heap.free(arena, at, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few different hashes, so that groups overflow.
    fn few(chunk: u32) -> u64 {
        u64::from(chunk % 97).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn many(chunk: u32) -> u64 {
        let wide = u128::from(chunk + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (wide >> 64) as u64 ^ wide as u64
    }

    fn insert(segments: &mut Segments, arena: &Arena, hash: fn(u32) -> u64, chunk: u32) {
        segments.reserve(arena, hash(chunk), &|| arena.alloc_block(), hash).unwrap();
        segments.insert(arena, hash(chunk), chunk);
    }

    #[test]
    fn what_is_added_is_found_until_it_is_removed_and_then_nothing_is_held() {
        for (hash, count) in [(few as fn(u32) -> u64, 400), (many, 50_000)] {
            let arena = Arena::new(4096, 0).unwrap();
            let before = arena.count_free();
            let mut segments = Segments::new(100_000);
            let find = |s: &Segments, chunk: u32| s.find(&arena, hash(chunk), |found| found == chunk);
            for chunk in 0..count {
                assert_eq!(find(&segments, chunk), None);
                insert(&mut segments, &arena, hash, chunk);
            }
            assert_eq!(segments.len(&arena), count as usize);
            for chunk in (0..count).filter(|chunk| chunk % 3 != 0) {
                segments.remove(&arena, hash(chunk), chunk, hash);
            }
            for chunk in 0..count {
                assert_eq!(find(&segments, chunk), (chunk % 3 == 0).then_some(chunk));
            }
            (0..count).step_by(3).for_each(|chunk| segments.remove(&arena, hash(chunk), chunk, hash));
            assert_eq!((segments.len(&arena), segments.depth, arena.count_free()), (0, 0, before));
        }
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
        assert_eq!(group.all().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn the_emptiest_table_costs_what_is_charged() {
        let arena = Arena::new(4096, 0).unwrap();
        let mut segments = Segments::new(100_000);
        let held = |s: &Segments| u64::from(s.heap.frames()) * 4096;
        for chunk in 0..30_000 {
            insert(&mut segments, &arena, many, chunk);
            assert!(held(&segments) <= CHUNK_BYTES * u64::from(chunk + 1) + 3 * 4096);
        }
        for chunk in 0..30_000 {
            segments.remove(&arena, many(chunk), chunk, many);
            // Frames that are shared by segments of which one is gone.
            assert!(held(&segments) <= 3 * CHUNK_BYTES * u64::from(30_000 - chunk) + 2 * 4096);
        }
    }

    #[test]
    fn without_memory_a_segment_fills_up_and_then_refuses() {
        let arena = Arena::new(64, 0).unwrap();
        let mut segments = Segments::new(100_000);
        let mut added = 0;
        loop {
            let hash = many(added);
            let more = || if added == 0 { arena.alloc_block() } else { None };
            if segments.reserve(&arena, hash, &more, many).is_err() {
                break;
            }
            segments.insert(&arena, hash, added);
            added += 1;
        }
        // The first frame has three segments, and the directory was there.
        assert!((400..=3 * 252).contains(&added), "{added}");
        assert!((0..added).all(|chunk| segments.find(&arena, many(chunk), |c| c == chunk).is_some()));
    }
}
