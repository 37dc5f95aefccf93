//! Pages that are made up. `tmem-core/benches/peers` compiles this file too, so that both put the same.

use tmem_core::{PAGE_SIZE, Page};

/// A third is text-like, a third like a heap of pointers, the others noise, words and zeros.
const MADE_UP: u32 = 1024;

/// Different pages, to be used in turn.
pub(crate) fn made_up() -> Vec<Page> {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    (0..MADE_UP).map(|n| page(n, &mut random)).collect()
}

fn page(n: u32, random: &mut impl FnMut() -> u64) -> Page {
    const WORDS: [&[u8]; 8] =
        [b"static ", b"struct ", b"return ", b"int ", b"page->", b"index ", b"(void)\n", b"if (!err)\n\t"];
    let mut page = [0; PAGE_SIZE];
    match n % 12 {
        0..5 => {
            let mut rest = page.as_mut_slice();
            while !rest.is_empty() {
                let word = WORDS.get(random() as usize % 8).copied().unwrap_or_default();
                let (now, later) = rest.split_at_mut(word.len().min(rest.len()));
                now.iter_mut().zip(word).for_each(|(to, from)| *to = *from);
                if let Some(byte) = now.first_mut() {
                    *byte = byte.wrapping_add((random() % 8) as u8);
                }
                rest = later;
            }
        }
        5..10 => page.chunks_exact_mut(16).for_each(|pair| {
            let pointer = 0x7f3a_1000_0000 + random() % 65536 * 16;
            pair.iter_mut().zip(pointer.to_le_bytes()).for_each(|(to, from)| *to = from);
        }),
        10 => page.iter_mut().for_each(|byte| *byte = random() as u8),
        _ => {}
    }
    page
}
