//! The index itself: chunks by name, entries in chunks.

use super::chunk::{self, ChunkKey, EMPTY, Header};
use super::entry::{self, Entry};
use super::groups::{self, Groups};
use super::heap::{At, BLOCK_BYTES, Heap};
use super::{NIL, SPAN};
use crate::arena::{Block, WORDS as BLOCK_WORDS};
use crate::evict::Nodes;
use crate::names::Names;
use crate::pages::NoRoom;

/// A page's place in its shard: chunk number * 64 + index % 64.
pub(super) type Token = u32;

/// Bytes charged for a chunk without entries: its header with its part of a block, and its part of the hash table.
pub(crate) const CHUNK_BYTES: u64 =
    BLOCK_BYTES.div_ceil(BLOCK_WORDS / chunk::WORDS) as u64 + groups::CHUNK_BYTES;

/// Array classes: 2^class entries.
const CLASSES: u8 = 7;
/// The class whose entries stand at their index.
const DIRECT: u8 = 6;
/// A direct array is packed again when it holds so few: 8 below the size that made it direct.
const PACK_AT: u32 = 24;
const LINK: usize = 2;
const LARGEST: usize = (entry::WORDS + LINK) << DIRECT;

/// Words in an array of each class, without links and with them.
const ARRAYS: [usize; 2 * CLASSES as usize] = {
    const PLAIN: usize = entry::WORDS;
    const LINKED: usize = entry::WORDS + LINK;
    [
        PLAIN,
        PLAIN << 1,
        PLAIN << 2,
        PLAIN << 3,
        PLAIN << 4,
        PLAIN << 5,
        PLAIN << 6,
        LINKED,
        LINKED << 1,
        LINKED << 2,
        LINKED << 3,
        LINKED << 4,
        LINKED << 5,
        LINKED << 6,
    ]
};

/// One shard's index.
pub(crate) struct Index {
    names: Names,
    chunks: Groups,
    headers: Heap<1>,
    arrays: Heap<{ 2 * CLASSES as usize }>,
    version: u32,
}

impl Header {
    /// Entries that fit in the array.
    fn room(&self) -> u32 {
        if self.class == EMPTY { 0 } else { 1 << self.class }
    }

    fn heap_class(&self) -> u8 {
        self.class + u8::from(self.linked) * CLASSES
    }

    fn position(&self, slot: u32) -> usize {
        let before = if self.class == DIRECT { slot } else { (self.map & ((1 << slot) - 1)).count_ones() };
        before as usize
    }
}

impl Index {
    pub(crate) fn new(names: Names) -> Self {
        Self {
            names,
            chunks: Groups::default(),
            headers: Heap::new([chunk::WORDS]),
            arrays: Heap::new(ARRAYS),
            version: 0,
        }
    }

    /// Bytes of memory that the index holds.
    pub(crate) fn held(&self) -> u64 {
        self.headers.held() + self.arrays.held() + self.chunks.held()
    }

    /// Chunks there are.
    #[cfg(test)]
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// Finds a chunk.
    pub(crate) fn find(&self, hash: u64, key: &ChunkKey) -> Option<u32> {
        self.chunks.find(hash, |chunk| self.header(chunk).key == *key)
    }

    /// The header of a chunk.
    pub(crate) fn header(&self, chunk: u32) -> Header {
        Header::load(self.headers.get(at(chunk), 0).as_array().expect("the class has a header's words"))
    }

    fn save(&mut self, chunk: u32, header: &mut Header) {
        self.version = self.version.wrapping_add(1);
        header.version = self.version;
        let words = self.headers.get_mut(at(chunk), 0);
        header.save(words.as_mut_array().expect("the class has a header's words"));
    }

    /// Adds an empty chunk, at the head of its pool's list.
    pub(crate) fn create(
        &mut self,
        hash: u64,
        key: ChunkKey,
        owner: u16,
        linked: bool,
        list: &mut u32,
        more: impl FnOnce() -> Option<Block>,
    ) -> Result<u32, NoRoom> {
        let (names, headers) = (&self.names, &self.headers);
        let rehash = |chunk| {
            let words = headers.get(at(chunk), 0);
            names.chunk_of(&Header::load(words.as_array().expect("the class has a header's words")).key)
        };
        self.chunks.reserve(rehash)?;
        let place = self.headers.alloc(0, more).ok_or(NoRoom)?;
        let chunk = place.block * SPAN + u32::from(place.slot);
        let mut header = Header {
            key,
            owner,
            map: 0,
            array: At { block: 0, slot: 0 },
            class: EMPTY,
            linked,
            before: NIL,
            after: *list,
            further: NIL,
            version: 0,
        };
        self.save(chunk, &mut header);
        if *list != NIL {
            let mut next = self.header(*list);
            next.before = chunk;
            self.save(*list, &mut next);
        }
        *list = chunk;
        self.chunks.insert(hash, chunk);
        Ok(chunk)
    }

