//! Memory in frames of one page: one huge-page mapping, handed out through per-thread magazines.
//!
//! Everything the store holds lives in frames: raw pages, segments of compressed ones, blocks of metadata. So the
//! capacity is one number, and the address of a page is one multiplication (few TLB misses, no pointers in the index).

mod cells;
mod free;
mod heap;
mod map;
mod sparse;

use std::io;

use crossbeam_utils::CachePadded;

use cells::PIECES;
pub(crate) use cells::{BUCKET, Cells};
pub(crate) use heap::{At, Heap, arrays_a_frame};
use map::Map;
pub(crate) use sparse::Sparse;

use crate::page::{PAGE_SIZE, Page};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Mutex, OnceLock, thread_hint};
use free::{EXTENT, Free};

/// Words in a frame.
pub(crate) const WORDS: usize = PAGE_SIZE / 4;

/// Where metadata gets its frames.
pub(crate) type Source<'a> = &'a dyn Fn() -> Option<u32>;

/// There is no frame for metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoFrame;

/// Magazines: enough that a handful of vCPU threads rarely share one.
const MAGAZINES: usize = 16;
/// Frames moved between a magazine and the common pool at a time, so that its lock is taken once in so many puts; at most
/// one in so many of a small store, where what lies in magazines would be missed.
const BATCH: u32 = 32;
const BATCH_PART: u32 = 256;

/// Most frames moved to or from the magazine of metadata at a time: half a huge page, but no more than one in so many.
const BLOCKS_BATCH: u32 = 256;
const BLOCKS_PART: u32 = 1024;
/// Most frames set aside for segments and metadata, so that a store full of raw pages can still compress them.
const RESERVE: u32 = 64;

