//! Pages of one repeated word.

#[cfg(target_arch = "x86_64")]
use super::vectors;
use crate::live::LivePage;
use crate::page::{PAGE_SIZE, Page};

/// Bytes compared at a time.
const STRIDE: usize = 256;

/// The 64-bit word (native order) that the whole page repeats, if it does. An ordinary page is told from its first
/// stride; a filled one takes about 50 ns.
pub(crate) fn same_word(page: LivePage<'_>) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { vectors::same_word(page) };
    }
    let mut copy = [0; PAGE_SIZE];
    page.copy_to(&mut copy);
    let (first, _) = copy.split_first_chunk::<8>()?;
    let word = u64::from_ne_bytes(*first);
    let same = copy.chunks_exact(STRIDE).all(|stride| {
        let (words, _) = stride.as_chunks::<8>();
        words.iter().fold(0, |diff, bytes| diff | (u64::from_ne_bytes(*bytes) ^ word)) == 0
    });
    same.then_some(word)
}

/// Fills a page with a word.
pub(crate) fn fill(word: u64, page: &mut Page) {
    let (words, _) = page.as_chunks_mut::<8>();
    words.fill(word.to_ne_bytes());
}

const _: () = assert!(PAGE_SIZE.is_multiple_of(STRIDE));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_word_is_found_and_comes_back() {
        let mut page = [0; PAGE_SIZE];
        assert_eq!(same_word((&page).into()), Some(0));
        fill(0x0123_4567_89ab_cdef, &mut page);
        assert_eq!(same_word((&page).into()), Some(0x0123_4567_89ab_cdef));
    }

    #[test]
    fn one_differing_byte_anywhere_is_seen() {
        for at in 0..PAGE_SIZE {
            let mut page = [7; PAGE_SIZE];
            page[at] = 8;
            assert_eq!(same_word((&page).into()), None, "byte {at}");
        }
    }
}
