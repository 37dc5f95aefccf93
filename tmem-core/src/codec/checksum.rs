//! A checksum cheap enough to be taken of every page that is put.
//!
//! Sixteen lanes of Fletcher's sums (J. Fletcher, "An arithmetic checksum for serial transmissions", 1982) over 32-bit
//! words: two additions a word, no multiplication, and so memory is what it waits for. The second sum makes it depend on
//! the order. It finds damage, not forgery.

use crate::page::Page;

const LANES: usize = 16;

/// Bytes summed at a time.
const ROW: usize = LANES * 4;

/// The checksum of a page.
pub(crate) fn checksum(page: &Page) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { avx2::checksum(page) };
    }
    sums(page)
}

/// Copies a page and returns its checksum, in one pass: it costs what waiting for memory costs, and memcpy beside the sum
/// costs that twice.
pub(crate) fn copy(from: &Page, to: &mut Page) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { avx2::copy(from, to) };
    }
    *to = *from;
    sums(to)
}

/// Copies a page, as [`copy`] does, without the checksum.
pub(crate) fn copy_plain(from: &Page, to: &mut Page) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { avx2::copy_plain(from, to) };
    }
    *to = *from;
}

/// The lanes' sums, first and second, of a page.
struct Sums {
    first: [u32; LANES],
    second: [u32; LANES],
}

impl Sums {
    fn fold(&self) -> u32 {
        // Every step is a bijection of the lane, so a difference in one lane cannot vanish (odd multiplier: 2^32 / phi,
        // Knuth).
        let fold = |sum: u32, lane: &u32| {
            let mixed = (sum ^ *lane).wrapping_mul(0x9e37_79b1);
            mixed ^ mixed >> 15
        };
        let first = self.first.iter().fold(0, fold);
        self.second.iter().fold(first, fold)
    }
}

/// The checksum where there are no vectors.
fn sums(page: &Page) -> u32 {
    let mut sums = Sums { first: [0; LANES], second: [0; LANES] };
    let (rows, _) = page.as_chunks::<ROW>();
    for row in rows {
        let (words, _) = row.as_chunks::<4>();
        for ((first, second), word) in sums.first.iter_mut().zip(&mut sums.second).zip(words) {
            *first = first.wrapping_add(u32::from_le_bytes(*word));
            *second = second.wrapping_add(*first);
        }
    }
    sums.fold()
}

/// The same arithmetic in 256-bit vectors. Written out because the compiler makes scalar code of the loop above, which
/// takes three times as long (`tmem bench core --mode seq`).
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _MM_HINT_T0, _mm_prefetch, _mm256_add_epi32, _mm256_loadu_si256, _mm256_setzero_si256,
        _mm256_storeu_si256,
    };

    use super::{ROW, Sums};
    use crate::page::{PAGE_SIZE, Page};

    /// Bytes in a vector: half a row.
    const VECTOR: usize = ROW / 2;
    /// Bytes that a copy asks for ahead of what it copies. Pages are met in no order, so the processor's own prefetcher
    /// begins anew with each and finds its pace late.
    const AHEAD: usize = 1024;

    #[target_feature(enable = "avx2")]
    pub(super) fn checksum(page: &Page) -> u32 {
        let mut lanes = Lanes::new();
        let (rows, _) = page.as_chunks::<ROW>();
        for row in rows {
            lanes.add(load(row));
        }
        lanes.sums().fold()
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn copy(from: &Page, to: &mut Page) -> u32 {
        let mut lanes = Lanes::new();
        rows(from, to, |vectors| lanes.add(vectors));
        lanes.sums().fold()
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn copy_plain(from: &Page, to: &mut Page) {
        rows(from, to, |_| {});
    }

    /// Copies row by row, and shows each to `see`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rows(from: &Page, to: &mut Page, mut see: impl FnMut([__m256i; 2])) {
        for at in (0..AHEAD).step_by(ROW) {
            ask_for(from, at);
            ask_for(to, at);
        }
        let (rows, _) = from.as_chunks::<ROW>();
        for (number, row) in rows.iter().enumerate() {
            let at = number * ROW;
            if at < PAGE_SIZE - AHEAD {
                ask_for(from, at + AHEAD);
                ask_for(to, at + AHEAD);
            }
            let vectors = load(row);
            see(vectors);
            let (places, _) = to.as_chunks_mut::<ROW>();
            if let Some(place) = places.get_mut(number) {
                store(vectors, place);
            }
        }
    }

    /// Has the row at byte `at` brought into the cache.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn ask_for(page: &Page, at: usize) {
        // A hint, which touches no memory that the program can see.
        _mm_prefetch::<_MM_HINT_T0>(page.as_ptr().wrapping_add(at).cast());
    }

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
    fn load(row: &[u8; ROW]) -> [__m256i; 2] {
        let at = row.as_ptr();
        // SAFETY: a row is two vectors of bytes, all readable, and the load needs no alignment.
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(VECTOR).cast())] }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store([low, high]: [__m256i; 2], place: &mut [u8; ROW]) {
        let at = place.as_mut_ptr();
        // SAFETY: as in load; the bytes are borrowed for writing.
        unsafe {
            _mm256_storeu_si256(at.cast(), low);
            _mm256_storeu_si256(at.add(VECTOR).cast(), high);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(vectors: [__m256i; 2]) -> [u32; super::LANES] {
        let mut bytes = [0; ROW];
        store(vectors, &mut bytes);
        let (words, _) = bytes.as_chunks::<4>();
        let mut lanes = [0; super::LANES];
        lanes.iter_mut().zip(words).for_each(|(lane, word)| *lane = u32::from_le_bytes(*word));
        lanes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PAGE_SIZE;

    #[test]
    fn vectors_do_not_change_the_sum() {
        let mut page = [0; PAGE_SIZE];
        page.iter_mut().enumerate().for_each(|(n, byte)| *byte = ((n * n) >> 3) as u8);
        assert_eq!(checksum(&page), sums(&page));
        let mut target = [0; PAGE_SIZE];
        assert_eq!(copy(&page, &mut target), sums(&page));
        assert_eq!(target, page);
        target.fill(0);
        copy_plain(&page, &mut target);
        assert_eq!(target, page);
    }

    #[test]
    fn every_flipped_bit_and_swapped_row_is_seen() {
        let mut page = [0; PAGE_SIZE];
        page.iter_mut().enumerate().for_each(|(n, byte)| *byte = ((n * 7) >> 2) as u8);
        let right = checksum(&page);
        for bit in 0..PAGE_SIZE * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(&page), right, "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        page.rotate_left(64);
        assert_ne!(checksum(&page), right);
    }
}