    /// Removes a chunk that has no entries.
    pub(crate) fn destroy(&mut self, chunk: u32, list: &mut u32) {
        let header = self.header(chunk);
        debug_assert_eq!(header.map, 0);
        if header.before == NIL {
            *list = header.after;
        } else {
            let mut before = self.header(header.before);
            before.after = header.after;
            self.save(header.before, &mut before);
        }
        if header.after != NIL {
            let mut after = self.header(header.after);
            after.before = header.before;
            self.save(header.after, &mut after);
        }
        let hash = self.names.chunk_of(&header.key);
        self.chunks.remove(hash, chunk);
        self.headers.free(at(chunk), 0);
    }

    /// Sets which set holds the object's further chunks.
    pub(crate) fn set_further(&mut self, chunk: u32, further: u32) {
        let mut header = self.header(chunk);
        header.further = further;
        self.save(chunk, &mut header);
    }

    /// Makes another client the one the chunk is charged to.
    pub(crate) fn set_owner(&mut self, chunk: u32, owner: u16) {
        let mut header = self.header(chunk);
        header.owner = owner;
        self.save(chunk, &mut header);
    }

    /// The chunk `chunk` if it is one, for scans over all numbers below [`chunk_numbers`](Self::chunk_numbers).
    pub(crate) fn chunk_if_any(&self, chunk: u32) -> Option<Header> {
        self.headers.is_taken(at(chunk), 0).then(|| self.header(chunk))
    }

    /// All chunk numbers are below this one.
    pub(crate) fn chunk_numbers(&self) -> u32 {
        self.headers.block_numbers() * SPAN
    }

    /// The entry of a page.
    pub(crate) fn entry(&self, header: &Header, slot: u32) -> Option<Entry> {
        if !header.has(slot) {
            return None;
        }
        let from = header.position(slot) * entry::WORDS;
        let words = self.arrays.get(header.array, header.heap_class());
        let &[a, b, c] = words.get(from..)?.first_chunk()?;
        Some(Entry { a, b, c })
    }

    /// Replaces the entry of a page that is stored.
    pub(crate) fn replace(&mut self, chunk: u32, header: &mut Header, slot: u32, entry: Entry) {
        self.touch(header, slot, entry);
        self.save(chunk, header);
    }

    /// Replaces marks only: nothing that makes the chunk another version.
    pub(crate) fn touch(&mut self, header: &Header, slot: u32, entry: Entry) {
        let from = header.position(slot) * entry::WORDS;
        let words = self.arrays.get_mut(header.array, header.heap_class());
        if let Some(words) = words.get_mut(from..).and_then(|w| w.first_chunk_mut()) {
            *words = [entry.a, entry.b, entry.c];
        }
    }

    /// Bytes that the chunk's array takes.
    pub(crate) fn array_bytes(&self, header: &Header) -> u64 {
        if header.class == EMPTY { 0 } else { self.arrays.bytes(header.heap_class()) }
    }

    /// Bytes that the chunk's array would take with one more entry.
    pub(crate) fn grown_bytes(&self, header: &Header) -> u64 {
        let grown = Header { class: header.class.wrapping_add(1), ..*header };
        let full = header.map.count_ones() == header.room();
        self.array_bytes(if full { &grown } else { header })
    }

    /// Adds the entry of a page that is not stored.
    pub(crate) fn insert(
        &mut self,
        chunk: u32,
        header: &mut Header,
        slot: u32,
        entry: Entry,
        more: impl FnOnce() -> Option<Block>,
    ) -> Result<(), NoRoom> {
        if header.map.count_ones() == header.room() {
            self.resize(header, header.class.wrapping_add(1), more)?;
        }
        let used = header.map.count_ones() as usize;
        let (position, room) = (header.position(slot), header.room() as usize);
        let direct = header.class == DIRECT;
        let words = self.arrays.get_mut(header.array, header.heap_class());
        let (entries, links) = words.split_at_mut(room * entry::WORDS);
        if !direct {
            entries.copy_within(position * entry::WORDS..used * entry::WORDS, (position + 1) * entry::WORDS);
            if header.linked {
                links.copy_within(position * LINK..used * LINK, (position + 1) * LINK);
            }
        }
        header.map |= 1 << slot;
        self.touch(header, slot, entry);
        self.save(chunk, header);
        Ok(())
    }

