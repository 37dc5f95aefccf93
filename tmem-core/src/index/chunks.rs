//! The index itself: chunks by name, entries in chunks.

use std::sync::Arc;

use super::chunk::{self, ChunkKey, EMPTY, Header};
use super::entry::{self, Entry};
use super::segments::{self, Segments};
use super::{NIL, SPAN};
use crate::arena::{Arena, At, Heap, Source, Sparse, arrays_a_frame};
use crate::evict::Nodes;
use crate::hashes::Hashes;
use crate::key::Kind;
use crate::page::PAGE_SIZE;
use crate::pages::NoRoom;
use crate::steps;

/// A page's place in its shard: chunk number * 64 + index % 64.
type Token = u32;

/// Bytes charged for a chunk without entries: its header with its part of a frame, and its part of the hash table.
pub(crate) const CHUNK_BYTES: u64 =
    (PAGE_SIZE as u64).div_ceil(arrays_a_frame(chunk::WORDS) as u64) + segments::CHUNK_BYTES;

/// Most frames of headers in a shard: a token has 20 bits for the frame, 6 for the header and 6 for the page.
const MOST_FRAMES: u32 = 1 << 20;
/// Most pools in the store.
pub(crate) const MOST_POOLS: usize = 1 << 20;
/// Numbers of frames that are passed over at a time when the highest ones are gone.
const STRIDE: u32 = 256;

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
    hashes: Hashes,
    arena: Arc<Arena>,
    chunks: Segments,
    headers: Heap<1>,
    /// Frames of headers, plus 1, by number.
    numbers: Sparse,
    /// All numbers of frames are below this one.
    end: u32,
    arrays: Heap<{ 2 * CLASSES as usize }>,
    /// The first chunk of each pool, plus 1.
    heads: Sparse,
    version: u32,
}

impl Header {
    /// Entries that fit in the array.
    fn room(&self) -> u32 {
        if self.class == EMPTY { 0 } else { 1 << self.class }
    }

    /// The class of an array that holds one entry more than this one's room.
    fn larger(&self) -> u8 {
        if self.class == EMPTY { 0 } else { self.class + 1 }
    }

    fn heap_class(&self) -> u8 {
        self.class + u8::from(self.is_linked()) * CLASSES
    }

    fn position(&self, place: u32) -> usize {
        (if self.class == DIRECT { place } else { self.before_place(place) }) as usize
    }
}

impl Index {
    /// An index of one of so many shards.
    pub(crate) fn new(hashes: Hashes, arena: Arc<Arena>, shards: usize) -> Self {
        let frames = arena.frames();
        // A keyed hash spreads chunks evenly; there is room for twice the mean.
        let chunks = 2 * u64::from(frames) * PAGE_SIZE as u64 / CHUNK_BYTES / shards as u64;
        Self {
            hashes,
            chunks: Segments::new(chunks),
            headers: Heap::new([chunk::WORDS]),
            numbers: Sparse::new(frames.min(MOST_FRAMES) as usize),
            end: 0,
            arrays: Heap::new(ARRAYS),
            heads: Sparse::new(MOST_POOLS),
            version: 0,
            arena,
        }
    }

    /// Chunks and nodes there are.
    #[cfg(test)]
    pub(crate) fn chunk_count(&self) -> usize {
        self.chunks.len(&self.arena)
    }

    /// Finds a chunk.
    pub(crate) fn find(&self, hash: u64, key: &ChunkKey) -> Option<u32> {
        steps::touch(1);
        self.chunks.find(&self.arena, hash, |chunk| self.header(chunk).key() == key)
    }

    fn at(&self, chunk: u32) -> At {
        let frame = self.numbers.get(&self.arena, chunk / SPAN);
        At {
            frame: frame.checked_sub(1).expect("chunks that exist have a frame"),
            slot: (chunk % SPAN) as u16,
        }
    }

