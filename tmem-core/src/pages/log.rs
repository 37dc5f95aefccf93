//! Compressed pages, packed back to back in segments of 64 KiB.
//!
//! Size classes lose the difference between a page and its class; a log loses only a header and the end of a segment.
//! What dies leaves a hole, and a segment with many holes is emptied by moving what lives in it (log-structured memory:
//! Rumble et al., FAST 2014). A segment is sixteen frames from anywhere, so it needs no contiguous memory; a record may
//! cross from one frame to the next.
//!
//! A place is the segment's number and the record's offset in units of 8 bytes, 19 + 13 bits: 32 GiB of records.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::{Home, UNIT};
use crate::arena::Arena;
use crate::page::{PAGE_SIZE, Page};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, OnceLock};

const FRAMES: usize = 16;
const SEGMENT: u32 = (FRAMES * PAGE_SIZE) as u32;
const OFFSET_BITS: u32 = 13;
const GROUP: usize = 64;
/// Segments looked at under one lock in search of a sparse one.
const WINDOW: u32 = 256;
/// Bytes before each record: token (4), shard (2), length (2).
const HEADER: usize = 8;

/// Marks in a segment's live bytes, whose sizes are multiples of 8: it is being appended to; it is being emptied.
const OPEN: u32 = 1;
const PINNED: u32 = 2;

struct Segment {
    frames: [AtomicU32; FRAMES],
    /// Bytes of records that are referenced, and the marks above. Who brings it to 0 frees the frames.
    live: AtomicU32,
    /// Bytes appended; final once the segment is no longer open.
    used: AtomicU32,
}

/// The log.
pub(crate) struct Log {
    arena: Arc<Arena>,
    groups: Box<[OnceLock<Box<[Segment; GROUP]>>]>,
    state: Mutex<State>,
    frames: AtomicU32,
    /// Bytes of blocks that are referenced.
    payload: CachePadded<AtomicU64>,
}

#[derive(Default)]
struct State {
    open: Option<u32>,
    free: Vec<u32>,
    /// Segment numbers below this one have been used.
    made: u32,
    /// Where the search for a sparse segment goes on.
    hand: u32,
}

/// A segment that is being emptied: its records stay where they are until this is dropped.
pub(crate) struct Pinned<'a> {
    log: &'a Log,
    segment: u32,
}

/// A record met while a segment is emptied.
pub(crate) struct Record {
    pub(crate) home: Home,
    pub(crate) place: u32,
    next: u32,
}

impl Log {
    pub(super) fn new(arena: Arc<Arena>) -> Self {
        let segments = (arena.frames() as usize).div_ceil(FRAMES).min(1 << (32 - OFFSET_BITS));
        let groups = (0..segments.div_ceil(GROUP)).map(|_| OnceLock::new()).collect();
        Self {
            arena,
            groups,
            state: Mutex::new(State::default()),
            frames: AtomicU32::new(0),
            payload: CachePadded::new(AtomicU64::new(0)),
        }
    }

    /// Frames that the log holds.
    pub(crate) fn frames(&self) -> u32 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Bytes of blocks that are referenced: what the codec made, without headers and padding.
    pub(crate) fn payload(&self) -> u64 {
        self.payload.load(Ordering::Relaxed)
    }

    fn segment(&self, number: u32) -> &Segment {
        let group = self.groups.get(number as usize / GROUP).expect("places come from append");
        let group = group.get_or_init(|| Box::new([const { Segment::new() }; GROUP]));
        group.get(number as usize % GROUP).expect("a remainder is inside the group")
    }

    /// Appends a block, and returns its place and its size in units of 8 bytes.
    pub(super) fn append(&self, home: Home, block: &[u8]) -> Option<(u32, u16)> {
        let size = (HEADER + block.len()).next_multiple_of(UNIT as usize) as u32;
        let mut state = self.state.lock();
        let mut number = match state.open {
            Some(open) => open,
            None => self.open(&mut state)?,
        };
        if self.segment(number).used.load(Ordering::Relaxed) + size > SEGMENT {
            state.open = None;
            self.unmark(&mut state, number, OPEN);
            number = self.open(&mut state)?;
        }
        let segment = self.segment(number);
        let at = segment.used.load(Ordering::Relaxed);
        // Frames are taken as the segment grows into them, so an open segment wastes less than one.
        for frame in at.div_ceil(PAGE_SIZE as u32)..(at + size).div_ceil(PAGE_SIZE as u32) {
            let slot = segment.frames.get(frame as usize)?;
            if slot.load(Ordering::Relaxed) == u32::MAX {
                slot.store(self.arena.alloc_reserved()?, Ordering::Relaxed);
                self.frames.fetch_add(1, Ordering::Relaxed);
            }
        }
        let [t0, t1, t2, t3] = home.token.to_le_bytes();
        let [s0, s1] = home.shard.to_le_bytes();
        let [l0, l1] = (block.len() as u16).to_le_bytes();
        self.write(segment, at, &[t0, t1, t2, t3, s0, s1, l0, l1]);
        self.write(segment, at + HEADER as u32, block);
        segment.used.store(at + size, Ordering::Relaxed);
        segment.live.fetch_add(size, Ordering::Relaxed);
        self.payload.fetch_add(block.len() as u64, Ordering::Relaxed);
        Some((place(number, at), (size / UNIT) as u16))
    }

