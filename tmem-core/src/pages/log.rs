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

use super::UNIT;
use crate::arena::Arena;
use crate::page::{PAGE_SIZE, Page};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const FRAMES: usize = 16;
const SEGMENT: u32 = (FRAMES * PAGE_SIZE) as u32;
const OFFSET_BITS: u32 = 13;
/// Bytes before each record: token (4), shard (2), length (2).
const HEADER: usize = 8;

/// Marks in a segment's live bytes, whose sizes are multiples of 8: it is being appended to; it is being emptied.
const OPEN: u32 = 1;
const PINNED: u32 = 2;

/// Closed segments by how many of their bytes are dead: from 2 KiB, 4 KiB, and then every 8 KiB. What is denser is in none.
const BUCKETS: usize = 10;

/// The bucket of a segment with so many dead bytes, counted from 1; 0 is none.
fn bucket_of(dead: u32) -> u32 {
    match dead >> 10 {
        0 | 1 => 0,
        2 | 3 => 1,
        4..8 => 2,
        more => (2 + more / 8).min(BUCKETS as u32),
    }
}

/// All zero when it is not used.
#[derive(Default)]
struct Segment {
    /// Numbers of frames, plus 1.
    frames: [AtomicU32; FRAMES],
    /// Bytes of records that are referenced, and the marks above. Who brings it to 0 frees the frames.
    live: AtomicU32,
    /// Bytes appended; final once the segment is no longer open.
    used: AtomicU32,
    /// The bucket that it is in, and its neighbours there, plus 1. Changed under the log's lock.
    bucket: AtomicU32,
    before: AtomicU32,
    after: AtomicU32,
}

/// The log.
pub(super) struct Log {
    arena: Arc<Arena>,
    segments: Box<[Segment]>,
    state: Mutex<State>,
    frames: AtomicU32,
    /// Bytes of blocks that are referenced.
    payload: CachePadded<AtomicU64>,
}

#[derive(Default)]
struct State {
    open: Option<u32>,
    /// The first free segment that was used before, plus 1; the next is its `after`.
    free: u32,
    /// Segment numbers below this one have been used.
    made: u32,
    /// The first segment in each bucket, plus 1.
    sparse: [u32; BUCKETS],
}

/// Where the index keeps a page, so that a record that has to move can find who names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backref {
    pub(crate) shard: u16,
    pub(crate) token: u32,
}

/// A record met while a segment is emptied.
pub(crate) struct Record {
    pub(crate) backref: Backref,
    pub(crate) place: u32,
    next: u32,
}

impl Log {
    pub(super) fn new(arena: Arc<Arena>) -> Self {
        let segments = (arena.frames() as usize).div_ceil(FRAMES).min(1 << (32 - OFFSET_BITS));
        Self {
            arena,
            segments: unused(segments),
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
        self.segments.get(number as usize).expect("places come from append")
    }

    /// Appends a block, and returns its place and its size in units of 8 bytes.
    pub(super) fn append(&self, backref: Backref, block: &[u8]) -> Option<(u32, u16)> {
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
            if slot.load(Ordering::Relaxed) == 0 {
                slot.store(self.arena.alloc_reserved()? + 1, Ordering::Relaxed);
                self.frames.fetch_add(1, Ordering::Relaxed);
            }
        }
        let [t0, t1, t2, t3] = backref.token.to_le_bytes();
        let [s0, s1] = backref.shard.to_le_bytes();
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
        let segment = self.segment(number);
        let used = segment.used.load(Ordering::Relaxed);
        let live = segment.live.fetch_sub(size, Ordering::AcqRel);
        if live == size {
            self.release(&mut self.state.lock(), number);
        } else if live == size | OPEN {
            self.close_empty(number);
        } else if live.is_multiple_of(UNIT)
            && bucket_of(used.saturating_sub(live)) != bucket_of(used.saturating_sub(live - size))
        {
            self.sort(&mut self.state.lock(), number);
        }
    }

    /// Gives the open segment back when nothing in it is alive.
    fn close_empty(&self, number: u32) {
        let mut state = self.state.lock();
        if state.open == Some(number) && self.segment(number).live.load(Ordering::Acquire) == OPEN {
            state.open = None;
            self.unmark(&mut state, number, OPEN);
        }
    }

