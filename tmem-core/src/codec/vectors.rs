//! Pages in vectors of 256 bits. Written out because the compiler makes scalar code of the same loops, which takes three
//! times as long (`tmem bench core --mode seq`), and because a plain load may be done twice, which a page that a guest is
//! writing does not bear.

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, _MM_HINT_T0, _mm_prefetch, _mm_sfence, _mm256_add_epi32, _mm256_extract_epi64,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_storeu_si256,
    _mm256_stream_si256, _mm256_testz_si256, _mm256_xor_si256,
};

use super::checksum::{LANES, Sums};
use crate::live::LivePage;
use crate::page::{PAGE_SIZE, Page};

/// Bytes in a vector.
const VECTOR: usize = 32;
/// Bytes in a row, of two vectors: a cache line.
pub(super) const ROW: usize = 2 * VECTOR;
const ROWS: usize = PAGE_SIZE / ROW;
/// Bytes that a copy asks for ahead of what it copies. Pages are met in no order, so the processor's own prefetcher
/// begins anew with each and finds its pace late.
const AHEAD: usize = 1024;
/// Rows compared at a time: a difference ends the search after them.
const STRIDE: usize = 4;

/// The checksum of a page.
#[target_feature(enable = "avx2")]
pub(super) fn checksum(page: &Page) -> u32 {
    let mut lanes = Lanes::new();
    let (rows, _) = page.as_chunks::<ROW>();
    rows.iter().for_each(|row| lanes.add(load(row)));
    lanes.sums().fold()
}

/// Copies a page, and returns the checksum of the copy.
#[target_feature(enable = "avx2")]
pub(super) fn copy(from: LivePage<'_>, to: &mut Page) -> u32 {
    let mut lanes = Lanes::new();
    each_row([from.as_ptr(), to.as_ptr()], to, |number, place| {
        let row = load_live(from, number);
        lanes.add(row);
        store(row, place);
    });
    lanes.sums().fold()
}

/// Copies a page past the caches, and returns the checksum of the copy.
#[target_feature(enable = "avx2")]
pub(super) fn copy_streamed(from: LivePage<'_>, to: &mut Page) -> u32 {
    assert!(to.as_ptr().cast::<__m256i>().is_aligned(), "frames are aligned to their size");
    let mut lanes = Lanes::new();
    each_row([from.as_ptr()], to, |number, place| {
        let row = load_live(from, number);
        lanes.add(row);
        stream(row, place);
    });
    // Streams are not ordered with other stores: before anybody is told of the frame, they have to be done.
    _mm_sfence();
    lanes.sums().fold()
}

/// Copies a page to one that is used all the time, so that only the former is asked for.
#[target_feature(enable = "avx2")]
pub(super) fn copy_out(from: &Page, to: &mut Page) {
    let (rows, _) = from.as_chunks::<ROW>();
    each_row([from.as_ptr()], to, |number, place| {
        if let Some(row) = rows.get(number) {
            store(load(row), place);
        }
    });
}

/// The 64-bit word that all of a page repeats, if it does.
#[target_feature(enable = "avx2")]
pub(super) fn same_word(page: LivePage<'_>) -> Option<u64> {
    let [first, _] = load_live(page, 0);
    let first = _mm256_extract_epi64::<0>(first);
    let word = _mm256_set1_epi64x(first);
    let same = (0..ROWS).step_by(STRIDE).all(|first| {
        let mut differ = _mm256_setzero_si256();
        for number in first..first + STRIDE {
            let [low, high] = load_live(page, number);
            differ = _mm256_or_si256(differ, _mm256_xor_si256(low, word));
            differ = _mm256_or_si256(differ, _mm256_xor_si256(high, word));
        }
        _mm256_testz_si256(differ, differ) == 1
    });
    same.then_some(first.cast_unsigned())
}