    /// The header of a chunk.
    pub(crate) fn header(&self, chunk: u32) -> Header {
        let words = self.headers.get(&self.arena, self.at(chunk), 0);
        Header::load(words.as_array().expect("the class has a header's words"))
    }

    fn save(&mut self, chunk: u32, header: &mut Header) {
        self.version = self.version.wrapping_add(1);
        header.version = self.version;
        let at = self.at(chunk);
        let words = self.headers.get_mut(&self.arena, at, 0);
        header.save(words.as_mut_array().expect("the class has a header's words"));
    }

    /// The first chunk in a pool's list.
    pub(crate) fn first_of(&self, pool: u32) -> Option<u32> {
        self.heads.get(&self.arena, pool).checked_sub(1)
    }

    /// Adds an empty chunk, at the head of its pool's list.
    pub(crate) fn create(
        &mut self,
        hash: u64,
        key: ChunkKey,
        owner: u16,
        kind: Kind,
        more: Source<'_>,
    ) -> Result<u32, NoRoom> {
        steps::touch(1);
        let arena = Arc::clone(&self.arena);
        {
            let (hashes, headers, numbers) = (&self.hashes, &self.headers, &self.numbers);
            let rehash = |chunk| hashes.chunk_of(load(&arena, headers, numbers, chunk).key());
            self.chunks.reserve(&arena, hash, more, rehash)?;
        }
        let numbers = &mut self.numbers;
        let place = self.headers.alloc_tagged(&arena, 0, more, |frame| {
            let number = numbers.first_zero(&arena).filter(|number| *number < MOST_FRAMES)?;
            numbers.set(&arena, number, frame + 1, more).ok()?;
            self.end = self.end.max(number + 1);
            Some(number)
        });
        let place = place.ok_or(NoRoom)?;
        let chunk = self.headers.tag(&arena, place) * SPAN + u32::from(place.slot);
        let first = self.first_of(key.pool);
        if self.heads.set(&arena, key.pool, chunk + 1, more).is_err() {
            self.free_header(place);
            return Err(NoRoom);
        }
        let mut header = Header::new(key, owner, kind, first.unwrap_or(NIL));
        self.save(chunk, &mut header);
        if let Some(first) = first {
            let mut next = self.header(first);
            next.before = chunk;
            self.save(first, &mut next);
        }
        self.chunks.insert(&arena, hash, chunk);
        Ok(chunk)
    }

