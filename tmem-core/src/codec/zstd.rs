//! Zstandard frames of one page, without size and checksum, which the store knows.
//!
//! Level 1: higher ones took longer and gained nothing on single pages.

use std::cell::RefCell;

use zstd_safe::{CCtx, CParameter, CompressionLevel, DCtx};

use super::{Method, SCRATCH};
use crate::page::{PAGE_SIZE, Page};

const LEVEL: CompressionLevel = 1;

// The library's contexts are a few hundred KiB, made when a thread first needs one.
thread_local! {
    static COMPRESSOR: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

pub(super) const METHOD: Method = Method { compress, decompress };

/// Compresses a page into at most `most` bytes of `out` and returns the length, or `None` when it does not fit.
fn compress(page: &Page, out: &mut [u8; SCRATCH], most: usize) -> Option<usize> {
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            let mut context = CCtx::try_create()?;
            context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
            context.set_parameter(CParameter::ContentSizeFlag(false)).ok()?;
            *kept = Some(context);
        }
        kept.as_mut()?.compress2(out.get_mut(..most)?, page).ok()
    })
}

/// Decompresses a frame that must yield exactly one page.
fn decompress(block: &[u8], page: &mut Page) -> Option<()> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = DCtx::try_create();
        }
        let length = kept.as_mut()?.decompress(page.as_mut_slice(), block).ok()?;
        (length == PAGE_SIZE).then_some(())
    })
}