/// Fills a page row by row, and has the rows of the pages `ahead` brought into the cache before their turn.
#[inline]
#[target_feature(enable = "avx2")]
fn each_row<const N: usize>(
    ahead: [*const u8; N],
    to: &mut Page,
    mut fill: impl FnMut(usize, &mut [u8; ROW]),
) {
    for at in (0..AHEAD).step_by(ROW) {
        ahead.iter().for_each(|page| ask_for(page, at));
    }
    let (places, _) = to.as_chunks_mut::<ROW>();
    for (number, place) in places.iter_mut().enumerate() {
        let at = number * ROW + AHEAD;
        if at < PAGE_SIZE {
            ahead.iter().for_each(|page| ask_for(page, at));
        }
        fill(number, place);
    }
}

/// Has the row at byte `at` brought into the cache.
#[inline]
#[target_feature(enable = "avx2")]
fn ask_for(page: &*const u8, at: usize) {
    // A hint, which touches no memory that the program can see.
    _mm_prefetch::<_MM_HINT_T0>(page.wrapping_add(at).cast());
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(row: &[u8; ROW]) -> [__m256i; 2] {
    let at = row.as_ptr();
    // SAFETY: a row is two vectors of bytes, all readable, and the load needs no alignment.
    unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(VECTOR).cast())] }
}

/// A row of a page, each of its vectors read once.
#[inline]
#[target_feature(enable = "avx2")]
fn load_live(page: LivePage<'_>, number: usize) -> [__m256i; 2] {
    debug_assert!(number < ROWS);
    let at = page.as_ptr().wrapping_add(number * ROW);
    let (low, high);
    // SAFETY: the row lies inside the page, which is readable by `LivePage`'s promise, and the loads need no alignment.
    // They are in assembly because others may write the page: to the compiler they are two unknown values.
    unsafe {
        asm!(
            "vmovdqu {low}, ymmword ptr [{at}]",
            "vmovdqu {high}, ymmword ptr [{at} + 32]",
            at = in(reg) at, low = out(ymm_reg) low, high = out(ymm_reg) high,
            options(readonly, nostack, preserves_flags)
        );
    }
    [low, high]
}

#[inline]
#[target_feature(enable = "avx2")]
fn store([low, high]: [__m256i; 2], place: &mut [u8; ROW]) {
    let at = place.as_mut_ptr();
    // SAFETY: a row is two vectors of bytes, borrowed for writing, and the store needs no alignment.
    unsafe {
        _mm256_storeu_si256(at.cast(), low);
        _mm256_storeu_si256(at.add(VECTOR).cast(), high);
    }
}

/// Stores a row, which is aligned, past the caches.
#[inline]
#[target_feature(enable = "avx2")]
fn stream([low, high]: [__m256i; 2], place: &mut [u8; ROW]) {
    let at = place.as_mut_ptr();
    // SAFETY: a row is two vectors of bytes, borrowed for writing; rows of a page that is aligned to vectors, as
    // `copy_streamed` asserts, are aligned to them.
    unsafe {
        _mm256_stream_si256(at.cast(), low);
        _mm256_stream_si256(at.add(VECTOR).cast(), high);
    }
}

/// The sums of rows, a lane for each of their words.
struct Lanes {
    first: [__m256i; 2],
    second: [__m256i; 2],
}

impl Lanes {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        let zero = _mm256_setzero_si256();
        Self { first: [zero; 2], second: [zero; 2] }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(&mut self, [low, high]: [__m256i; 2]) {
        let [a, b] = self.first;
        let [c, d] = self.second;
        let (a, b) = (_mm256_add_epi32(a, low), _mm256_add_epi32(b, high));
        self.first = [a, b];
        self.second = [_mm256_add_epi32(c, a), _mm256_add_epi32(d, b)];
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn sums(&self) -> Sums {
        Sums { first: words(self.first), second: words(self.second) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn words(row: [__m256i; 2]) -> [u32; LANES] {
    let mut bytes = [0; ROW];
    store(row, &mut bytes);
    let (words, _) = bytes.as_chunks::<4>();
    let mut lanes = [0; LANES];
    lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = u32::from_le_bytes(*word));
    lanes
}