    /// Puts a segment into the bucket that it belongs to by now.
    fn sort(&self, state: &mut State, number: u32) {
        let segment = self.segment(number);
        let live = segment.live.load(Ordering::Relaxed);
        let listed = live != 0 && live.is_multiple_of(UNIT);
        let dead = segment.used.load(Ordering::Relaxed).saturating_sub(live);
        let bucket = if listed { bucket_of(dead) } else { 0 };
        if bucket == segment.bucket.load(Ordering::Relaxed) {
            return;
        }
        self.unlist(state, number);
        let Some(first) = (bucket as usize).checked_sub(1).and_then(|at| state.sparse.get_mut(at)) else {
            return;
        };
        segment.bucket.store(bucket, Ordering::Relaxed);
        segment.before.store(0, Ordering::Relaxed);
        segment.after.store(*first, Ordering::Relaxed);
        if let Some(second) = first.checked_sub(1) {
            self.segment(second).before.store(number + 1, Ordering::Relaxed);
        }
        *first = number + 1;
    }

    /// Takes a segment out of its bucket, if it is in one.
    fn unlist(&self, state: &mut State, number: u32) {
        let segment = self.segment(number);
        let bucket = segment.bucket.swap(0, Ordering::Relaxed) as usize;
        let Some(first) = bucket.checked_sub(1).and_then(|at| state.sparse.get_mut(at)) else { return };
        let (before, after) = (segment.before.load(Ordering::Relaxed), segment.after.load(Ordering::Relaxed));
        match before.checked_sub(1) {
            Some(before) => self.segment(before).after.store(after, Ordering::Relaxed),
            None => *first = after,
        }
        if let Some(after) = after.checked_sub(1) {
            self.segment(after).before.store(before, Ordering::Relaxed);
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

    /// Moves a record, which the caller keeps alive, to the end of the log.
    pub(super) fn relocate(&self, record: &Record, page: &mut Page) -> Option<u32> {
        let length = self.read(record.place, page);
        let block = page.get(..usize::from(length))?;
        self.append(record.backref, block).map(|(place, _)| place)
    }

    /// The sparsest segment, if at least one byte in `one_in` of it is dead: to be emptied. It stays as it is until
    /// [`unpin`](Self::unpin).
    pub(super) fn pin_sparsest(&self, one_in: u32) -> Option<u32> {
        let mut state = self.state.lock();
        let least = bucket_of(SEGMENT / one_in).max(1) as usize - 1;
        for at in (least..BUCKETS).rev() {
            while let Some(number) = state.sparse.get(at).and_then(|first| first.checked_sub(1)) {
                self.unlist(&mut state, number);
                // Still live, or its last record was freed meanwhile and it must not be touched.
                let mark = |live| (live != 0).then_some(live | PINNED);
                let live = &self.segment(number).live;
                if live.fetch_update(Ordering::AcqRel, Ordering::Relaxed, mark).is_ok() {
                    return Some(number);
                }
            }
        }
        None
    }

    /// Ends what [`pin_sparsest`](Self::pin_sparsest) began.
    pub(super) fn unpin(&self, segment: u32) {
        self.unmark(&mut self.state.lock(), segment, PINNED);
    }

    /// The record at the start of a pinned segment, or after `last`; `None` at the end.
    pub(super) fn record(&self, segment: u32, last: Option<&Record>) -> Option<Record> {
        let at = last.map_or(0, |record| record.next);
        if at >= self.segment(segment).used.load(Ordering::Relaxed) {
            return None;
        }
        let mut header = [0; HEADER];
        self.copy_out(self.segment(segment), at, &mut header);
        let [t0, t1, t2, t3, s0, s1, l0, l1] = header;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        let backref =
            Backref { token: u32::from_le_bytes([t0, t1, t2, t3]), shard: u16::from_le_bytes([s0, s1]) };
        let next = at + (HEADER + length).next_multiple_of(UNIT as usize) as u32;
        Some(Record { backref, place: place(segment, at), next })
    }

    fn open(&self, state: &mut State) -> Option<u32> {
        let number = match state.free.checked_sub(1) {
            Some(number) => {
                state.free = self.segment(number).after.load(Ordering::Relaxed);
                number
            }
            None if (state.made as usize) < self.segments.len() => {
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
        } else {
            self.sort(state, number);
        }
    }

    /// Frees the frames of a segment with nothing alive in it.
    fn release(&self, state: &mut State, number: u32) {
        self.unlist(state, number);
        for slot in &self.segment(number).frames {
            if let Some(frame) = slot.swap(0, Ordering::Relaxed).checked_sub(1) {
                self.arena.free(frame);
                self.frames.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.segment(number).after.store(std::mem::replace(&mut state.free, number + 1), Ordering::Relaxed);
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

/// Segments that take no memory before they are used.
#[cfg(not(feature = "shuttle"))]
fn unused(count: usize) -> Box<[Segment]> {
    // SAFETY: a segment is atomic integers, and zero is one.
    unsafe { Box::new_zeroed_slice(count).assume_init() }
}

#[cfg(feature = "shuttle")]
fn unused(count: usize) -> Box<[Segment]> {
    (0..count).map(|_| Segment::default()).collect()
}

/// The place of the record at byte `at` of a segment.
fn place(segment: u32, at: u32) -> u32 {
    (segment << OFFSET_BITS) | (at / UNIT)
}

/// The frame of a byte of a segment, its offset there, and the bytes left in the frame.
fn piece(segment: &Segment, at: u32) -> (u32, usize, usize) {
    let slot = segment.frames.get(at as usize / PAGE_SIZE).expect("records end inside their segment");
    let offset = at as usize % PAGE_SIZE;
    let frame = slot.load(Ordering::Relaxed).checked_sub(1).expect("a record has frames");
    (frame, offset, PAGE_SIZE - offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Backref = Backref { shard: 3, token: 77 };

    fn log(frames: u32) -> Log {
        Log::new(Arc::new(Arena::new(frames, 0).unwrap()))
    }

    #[test]
    fn blocks_come_back_across_frame_borders() {
        let log = log(64);
        let blocks: Vec<Vec<u8>> = (0..40u8).map(|n| vec![n; 3000 + usize::from(n)]).collect();
        let places: Vec<_> = blocks.iter().map(|b| log.append(AT, b).unwrap().0).collect();
        for (place, block) in places.iter().zip(&blocks) {
            let mut page = [0; PAGE_SIZE];
            let length = usize::from(log.read(*place, &mut page));
            assert_eq!(&page[..length], block);
        }
    }

    #[test]
    fn a_segment_whose_records_all_died_gives_its_frames_back() {
        let log = log(64);
        let places: Vec<_> = (0..40).map(|_| log.append(AT, &[1; 3000]).unwrap()).collect();
        let before = log.frames();
        places.iter().for_each(|(place, units)| log.free(*place, u32::from(*units) * UNIT));
        assert!(before > 0 && log.frames() == 0, "{} of {before} frames stay", log.frames());
    }

    #[test]
    fn a_full_arena_refuses_and_recovers() {
        let log = log(4);
        let mut places = Vec::new();
        while let Some(place) = log.append(AT, &[1; 3000]) {
            places.push(place);
        }
        assert_eq!(places.len(), 5);
        places.iter().for_each(|(place, units)| log.free(*place, u32::from(*units) * UNIT));
    }

    #[test]
    fn a_pinned_segment_is_walked_record_by_record() {
        let log = log(64);
        let places: Vec<_> = (0..40).map(|_| log.append(AT, &[1; 3000]).unwrap()).collect();
        places.iter().step_by(2).for_each(|(place, units)| log.free(*place, u32::from(*units) * UNIT));
        let pinned = log.pin_sparsest(3).unwrap();
        let mut last = None;
        let mut met = Vec::new();
        while let Some(record) = log.record(pinned, last.as_ref()) {
            met.push(record.place);
            assert_eq!(record.backref, AT);
            last = Some(record);
        }
        assert!(met.len() == 21 && met.iter().all(|m| places.iter().any(|(p, _)| p == m)));
        log.unpin(pinned);
        assert_eq!(log.pin_sparsest(3), Some(pinned), "it is as sparse as before");
    }

    #[test]
    fn the_sparsest_segment_is_found_whatever_the_order_of_deaths() {
        let log = log(4096);
        let places: Vec<_> = (0..1000).map(|_| log.append(AT, &[1; 2000]).unwrap()).collect();
        let mut state = 1u32;
        let mut dead = std::collections::BTreeMap::new();
        for (n, (place, units)) in places.iter().enumerate() {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 30 < 2 && n < 950 {
                log.free(*place, u32::from(*units) * UNIT);
                *dead.entry(place >> OFFSET_BITS).or_insert(0) += u32::from(*units) * UNIT;
            }
        }
        let most = dead.values().copied().max().unwrap();
        let found = log.pin_sparsest(32).unwrap();
        assert!(bucket_of(dead[&found]) == bucket_of(most), "{} of {most}", dead[&found]);
        log.unpin(found);
    }
}
