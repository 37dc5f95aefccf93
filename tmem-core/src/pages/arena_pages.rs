//! Pages in the arena: one word, one frame, or a record of the log.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::log::{Log, Record};
use super::{Damaged, Fetched, Form, Held, NoRoom, Packing, PageStore, Stored, UNIT};
use crate::arena::Arena;
use crate::codec::{self, PutCopy, SCRATCH as SCRATCH_BYTES};
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

    /// How pages are copied into frames.
    pub(crate) fn put_copy(&self) -> PutCopy {
        self.put_copy
    }

    /// Flips a bit of a stored page.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn damage(&self, stored: &Stored) {
        match stored.form {
            Form::Frame => {
                // SAFETY: the test that calls this runs alone on its store.
                let page = unsafe { self.arena.page_mut(stored.a) };
                page[40] ^= 4;
            }
            Form::Packed(_) => self.log.damage(stored.a),
            Form::Word | Form::Elsewhere(_) => {}
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
            return Ok(Stored { a: word as u32, b: (word >> 32) as u32, form: Form::Word, units: 0 });
        }
        let frame = self.arena.alloc().ok_or(NoRoom)?;
        // SAFETY: the frame was just allocated, and nobody else knows it until the caller links it.
        let checksum = self.put_copy.copy(page, unsafe { self.arena.page_mut(frame) });
        Ok(Stored { a: frame, b: checksum, form: Form::Frame, units: 0 })
    }

    fn pack(&self, page: &Page, packing: Packing) -> Result<Option<Stored>, NoRoom> {
        SCRATCH.with_borrow_mut(|scratch| {
            let compress = packing.method.method().compress;
            let Some(length) = compress(page, scratch, packing.most) else { return Ok(None) };
            let block = scratch.get(..length).ok_or(NoRoom)?;
            let (place, units) = self.log.append(packing.backref, block).ok_or(NoRoom)?;
            Ok(Some(Stored { a: place, b: packing.checksum, form: Form::Packed(packing.method), units }))
        })
    }

    fn fetch(&self, stored: &Stored, page: &mut Page) -> Fetched {
        let mut block = 0;
        match stored.form {
            // SAFETY: the stored page owns the frame; it is never written again before it is freed, which the caller's
            // lock forbids meanwhile.
            Form::Frame => codec::copy_out(unsafe { self.arena.page(stored.a) }, page),
            Form::Packed(_) => block = self.log.read(stored.a, page),
            Form::Word | Form::Elsewhere(_) => {}
        }
        Fetched { form: stored.form, a: stored.a, b: stored.b, block }
    }

    fn finish(&self, fetched: Fetched, page: &mut Page) -> Result<(), Damaged> {
        let whole = match fetched.form {
            Form::Word => {
                codec::fill(u64::from(fetched.a) | u64::from(fetched.b) << 32, page);
                return Ok(());
            }
            Form::Frame => true,
            Form::Packed(method) => SCRATCH
                .with_borrow_mut(|scratch| {
                    let length = usize::from(fetched.block);
                    let (block, from) = (scratch.get_mut(..length)?, page.get(..length)?);
                    block.copy_from_slice(from);
                    (method.method().decompress)(block, page)
                })
                .is_some(),
            // This is the lowest tier.
            Form::Elsewhere(_) => false,
        };
        if whole && (!self.due() || codec::checksum(page) == fetched.b) {
            return Ok(());
        }
        page.fill(0);
        Err(Damaged)
    }

    fn free(&self, stored: Stored) {
        match stored.form {
            Form::Frame => self.arena.free(stored.a),
            Form::Packed(_) => self.log.free(stored.a, u32::from(stored.units) * UNIT),
            Form::Word | Form::Elsewhere(_) => {}
        }
    }

    fn held(&self) -> Held {
        Held { frames: self.log.frames(), payload: self.log.payload() }
    }

    fn sparse(&self, one_in: u32) -> Option<u32> {
        self.log.pin_sparsest(one_in)
    }

    fn record(&self, segment: u32, last: Option<&Record>) -> Option<Record> {
        self.log.record(segment, last)
    }

    fn relocate(&self, record: &Record, page: &mut Page) -> Option<u32> {
        self.log.relocate(record, page)
    }

    fn leave(&self, segment: u32) {
        self.log.unpin(segment);
    }
}