    /// Copies a block to the start of `page` and returns its length. The caller's lock keeps the record alive.
    pub(super) fn read(&self, place: u32, page: &mut Page) -> u16 {
        let length = self.length(place);
        let (segment, at) = self.locate(place);
        if let Some(block) = page.get_mut(..usize::from(length)) {
            self.copy_out(segment, at + HEADER as u32, block);
        }
        length
    }

    /// Bytes of the block at `place`.
    fn length(&self, place: u32) -> u16 {
        let (segment, at) = self.locate(place);
        let mut header = [0; HEADER];
        self.copy_out(segment, at, &mut header);
        let [.., l0, l1] = header;
        u16::from_le_bytes([l0, l1])
    }

    /// Frees a record of `size` bytes.
    pub(super) fn free(&self, place: u32, size: u32) {
        let number = place >> OFFSET_BITS;
        self.payload.fetch_sub(u64::from(self.length(place)), Ordering::Relaxed);
        if self.segment(number).live.fetch_sub(size, Ordering::AcqRel) == size {
            self.release(&mut self.state.lock(), number);
        }
    }

    /// Flips a bit in a block.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn damage(&self, place: u32) {
        let (segment, at) = self.locate(place);
        let mut byte = [0];
        self.copy_out(segment, at + 40, &mut byte);
        self.write(segment, at + 40, &[byte[0] ^ 4]);
    }

    /// Moves the block at `place`, which the caller keeps alive, to the end of the log.
    pub(crate) fn relocate(&self, home: Home, place: u32, page: &mut Page) -> Option<u32> {
        let length = self.read(place, page);
        let block = page.get(..usize::from(length))?;
        self.append(home, block).map(|(place, _)| place)
    }

    /// A segment with many holes, at least one byte in `one_in` of it dead; pinned, to be emptied. The sparsest of a few
    /// hundred, from where the last search ended; `None` when there is none in the whole log.
    pub(crate) fn pin_sparsest(&self, one_in: u32) -> Option<Pinned<'_>> {
        let made = self.state.lock().made;
        for _ in 0..=made / WINDOW {
            let mut state = self.state.lock();
            let from = if state.hand < state.made { state.hand } else { 0 };
            state.hand = from + WINDOW;
            let sparsest = (from..state.made.min(state.hand))
                .filter_map(|number| {
                    let segment = self.segment(number);
                    let live = segment.live.load(Ordering::Relaxed);
                    let dead = segment.used.load(Ordering::Relaxed).saturating_sub(live);
                    let sparse = live != 0 && live.is_multiple_of(UNIT) && dead >= SEGMENT / one_in;
                    sparse.then_some((dead, number))
                })
                .max();
            let Some((_, number)) = sparsest else { continue };
            // Still live, or its last record was freed meanwhile and it must not be touched.
            let mark = |live| (live != 0).then_some(live | PINNED);
            let live = &self.segment(number).live;
            if live.fetch_update(Ordering::AcqRel, Ordering::Relaxed, mark).is_ok() {
                return Some(Pinned { log: self, segment: number });
            }
        }
        None
    }

    fn open(&self, state: &mut State) -> Option<u32> {
        let number = match state.free.pop() {
            Some(number) => number,
            None if (state.made as usize) < self.groups.len() * GROUP => {
                state.made += 1;
                state.made - 1
            }
            None => return None,
        };
        let segment = self.segment(number);
        segment.used.store(0, Ordering::Relaxed);
        segment.live.store(OPEN, Ordering::Relaxed);
        state.open = Some(number);
        Some(number)
    }

    fn unmark(&self, state: &mut State, number: u32, mark: u32) {
        if self.segment(number).live.fetch_sub(mark, Ordering::AcqRel) == mark {
            self.release(state, number);
        }
    }

    /// Frees the frames of a segment with nothing alive in it.
    fn release(&self, state: &mut State, number: u32) {
        for slot in &self.segment(number).frames {
            let frame = slot.swap(u32::MAX, Ordering::Relaxed);
            if frame != u32::MAX {
                self.arena.free(frame);
                self.frames.fetch_sub(1, Ordering::Relaxed);
            }
        }
        state.free.push(number);
    }

    fn locate(&self, place: u32) -> (&Segment, u32) {
        (self.segment(place >> OFFSET_BITS), (place & ((1 << OFFSET_BITS) - 1)) * UNIT)
    }

    fn write(&self, segment: &Segment, mut at: u32, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (frame, offset, room) = piece(segment, at);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            // SAFETY: the frame belongs to the segment, and bytes beyond its used part are known to nobody but the
            // appender, who holds the log's lock.
            unsafe { self.arena.write_bytes(frame, offset, now) };
            at += now.len() as u32;
            bytes = rest;
        }
    }

    fn copy_out(&self, segment: &Segment, mut at: u32, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let (frame, offset, room) = piece(segment, at);
            let (now, rest) = bytes.split_at_mut(room.min(bytes.len()));
            // SAFETY: a record is written once, before its place is known, and its segment lives while the record is
            // referenced (the caller's lock) or the segment is pinned.
            unsafe { self.arena.read_bytes(frame, offset, now) };
            at += now.len() as u32;
            bytes = rest;
        }
    }
}

