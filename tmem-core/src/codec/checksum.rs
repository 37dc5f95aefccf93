//! A checksum cheap enough to be taken of every page that is put.
//!
//! Sixteen lanes of Fletcher's sums (J. Fletcher, "An arithmetic checksum for serial transmissions", 1982) over 32-bit
//! words: two additions a word, no multiplication, and so memory is what it waits for. The second sum makes it depend on
//! the order. It finds damage, not forgery.

use crate::page::Page;

const LANES: usize = 16;

/// The checksum of a page.
pub(crate) fn checksum(page: &Page) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { checksum_avx2(page) };
    }
    sums(page)
}

/// [`sums`] compiled for 256-bit vectors: the same integer arithmetic, hence the same result.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn checksum_avx2(page: &Page) -> u32 {
    sums(page)
}

#[inline(always)]
fn sums(page: &Page) -> u32 {
    let mut first = [0u32; LANES];
    let mut second = [0u32; LANES];
    let (rows, _) = page.as_chunks::<{ LANES * 4 }>();
    for row in rows {
        let (words, _) = row.as_chunks::<4>();
        for ((first, second), word) in first.iter_mut().zip(&mut second).zip(words) {
            *first = first.wrapping_add(u32::from_le_bytes(*word));
            *second = second.wrapping_add(*first);
        }
    }
    // Every step is a bijection of the lane, so a difference in one lane cannot vanish (odd multiplier: 2^32 / phi,
    // Knuth).
    let fold = |sum: u32, lane: &u32| {
        let mixed = (sum ^ *lane).wrapping_mul(0x9e37_79b1);
        mixed ^ mixed >> 15
    };
    let first = first.iter().fold(0, fold);
    second.iter().fold(first, fold)
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
