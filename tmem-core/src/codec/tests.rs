//! What holds of every codec.

use super::{METHODS, Method, SCRATCH, WORTH};
use crate::page::{PAGE_SIZE, Page};

fn text() -> Page {
    let mut page = [b'-'; PAGE_SIZE];
    page.iter_mut().step_by(7).enumerate().for_each(|(n, byte)| *byte = n as u8);
    page
}

fn noise() -> Page {
    let mut noise = [0; PAGE_SIZE];
    let mut state = 1u64;
    noise.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (state >> 56) as u8;
    });
    noise
}

#[test]
fn text_shrinks_and_comes_back() {
    for Method { compress, decompress } in &METHODS {
        let mut block = [0; SCRATCH];
        let length = compress(&text(), &mut block, WORTH).unwrap();
        assert!(length < PAGE_SIZE / 2);
        let mut back = [0; PAGE_SIZE];
        decompress(&block[..length], &mut back).unwrap();
        assert_eq!(back, text());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for Method { compress, .. } in &METHODS {
        assert_eq!(compress(&noise(), &mut [0; SCRATCH], WORTH), None);
        assert_eq!(compress(&text(), &mut [0; SCRATCH], 64), None);
    }
}

#[test]
fn damaged_and_truncated_blocks_are_refused_or_give_other_bytes_but_no_panic() {
    for Method { compress, decompress } in &METHODS {
        let mut block = [0; SCRATCH];
        let length = compress(&text(), &mut block, WORTH).unwrap();
        let mut back = [0; PAGE_SIZE];
        assert_eq!(decompress(&block[..length - 1], &mut back), None);
        assert_eq!(decompress(&noise(), &mut back), None);
        for at in 0..length {
            block[at] ^= 0x55;
            let _ = decompress(&block[..length], &mut back);
            block[at] ^= 0x55;
        }
        decompress(&block[..length], &mut back).unwrap();
        assert_eq!(back, text());
    }
}