/// The place of the record at byte `at` of a segment.
fn place(segment: u32, at: u32) -> u32 {
    (segment << OFFSET_BITS) | (at / UNIT)
}

/// The frame of a byte of a segment, its offset there, and the bytes left in the frame.
fn piece(segment: &Segment, at: u32) -> (u32, usize, usize) {
    let slot = segment.frames.get(at as usize / PAGE_SIZE).expect("records end inside their segment");
    let offset = at as usize % PAGE_SIZE;
    (slot.load(Ordering::Relaxed), offset, PAGE_SIZE - offset)
}

impl Segment {
    const fn new() -> Self {
        Self {
            frames: [const { AtomicU32::new(u32::MAX) }; FRAMES],
            live: AtomicU32::new(0),
            used: AtomicU32::new(0),
        }
    }
}

impl Pinned<'_> {
    /// The record at the start, or after `last`; `None` at the end.
    pub(crate) fn next(&self, last: Option<&Record>) -> Option<Record> {
        let segment = self.log.segment(self.segment);
        let at = last.map_or(0, |record| record.next);
        if at >= segment.used.load(Ordering::Relaxed) {
            return None;
        }
        let mut header = [0; HEADER];
        self.log.copy_out(segment, at, &mut header);
        let [t0, t1, t2, t3, s0, s1, l0, l1] = header;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        let home = Home { token: u32::from_le_bytes([t0, t1, t2, t3]), shard: u16::from_le_bytes([s0, s1]) };
        let next = at + (HEADER + length).next_multiple_of(UNIT as usize) as u32;
        Some(Record { home, place: place(self.segment, at), next })
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.log.unmark(&mut self.log.state.lock(), self.segment, PINNED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home = Home { shard: 3, token: 77 };

    fn log(frames: u32) -> Log {
        Log::new(Arc::new(Arena::new(frames, 0).unwrap()))
    }

    #[test]
    fn blocks_come_back_across_frame_borders() {
        let log = log(64);
        let blocks: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 3000 + usize::from(n)]).collect();
        let places: Vec<_> = blocks.iter().map(|b| log.append(HOME, b).unwrap().0).collect();
        for (place, block) in places.iter().zip(&blocks) {
            let mut page = [0; PAGE_SIZE];
            let length = usize::from(log.read(*place, &mut page));
            assert_eq!(&page[..length], block);
        }
    }

    #[test]
    fn a_segment_whose_records_all_died_gives_its_frames_back() {
        let log = log(64);
        let places: Vec<_> = (0..40).map(|_| log.append(HOME, &[1; 3000]).unwrap()).collect();
        let before = log.frames();
        places.iter().for_each(|(place, units)| log.free(*place, u32::from(*units) * UNIT));
        assert!(
            before > log.frames() && log.frames() <= 16,
            "only the open segment stays, not {}",
            log.frames()
        );
    }

    #[test]
    fn a_full_arena_refuses_and_recovers() {
        let log = log(4);
        let mut places = Vec::new();
        while let Some(place) = log.append(HOME, &[1; 3000]) {
            places.push(place);
        }
        assert_eq!(places.len(), 5);
        places.iter().for_each(|(place, units)| log.free(*place, u32::from(*units) * UNIT));
    }

    #[test]
    fn a_pinned_segment_is_walked_record_by_record() {
        let log = log(64);
        let places: Vec<_> = (0..40).map(|_| log.append(HOME, &[1; 3000]).unwrap()).collect();
        places.iter().step_by(2).for_each(|(place, units)| log.free(*place, u32::from(*units) * UNIT));
        let pinned = log.pin_sparsest(3).unwrap();
        let mut last = None;
        let mut met = Vec::new();
        while let Some(record) = pinned.next(last.as_ref()) {
            met.push(record.place);
            assert_eq!(record.home, HOME);
            last = Some(record);
        }
        assert!(met.len() == 21 && met.iter().all(|m| places.iter().any(|(p, _)| p == m)));
    }
}
