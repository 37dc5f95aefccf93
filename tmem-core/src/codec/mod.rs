//! What a page can be turned into: one word, LZ4; and the checksum that proves it came back.

mod checksum;
mod lz4;
mod same;

pub(crate) use checksum::{checksum, copy};
pub(crate) use lz4::{WORST, compress, decompress};
pub(crate) use same::{fill, same_word};

use crate::page::PAGE_SIZE;

/// A compressed page must save at least an eighth of a page to be worth decompressing (zcache's limit, too:
/// `zv_max_zsize`).
const WORTH: usize = PAGE_SIZE / 8 * 7;
