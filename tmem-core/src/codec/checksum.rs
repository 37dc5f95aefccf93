//! A checksum cheap enough to be taken of every page that is put.
//!
//! Sixteen lanes of Fletcher's sums (J. Fletcher, "An arithmetic checksum for serial transmissions", 1982) over 32-bit
//! words: two additions a word, no multiplication, and so memory is what it waits for. The second sum makes it depend on
//! the order. It finds damage, not forgery.

#[cfg(target_arch = "x86_64")]
use super::vectors;
use crate::page::Page;

/// Words summed side by side.
pub(super) const LANES: usize = 16;

/// The checksum of a page.
pub(crate) fn checksum(page: &Page) -> u32 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { vectors::checksum(page) };
    }
    sums(page)
}

/// The lanes' sums, first and second, of a page.
pub(super) struct Sums {
    pub(super) first: [u32; LANES],
    pub(super) second: [u32; LANES],
}

/// An odd number for each sum: every other multiple of 2^32 / phi (Knuth).
const fn odd(number: usize) -> u32 {
    0x9e37_79b1u32.wrapping_mul(2 * number as u32 + 1)
}

impl Sums {
    /// One number of all sums. They are mixed side by side, not one after the other, because a chain of 32 multiplications
    /// takes a third of the time that the page does.
    #[inline]
    pub(super) fn fold(&self) -> u32 {
        // Every step is a bijection of the lane, so a difference in one lane cannot vanish.
        let mix = |lane: u32, odd: u32| {
            let mixed = (lane ^ lane >> 15).wrapping_mul(odd);
            mixed ^ mixed >> 13
        };
        let mut all = 0u32;
        for (number, (first, second)) in self.first.iter().zip(&self.second).enumerate() {
            all = all.wrapping_add(mix(*first, odd(number))).wrapping_add(mix(*second, odd(number + LANES)));
        }
        all
    }
}

/// The checksum where there are no vectors.
fn sums(page: &Page) -> u32 {
    let mut sums = Sums { first: [0; LANES], second: [0; LANES] };
    let (rows, _) = page.as_chunks::<{ LANES * 4 }>();
    for row in rows {
        let (words, _) = row.as_chunks::<4>();
        for ((first, second), word) in sums.first.iter_mut().zip(&mut sums.second).zip(words) {
            *first = first.wrapping_add(u32::from_le_bytes(*word));
            *second = second.wrapping_add(*first);
        }
    }
    sums.fold()
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
