//! What a page can be turned into: one word, a copy, LZ4, Zstandard; and the checksum that proves it came back.

mod checksum;
mod copy;
pub(crate) mod lz4;
mod same;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vectors;
pub(crate) mod zstd;

pub(crate) use checksum::checksum;
pub use copy::PutCopy;
pub(crate) use copy::copy_out;
pub(crate) use same::{fill, same_word};

use crate::page::PAGE_SIZE;

/// Bytes of a thread's buffer for compressed pages.
pub(crate) const SCRATCH: usize = PAGE_SIZE;

/// A compressed page must save at least an eighth of a page to be worth decompressing (zcache's limit, too:
/// `zv_max_zsize`).
pub(crate) const WORTH: usize = PAGE_SIZE / 8 * 7;