/// The store's memory.
pub(crate) struct Arena {
    map: Map,
    frames: u32,
    free: Mutex<Free>,
    magazines: Box<[CachePadded<Mutex<Vec<u32>>>]>,
    /// Frames that a magazine gets at a time.
    batch: usize,
    /// Frames for blocks of metadata, which lie together: an index spread over as many huge pages as the pages themselves
    /// would miss the TLB at each step.
    blocks: Mutex<Vec<u32>>,
    /// Frames that `blocks` gets at a time.
    blocks_batch: usize,
    /// Small arrays of cells.
    pieces: Mutex<Heap<{ PIECES.len() }>>,
    /// Frames that hold metadata.
    metadata: AtomicU32,
    reserve: Mutex<Vec<u32>>,
    /// Frames that the reserve has lent.
    lent: AtomicU32,
    /// Free frames outside magazines, refreshed when the common pool changes.
    common: AtomicU32,
    bare: AtomicU32,
    /// Somebody waits for frames to be taken or freed.
    watched: AtomicBool,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Arena {
    /// Reserves `frames` frames. The first `committed` of them get their memory now and keep it.
    pub(crate) fn new(frames: u32, committed: u32) -> io::Result<Self> {
        let map = Map::reserve(frames)?;
        let mut free = Free::new(frames);
        free.commit(committed);
        map.populate(0, committed.next_multiple_of(EXTENT));
        let mut reserve = Vec::with_capacity(RESERVE as usize);
        free.take(RESERVE.min(frames / 16) as usize, &mut reserve);
        let blocks_batch = (frames / BLOCKS_PART).clamp(1, BLOCKS_BATCH) as usize;
        let batch = (frames / BATCH_PART).clamp(1, BATCH) as usize;
        let magazine = |_| CachePadded::new(Mutex::new(Vec::with_capacity(2 * batch)));
        Ok(Self {
            map,
            frames,
            common: AtomicU32::new(free.free()),
            bare: AtomicU32::new(free.bare()),
            free: Mutex::new(free),
            reserve: Mutex::new(reserve),
            blocks: Mutex::new(Vec::with_capacity(2 * blocks_batch)),
            blocks_batch,
            pieces: Mutex::new(Heap::new(PIECES)),
            metadata: AtomicU32::new(0),
            lent: AtomicU32::new(0),
            watched: AtomicBool::new(false),
            wake: OnceLock::new(),
            batch,
            magazines: (0..MAGAZINES).map(magazine).collect(),
        })
    }

    /// Takes a frame. Its content is whatever was there before.
    pub(crate) fn alloc(&self) -> Option<u32> {
        let mine = self.magazine(thread_hint());
        let mut magazine = mine.lock();
        if let Some(frame) = magazine.pop() {
            return Some(frame);
        }
        let mut free = self.free.lock();
        free.take(self.batch, &mut magazine);
        self.publish(&free);
        drop(free);
        self.changed();
        // The batch is in ascending order; hand out the lowest first, as the kernel backs memory upwards.
        magazine.reverse();
        let frame = magazine.pop();
        drop(magazine);
        frame.or_else(|| self.caches().find_map(|cache| cache.lock().pop()))
    }

    /// Takes a frame for metadata: from the reserve if need be.
    pub(crate) fn alloc_block(&self) -> Option<u32> {
        let frame = self.take_block().or_else(|| self.alloc_reserved())?;
        self.metadata.fetch_add(1, Ordering::Relaxed);
        Some(frame)
    }

    /// Takes a frame for metadata that can be done without.
    fn alloc_cells(&self) -> Option<u32> {
        let frame = self.take_block()?;
        self.metadata.fetch_add(1, Ordering::Relaxed);
        Some(frame)
    }

    fn take_block(&self) -> Option<u32> {
        let mut blocks = self.blocks.lock();
        if blocks.is_empty() {
            let mut free = self.free.lock();
            free.take(self.blocks_batch, &mut blocks);
            self.publish(&free);
            drop(free);
            self.changed();
            blocks.reverse();
        }
        let frame = blocks.pop();
        drop(blocks);
        frame.or_else(|| self.alloc())
    }

    /// Takes a part of a frame for cells.
    fn alloc_piece(&self, class: u8) -> Option<At> {
        self.pieces.lock().alloc(self, class, &|| self.alloc_cells())
    }

    fn free_piece(&self, at: At, class: u8) {
        self.pieces.lock().free(self, at, class);
    }

    /// Bytes of frames that hold metadata.
    pub(crate) fn metadata_bytes(&self) -> u64 {
        u64::from(self.metadata.load(Ordering::Relaxed)) * PAGE_SIZE as u64
    }

    /// Returns a frame from [`alloc_block`](Self::alloc_block) or [`alloc_cells`](Self::alloc_cells).
    pub(crate) fn free_block(&self, frame: u32) {
        self.metadata.fetch_sub(1, Ordering::Relaxed);
        let mut blocks = self.blocks.lock();
        if blocks.len() < 2 * self.blocks_batch {
            blocks.push(frame);
        } else {
            drop(blocks);
            self.free(frame);
        }
    }

    /// Frames that are free, but not in the common pool.
    fn caches(&self) -> impl Iterator<Item = &Mutex<Vec<u32>>> {
        self.magazines.iter().map(|magazine| &**magazine).chain([&self.blocks])
    }

    /// Takes a frame for what makes room: from the reserve if need be.
    pub(crate) fn alloc_reserved(&self) -> Option<u32> {
        self.alloc().or_else(|| {
            let mut reserve = self.reserve.lock();
            let frame = reserve.pop()?;
            self.lent.fetch_add(1, Ordering::Relaxed);
            Some(frame)
        })
    }

    /// Returns a frame.
    pub(crate) fn free(&self, frame: u32) {
        if self.lent.load(Ordering::Relaxed) > 0 {
            let mut reserve = self.reserve.lock();
            if self.lent.load(Ordering::Relaxed) > 0 {
                self.lent.fetch_sub(1, Ordering::Relaxed);
                reserve.push(frame);
                return;
            }
        }
        let mut magazine = self.magazine(thread_hint()).lock();
        if magazine.len() == 2 * self.batch {
            let mut free = self.free.lock();
            // The oldest go: the youngest are still in the processor's cache.
            magazine.drain(..self.batch).for_each(|frame| free.put(frame));
            self.publish(&free);
            drop(free);
            self.changed();
        }
        magazine.push(frame);
    }

    fn magazine(&self, hint: usize) -> &Mutex<Vec<u32>> {
        self.magazines.get(hint % MAGAZINES).expect("a remainder is below the number of magazines")
    }

    /// Sets what is called when frames are taken or freed while somebody watches; only the first call does.
    pub(crate) fn on_change(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _ = self.wake.set(wake);
    }

    /// Wants to be woken at the next change. Changes inside magazines are not seen, so some dozens of pages may come and
    /// go unnoticed.
    pub(crate) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Wakes who watches.
    pub(crate) fn changed(&self) {
        if self.watched.load(Ordering::Relaxed)
            && self.watched.swap(false, Ordering::Relaxed)
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }

    fn publish(&self, free: &Free) {
        self.common.store(free.free(), Ordering::Relaxed);
        self.bare.store(free.bare(), Ordering::Relaxed);
    }

    /// The page in a frame, to be read.
    ///
    /// # Safety
    /// The caller owns the frame, and nobody writes to it for the lifetime of the reference.
    pub(crate) unsafe fn page(&self, frame: u32) -> &Page {
        // SAFETY: the frame is inside the mapping (checked), which lives as long as self; the caller rules out writers.
        unsafe { self.map.frame(frame).as_ref() }
    }

    /// The page in a frame, to be written.
    ///
    /// # Safety
    /// The caller owns the frame, and no other reference to it exists.
    #[expect(clippy::mut_from_ref, reason = "frames are disjoint; the caller owns this one")]
    pub(crate) unsafe fn page_mut(&self, frame: u32) -> &mut Page {
        // SAFETY: as in page, and the caller rules out every other reference.
        unsafe { self.map.frame(frame).as_mut() }
    }

    /// The words of a frame, to be read.
    ///
    /// # Safety
    /// As for [`page`](Self::page).
    unsafe fn words(&self, frame: u32) -> &[u32; WORDS] {
        // SAFETY: inside the mapping (checked), aligned to a page, initialised as all mapped memory, and every bit pattern is
        // a word; the caller rules out writers.
        unsafe { self.map.frame(frame).cast().as_ref() }
    }

    /// The words of a frame, to be changed.
    ///
    /// # Safety
    /// As for [`page_mut`](Self::page_mut).
    #[expect(clippy::mut_from_ref, reason = "frames are disjoint; the caller owns this one")]
    unsafe fn words_mut(&self, frame: u32) -> &mut [u32; WORDS] {
        // SAFETY: as in words, and the caller rules out every other reference.
        unsafe { self.map.frame(frame).cast().as_mut() }
    }

    /// Copies bytes into a frame, from byte `offset`.
    ///
    /// # Safety
    /// The caller owns those bytes, and nobody else reads or writes them meanwhile. Other bytes of the frame may be read.
    pub(crate) unsafe fn write_bytes(&self, frame: u32, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= PAGE_SIZE, "bytes beyond the end of a frame");
        let at = self.map.frame(frame).cast::<u8>();
        // SAFETY: inside the frame, as just checked; the caller rules out other users of these bytes.
        unsafe { at.add(offset).as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    /// Copies bytes out of a frame, from byte `offset`.
    ///
    /// # Safety
    /// Nobody writes those bytes meanwhile. Other bytes of the frame may be written.
    pub(crate) unsafe fn read_bytes(&self, frame: u32, offset: usize, bytes: &mut [u8]) {
        assert!(offset + bytes.len() <= PAGE_SIZE, "bytes beyond the end of a frame");
        let at = self.map.frame(frame).cast::<u8>();
        // SAFETY: inside the frame, as just checked, and initialised as all mapped memory; the caller rules out writers.
        unsafe { at.add(offset).as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Frames there are.
    pub(crate) fn frames(&self) -> u32 {
        self.frames
    }

    /// Frames but for those set aside.
    pub(crate) fn lendable(&self) -> u32 {
        self.frames - RESERVE.min(self.frames / 16)
    }

    /// Free frames outside magazines: cheap, and at most a few hundred below the truth.
    pub(crate) fn common(&self) -> u32 {
        self.common.load(Ordering::Relaxed)
    }

    /// Free frames, exactly when nobody allocates meanwhile.
    pub(crate) fn count_free(&self) -> u32 {
        let cached: usize = self.caches().map(|cache| cache.lock().len()).sum();
        self.free.lock().free() + cached as u32 + self.reserve.lock().len() as u32
    }

    /// Whether an allocation outside the reserve may succeed.
    pub(crate) fn any_free(&self) -> bool {
        self.common() > 0 || self.caches().any(|cache| !cache.lock().is_empty())
    }

    /// Frames of extents that have no memory behind them.
    pub(crate) fn bare(&self) -> u32 {
        self.bare.load(Ordering::Relaxed)
    }

    /// Backs one extent with memory when fewer than `ahead` free frames have some and frames are being taken. True when it
    /// did.
    pub(crate) fn populate_ahead(&self, ahead: u32) -> bool {
        let mut free = self.free.lock();
        let Some(first) = free.back_one(ahead) else { return false };
        self.publish(&free);
        drop(free);
        // Outside the lock: another thread may take these frames meanwhile, and then faults them in itself.
        self.map.populate(first, EXTENT);
        true
    }

    /// Whether there may be an extent to give back in time.
    pub(crate) fn may_trim(&self) -> bool {
        self.free.lock().has_idle() || self.caches().any(|cache| !cache.lock().is_empty())
    }

    /// Takes the frames out of all magazines: each of them keeps an extent from being given back.
    fn empty_magazines(&self) {
        for cache in self.caches() {
            let mut cache = cache.lock();
            let mut free = self.free.lock();
            cache.drain(..).for_each(|frame| free.put(frame));
            self.publish(&free);
        }
    }

    /// Gives the memory of the free frames of one extent back that is used in part: a host that is short of memory rather
    /// has small pages than none. True when it did.
    pub(crate) fn shed(&self) -> bool {
        self.empty_magazines();
        let Some((first, bits)) = self.free.lock().take_shed() else { return false };
        for frame in 0..EXTENT {
            if bits.get(frame as usize / 64).is_some_and(|word| word >> (frame % 64) & 1 == 1) {
                self.map.discard(first + frame, 1);
            }
        }
        let mut free = self.free.lock();
        free.return_shed(first, bits);
        self.publish(&free);
        true
    }

    /// Gives the memory of one extent back to the host that was free for `rounds` earlier calls, keeping `keep` free
    /// frames backed as long as frames were taken lately. True when it did.
    pub(crate) fn trim(&self, rounds: u8, keep: u32) -> bool {
        if rounds == 0 || self.free.lock().is_calm() {
            self.empty_magazines();
        }
        let Some(first) = self.free.lock().take_idle(rounds, keep) else { return false };
        self.map.discard(first, EXTENT);
        let mut free = self.free.lock();
        free.give_back(first);
        self.publish(&free);
        true
    }
}
