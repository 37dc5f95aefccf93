//! Pages in the arena: one word, one frame, or a record of the log.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::log::Log;
use super::{Damaged, Fetched, Form, NoRoom, PageStore, Squeeze, Stored, UNIT};
use crate::arena::Arena;
use crate::codec::{self, PutCopy, SCRATCH as SCRATCH_BYTES, lz4, zstd};
use crate::live::LivePage;
use crate::page::Page;

/// Without the debug switch, one read in so many verifies its checksum.
const SAMPLE: u32 = 1024;

/// Frames that have to be there from the start for ways to copy to be tried: 128 MiB, more than is a processor's own.
const TRIED: u32 = 32 << 10;

thread_local! {
    static SCRATCH: RefCell<[u8; SCRATCH_BYTES]> = const { RefCell::new([0; SCRATCH_BYTES]) };
    static READS: Cell<u32> = const { Cell::new(0) };
}

/// The page store of a machine's own memory.
pub(crate) struct ArenaPages {
    arena: Arc<Arena>,
    log: Log,
    put_copy: PutCopy,
    verify_every_read: bool,
}

impl ArenaPages {
    pub(crate) fn new(arena: Arc<Arena>, committed: u32, verify_every_read: bool) -> Self {
        // The model checker needs the same way each time, and ThreadSanitizer does not see what streams write.
        let is_tried = cfg!(not(any(feature = "shuttle", tmem_no_streams))) && committed >= TRIED;
        let put_copy = if is_tried {
            let mut number = 0u32;
            PutCopy::fastest(|| {
                // Every other multiple of 2^32 / phi (Knuth) is far from the one before.
                number = number.wrapping_add(0x9e37_79b1);
                let frame = ((u64::from(number) * u64::from(committed)) >> 32) as u32;
                // SAFETY: nobody has been given a frame yet, and the trial uses one page at a time.
                unsafe { arena.page_mut(frame) }
            })
        } else {
            PutCopy::usual()
        };
        Self { log: Log::new(Arc::clone(&arena)), arena, put_copy, verify_every_read }
    }

    /// The log of compressed pages.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// How pages are copied into frames.
    pub(crate) fn put_copy(&self) -> PutCopy {
        self.put_copy
    }

    /// Flips a bit of a stored page.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn damage(&self, stored: &Stored) {
        match stored.form {
            Form::Same => {}
            Form::Raw => {
                // SAFETY: the test that calls this runs alone on its store.
                let page = unsafe { self.arena.page_mut(stored.a) };
                page[40] ^= 4;
            }
            Form::Lz4 | Form::Zstd => self.log.damage(stored.a),
        }
    }

    fn due(&self) -> bool {
        self.verify_every_read
            || READS.with(|reads| {
                reads.set(reads.get().wrapping_add(1));
                reads.get().is_multiple_of(SAMPLE)
            })
    }
}

impl PageStore for ArenaPages {
    fn create(&self, page: LivePage<'_>) -> Result<Stored, NoRoom> {
        if let Some(word) = codec::same_word(page) {
            return Ok(Stored { a: word as u32, b: (word >> 32) as u32, form: Form::Same, units: 0 });
        }
        let frame = self.arena.alloc().ok_or(NoRoom)?;
        // SAFETY: the frame was just allocated, and nobody else knows it until the caller links it.
        let checksum = self.put_copy.copy(page, unsafe { self.arena.page_mut(frame) });
        Ok(Stored { a: frame, b: checksum, form: Form::Raw, units: 0 })
    }

    fn squeeze(&self, page: &Page, into: Squeeze) -> Result<Option<Stored>, NoRoom> {
        SCRATCH.with_borrow_mut(|scratch| {
            let length = match into.form {
                Form::Zstd => zstd::compress(page, scratch, into.most),
                _ => lz4::compress(page, scratch, into.most),
            };
            let Some(length) = length else { return Ok(None) };
            let block = scratch.get(..length).ok_or(NoRoom)?;
            let (place, units) = self.log.append(into.home, block).ok_or(NoRoom)?;
            Ok(Some(Stored { a: place, b: into.checksum, form: into.form, units }))
        })
    }

    fn fetch(&self, stored: &Stored, page: &mut Page) -> Fetched {
        let mut block = 0;
        match stored.form {
            Form::Same => {}
            // SAFETY: the stored page owns the frame; it is never written again before it is freed, which the caller's
            // lock forbids meanwhile.
            Form::Raw => codec::copy_out(unsafe { self.arena.page(stored.a) }, page),
            Form::Lz4 | Form::Zstd => block = self.log.read(stored.a, page),
        }
        Fetched { form: stored.form, a: stored.a, b: stored.b, block }
    }

    fn finish(&self, fetched: Fetched, page: &mut Page) -> Result<(), Damaged> {
        match fetched.form {
            Form::Same => {
                codec::fill(u64::from(fetched.a) | u64::from(fetched.b) << 32, page);
                return Ok(());
            }
            Form::Raw => {}
            Form::Lz4 | Form::Zstd => {
                let decoded = SCRATCH.with_borrow_mut(|scratch| {
                    let length = usize::from(fetched.block);
                    let block = scratch.get_mut(..length)?;
                    block.copy_from_slice(page.get(..length)?);
                    match fetched.form {
                        Form::Zstd => zstd::decompress(block, page),
                        _ => lz4::decompress(block, page),
                    }
                });
                if decoded.is_none() {
                    page.fill(0);
                    return Err(Damaged);
                }
            }
        }
        if self.due() && codec::checksum(page) != fetched.b {
            page.fill(0);
            return Err(Damaged);
        }
        Ok(())
    }

    fn free(&self, stored: Stored) {
        match stored.form {
            Form::Same => {}
            Form::Raw => self.arena.free(stored.a),
            Form::Lz4 | Form::Zstd => self.log.free(stored.a, u32::from(stored.units) * UNIT),
        }
    }
}