    /// Removes the entry of a page.
    pub(crate) fn remove(
        &mut self,
        chunk: u32,
        header: &mut Header,
        slot: u32,
        more: impl FnOnce() -> Option<Block>,
    ) -> Option<Entry> {
        let entry = self.entry(header, slot)?;
        let used = header.map.count_ones() as usize;
        if header.class != DIRECT {
            let (position, room) = (header.position(slot), header.room() as usize);
            let words = self.arrays.get_mut(header.array, header.heap_class());
            let (entries, links) = words.split_at_mut(room * entry::WORDS);
            entries.copy_within((position + 1) * entry::WORDS..used * entry::WORDS, position * entry::WORDS);
            if header.linked {
                links.copy_within((position + 1) * LINK..used * LINK, position * LINK);
            }
        }
        header.map &= !(1 << slot);
        let left = used as u32 - 1;
        let few = if header.class == DIRECT {
            left <= PACK_AT
        } else {
            header.class > 0 && left <= header.room() / 4
        };
        if left == 0 {
            self.arrays.free(header.array, header.heap_class());
            header.class = EMPTY;
        } else if few {
            // Without memory for the smaller array the larger one stays.
            let _ = self.resize(header, header.class - 1, more);
        }
        self.save(chunk, header);
        Some(entry)
    }

    /// Moves the entries to an array of another class.
    fn resize(
        &mut self,
        header: &mut Header,
        class: u8,
        more: impl FnOnce() -> Option<Block>,
    ) -> Result<(), NoRoom> {
        let old = *header;
        header.class = class;
        let array = self.arrays.alloc(header.heap_class(), more);
        let Some(array) = array else {
            *header = old;
            return Err(NoRoom);
        };
        header.array = array;
        if old.class == EMPTY {
            return Ok(());
        }
        let mut copy = [0; LARGEST];
        let from = self.arrays.get(old.array, old.heap_class());
        let (copy, _) = copy.split_at_mut(from.len());
        copy.copy_from_slice(from);
        self.arrays.free(old.array, old.heap_class());
        let words = self.arrays.get_mut(array, header.heap_class());
        let (old_links, new_links) =
            (old.room() as usize * entry::WORDS, header.room() as usize * entry::WORDS);
        let mut left = header.map;
        while left != 0 {
            let slot = left.trailing_zeros();
            left &= left - 1;
            let (from, to) = (old.position(slot), header.position(slot));
            move_words(copy, from * entry::WORDS, words, to * entry::WORDS, entry::WORDS);
            if header.linked {
                move_words(copy, old_links + from * LINK, words, new_links + to * LINK, LINK);
            }
        }
        Ok(())
    }

    fn link(&self, token: Token) -> (usize, Header) {
        let header = self.header(token / SPAN);
        let links = header.room() as usize * entry::WORDS;
        (links + header.position(token % SPAN) * LINK, header)
    }
}

impl Nodes for Index {
    fn links(&self, token: Token) -> [u32; 2] {
        let (from, header) = self.link(token);
        let words = self.arrays.get(header.array, header.heap_class());
        words.get(from..).and_then(|w| w.first_chunk()).copied().unwrap_or([NIL; 2])
    }

    fn set_links(&mut self, token: Token, links: [u32; 2]) {
        let (from, header) = self.link(token);
        let words = self.arrays.get_mut(header.array, header.heap_class());
        if let Some(words) = words.get_mut(from..).and_then(|w| w.first_chunk_mut()) {
            *words = links;
        }
    }

    fn marks(&self, token: Token) -> u32 {
        let header = self.header(token / SPAN);
        self.entry(&header, token % SPAN).map_or(0, |entry| entry.marks())
    }

    fn set_marks(&mut self, token: Token, marks: u32) {
        let header = self.header(token / SPAN);
        if let Some(mut entry) = self.entry(&header, token % SPAN) {
            entry.set_marks(marks);
            self.touch(&header, token % SPAN, entry);
        }
    }

    fn name(&self, token: Token) -> u64 {
        self.names.page(self.names.chunk_of(&self.header(token / SPAN).key), token % SPAN)
    }
}

fn at(chunk: u32) -> At {
    At { block: chunk / SPAN, slot: (chunk % SPAN) as u16 }
}

fn move_words(from: &[u32], at: usize, to: &mut [u32], place: usize, count: usize) {
    if let (Some(from), Some(to)) = (from.get(at..at + count), to.get_mut(place..place + count)) {
        to.copy_from_slice(from);
    }
}
