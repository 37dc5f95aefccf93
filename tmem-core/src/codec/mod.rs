//! What a page can be turned into: one word, a copy, or what a compression method makes of it; and the checksum that proves
//! that it came back.
//!
//! A new method is a file here, a line in [`METHODS`], a name of its own and what asks for it in [`Recipe`], a choice in
//! `config.rs`, and the same for the command line.

mod checksum;
mod copy;
mod lz4;
mod same;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vectors;
mod zstd;

pub(crate) use checksum::checksum;
pub use copy::PutCopy;
pub(crate) use copy::copy_out;
pub(crate) use same::{fill, same_word};

use crate::config::Codec;
use crate::page::{PAGE_SIZE, Page};
use crate::pages::Form;

/// Bytes of a thread's buffer for compressed pages.
pub(crate) const SCRATCH: usize = PAGE_SIZE;

/// A compressed page must save at least an eighth of a page to be worth decompressing (zcache's limit, too:
/// `zv_max_zsize`).
pub(crate) const WORTH: usize = PAGE_SIZE / 8 * 7;

/// A way to compress a page.
pub(crate) struct Method {
    /// Compresses a page into at most so many bytes of the buffer and returns the length, or `None` when it does not fit.
    pub(crate) compress: fn(&Page, &mut [u8; SCRATCH], usize) -> Option<usize>,
    /// Decompresses a block that must yield exactly one page.
    pub(crate) decompress: fn(&[u8], &mut Page) -> Option<()>,
}

/// All methods, by [`MethodId`]. There may be four: an index entry has two bits for them.
static METHODS: [Method; 2] = [lz4::METHOD, zstd::METHOD];

/// A method of [`METHODS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MethodId(u8);

pub(crate) const LZ4: MethodId = MethodId(0);
pub(crate) const ZSTD: MethodId = MethodId(1);

impl MethodId {
    /// Methods there may be.
    pub(crate) const COUNT: u32 = 4;

    pub(crate) fn from_bits(bits: u32) -> Self {
        Self((bits % Self::COUNT) as u8)
    }

    pub(crate) fn bits(self) -> u32 {
        u32::from(self.0)
    }

    pub(crate) fn method(self) -> &'static Method {
        METHODS.get(usize::from(self.0)).expect("numbers of methods are constants of this file")
    }
}

/// What becomes of pages that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// The method for raw pages.
    pub(crate) first: Option<MethodId>,
    /// The method for what the first one made, in a store that is short of memory.
    pub(crate) deep: Option<MethodId>,
}

impl From<Codec> for Recipe {
    fn from(codec: Codec) -> Self {
        let (first, deep) = match codec {
            Codec::Raw => (None, None),
            Codec::Lz4 => (Some(LZ4), None),
            Codec::Zstd => (Some(ZSTD), None),
            Codec::Auto => (Some(LZ4), Some(ZSTD)),
        };
        Self { first, deep }
    }
}

impl Recipe {
    /// The method that a page in this form is to be compressed by; with `deep` also for what the first one made.
    pub(crate) fn next(self, form: Form, deep: bool) -> Option<MethodId> {
        match form {
            Form::Frame => self.first,
            Form::Packed(method) if deep && self.first == Some(method) => self.deep,
            _ => None,
        }
    }
}
