//! LZ4 blocks of one page (lz4_flex: Rust, no C; its frame format would cost 15 bytes a page).

use super::WORTH;
use crate::page::{PAGE_SIZE, Page};

/// Bytes that a block may take while it is made (lz4_flex `get_maximum_output_size`: 110 % and 20).
pub(crate) const WORST: usize = PAGE_SIZE + PAGE_SIZE / 10 + 64;

/// Compresses a page into `out` and returns the length, or `None` when that is not worth it.
pub(crate) fn compress(page: &Page, out: &mut [u8; WORST]) -> Option<usize> {
    lz4_flex::block::compress_into(page, out).ok().filter(|length| *length <= WORTH)
}

/// Decompresses a block that must yield exactly one page.
pub(crate) fn decompress(block: &[u8], page: &mut Page) -> Option<()> {
    let length = lz4_flex::block::decompress_into(block, page).ok()?;
    (length == page.len()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shrinks_and_comes_back() {
        let mut page = [b'-'; PAGE_SIZE];
        page.iter_mut().step_by(7).enumerate().for_each(|(n, byte)| *byte = n as u8);
        let mut block = [0; WORST];
        let length = compress(&page, &mut block).unwrap();
        assert!(length < PAGE_SIZE / 2);
        let mut back = [0; PAGE_SIZE];
        decompress(&block[..length], &mut back).unwrap();
        assert_eq!(back, page);
    }

    #[test]
    fn noise_is_refused_and_damage_is_no_panic() {
        let mut noise = [0; PAGE_SIZE];
        let mut state = 1u64;
        noise.iter_mut().for_each(|byte| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (state >> 56) as u8;
        });
        assert_eq!(compress(&noise, &mut [0; WORST]), None);
        assert_eq!(decompress(&noise, &mut [0; PAGE_SIZE]), None);
    }
}