    /// Removes a chunk that has no entries.
    pub(crate) fn destroy(&mut self, chunk: u32) {
        steps::touch(1);
        let header = self.header(chunk);
        debug_assert!(header.class == EMPTY, "a chunk that has entries is destroyed");
        if header.before == NIL {
            let first = if header.after == NIL { 0 } else { header.after + 1 };
            // It takes no memory: the word is set already.
            let _ = self.heads.set(&self.arena, header.key().pool, first, &|| None);
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
        let arena = Arc::clone(&self.arena);
        let (hashes, headers, numbers) = (&self.hashes, &self.headers, &self.numbers);
        let rehash = |chunk| hashes.chunk_of(load(&arena, headers, numbers, chunk).key());
        self.chunks.remove(&arena, self.hashes.chunk_of(header.key()), chunk, rehash);
        self.free_header(self.at(chunk));
    }

    fn free_header(&mut self, at: At) {
        let Some(number) = self.headers.free(&self.arena, at, 0) else { return };
        // Setting a word to zero takes no memory.
        let _ = self.numbers.set(&self.arena, number, 0, &|| None);
        for _ in 0..STRIDE {
            if self.end == 0 || self.numbers.get(&self.arena, self.end - 1) != 0 {
                break;
            }
            self.end -= 1;
        }
    }

    /// Notes at a node, or at an object's root, that what `bit` stands for is there.
    pub(crate) fn tell(&mut self, chunk: u32, bit: u32) {
        let mut header = self.header(chunk);
        if header.key().is_root() {
            header.set_tops(header.tops() | 1 << bit);
        } else {
            header.set_bit(bit);
        }
        self.save(chunk, &mut header);
    }

    /// Notes that it is there no more. True when nothing else is.
    pub(crate) fn untell(&mut self, chunk: u32, bit: u32) -> bool {
        let mut header = self.header(chunk);
        if header.key().is_root() {
            header.set_tops(header.tops() & !(1 << bit));
        } else {
            header.clear_bit(bit);
        }
        self.save(chunk, &mut header);
        header.is_idle()
    }

    /// Makes another client the one the chunk is charged to.
    pub(crate) fn set_owner(&mut self, chunk: u32, owner: u16) {
        let mut header = self.header(chunk);
        header.set_owner(owner);
        self.save(chunk, &mut header);
    }

    /// The chunk `chunk` if it is one, for scans over all numbers below [`chunk_numbers`](Self::chunk_numbers).
    pub(crate) fn chunk_if_any(&self, chunk: u32) -> Option<Header> {
        steps::touch(1);
        let frame = self.numbers.get(&self.arena, chunk / SPAN).checked_sub(1)?;
        let slot = (chunk % SPAN) as u16;
        let is_one = usize::from(slot) < arrays_a_frame(chunk::WORDS)
            && self.headers.is_taken(&self.arena, At { frame, slot });
        is_one.then(|| self.header(chunk))
    }

    /// All chunk numbers are below this one.
    pub(crate) fn chunk_numbers(&self) -> u32 {
        self.end * SPAN
    }

    /// The entry of a page.
    pub(crate) fn entry(&self, header: &Header, place: u32) -> Option<Entry> {
        if !header.has(place) {
            return None;
        }
        let from = header.position(place) * entry::WORDS;
        let words = self.arrays.get(&self.arena, header.array, header.heap_class());
        let &[a, b, c] = words.get(from..)?.first_chunk()?;
        Some(Entry { a, b, c })
    }

    /// Replaces the entry of a page that is stored.
    pub(crate) fn replace(&mut self, chunk: u32, header: &mut Header, place: u32, entry: Entry) {
        self.touch(header, place, entry);
        self.save(chunk, header);
    }

    /// Replaces marks only: nothing that makes the chunk another version.
    pub(crate) fn touch(&mut self, header: &Header, place: u32, entry: Entry) {
        let from = header.position(place) * entry::WORDS;
        let words = self.arrays.get_mut(&self.arena, header.array, header.heap_class());
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
        let mut grown = *header;
        grown.class = header.larger();
        let full = header.map().count_ones() == header.room();
        self.array_bytes(if full { &grown } else { header })
    }

    /// Adds the entry of a page that is not stored.
    pub(crate) fn insert(
        &mut self,
        chunk: u32,
        header: &mut Header,
        place: u32,
        entry: Entry,
        more: Source<'_>,
    ) -> Result<(), NoRoom> {
        if header.map().count_ones() == header.room() {
            self.resize(header, header.larger(), more)?;
        }
        let used = header.map().count_ones() as usize;
        let (position, room) = (header.position(place), header.room() as usize);
        let direct = header.class == DIRECT;
        let words = self.arrays.get_mut(&self.arena, header.array, header.heap_class());
        let (entries, links) = words.split_at_mut(room * entry::WORDS);
        if !direct {
            entries.copy_within(position * entry::WORDS..used * entry::WORDS, (position + 1) * entry::WORDS);
            if header.is_linked() {
                links.copy_within(position * LINK..used * LINK, (position + 1) * LINK);
            }
        }
        header.set_bit(place);
        self.touch(header, place, entry);
        self.save(chunk, header);
        Ok(())
    }

    /// Removes the entry of a page.
    pub(crate) fn remove(
        &mut self,
        chunk: u32,
        header: &mut Header,
        place: u32,
        more: Source<'_>,
    ) -> Option<Entry> {
        let entry = self.entry(header, place)?;
        let used = header.map().count_ones() as usize;
        if header.class != DIRECT {
            let (position, room) = (header.position(place), header.room() as usize);
            let words = self.arrays.get_mut(&self.arena, header.array, header.heap_class());
            let (entries, links) = words.split_at_mut(room * entry::WORDS);
            entries.copy_within((position + 1) * entry::WORDS..used * entry::WORDS, position * entry::WORDS);
            if header.is_linked() {
                links.copy_within((position + 1) * LINK..used * LINK, position * LINK);
            }
        }
        header.clear_bit(place);
        let left = used as u32 - 1;
        let few = if header.class == DIRECT {
            left <= PACK_AT
        } else {
            header.class > 0 && left <= header.room() / 4
        };
        if left == 0 {
            self.arrays.free(&self.arena, header.array, header.heap_class());
            header.class = EMPTY;
        } else if few {
            // Without memory for the smaller array the larger one stays.
            let _ = self.resize(header, header.class - 1, more);
        }
        self.save(chunk, header);
        Some(entry)
    }

    /// Moves the entries to an array of another class.
    fn resize(&mut self, header: &mut Header, class: u8, more: Source<'_>) -> Result<(), NoRoom> {
        let old = *header;
        header.class = class;
        let array = self.arrays.alloc(&self.arena, header.heap_class(), more);
        let Some(array) = array else {
            *header = old;
            return Err(NoRoom);
        };
        header.array = array;
        if old.class == EMPTY {
            return Ok(());
        }
        let mut copy = [0; LARGEST];
        let from = self.arrays.get(&self.arena, old.array, old.heap_class());
        let (copy, _) = copy.split_at_mut(from.len());
        copy.copy_from_slice(from);
        self.arrays.free(&self.arena, old.array, old.heap_class());
        let words = self.arrays.get_mut(&self.arena, array, header.heap_class());
        let (old_links, new_links) =
            (old.room() as usize * entry::WORDS, header.room() as usize * entry::WORDS);
        let mut left = header.map();
        while left != 0 {
            let place = left.trailing_zeros();
            left &= left - 1;
            let (from, to) = (old.position(place), header.position(place));
            move_words(copy, from * entry::WORDS, words, to * entry::WORDS, entry::WORDS);
            if header.is_linked() {
                move_words(copy, old_links + from * LINK, words, new_links + to * LINK, LINK);
            }
        }
        Ok(())
    }

    /// Moves a chunk's array out of a frame that is nearly empty. True when it did.
    pub(crate) fn tidy(&mut self, chunk: u32, header: &mut Header) -> bool {
        if header.class == EMPTY || !self.arrays.is_sparse(&self.arena, header.array, header.heap_class()) {
            return false;
        }
        let moved = self.resize(header, header.class, &|| None).is_ok();
        if moved {
            self.save(chunk, header);
        }
        moved
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
        let words = self.arrays.get(&self.arena, header.array, header.heap_class());
        words.get(from..).and_then(|w| w.first_chunk()).copied().unwrap_or([NIL; 2])
    }

    fn set_links(&mut self, token: Token, links: [u32; 2]) {
        steps::touch(1);
        let (from, header) = self.link(token);
        let words = self.arrays.get_mut(&self.arena, header.array, header.heap_class());
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
        steps::touch(1);
        self.hashes.page(self.hashes.chunk_of(self.header(token / SPAN).key()), token % SPAN)
    }
}

fn load(arena: &Arena, headers: &Heap<1>, numbers: &Sparse, chunk: u32) -> Header {
    let frame = numbers.get(arena, chunk / SPAN).checked_sub(1).expect("chunks that exist have a frame");
    let words = headers.get(arena, At { frame, slot: (chunk % SPAN) as u16 }, 0);
    Header::load(words.as_array().expect("the class has a header's words"))
}

fn move_words(from: &[u32], at: usize, to: &mut [u32], place: usize, count: usize) {
    if let (Some(from), Some(to)) = (from.get(at..at + count), to.get_mut(place..place + count)) {
        to.copy_from_slice(from);
    }
}
