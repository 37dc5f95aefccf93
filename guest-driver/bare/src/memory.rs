//! The guest's own memory, as atomics: the host and other vCPUs may change it at any time.

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use tmem_abi::{Gpa, PAGE_SIZE};

use crate::layout;

/// Words of a page.
pub const PAGE_WORDS: usize = PAGE_SIZE / 8;
/// Pages of one vCPU's work area.
pub const WORK_PAGES: usize = layout::WORK_SIZE as usize / PAGE_SIZE;

/// Words of this guest's memory from `address` on, a multiple of 8.
///
/// # Panics
/// If they reach beyond the memory of the largest guest.
pub fn words(address: u64, count: usize) -> &'static [AtomicU64] {
    assert!(address.is_multiple_of(8), "words are aligned");
    check(address, count * 8);
    let start = core::ptr::with_exposed_provenance::<AtomicU64>(address as usize);
    // SAFETY: in a bare guest all addresses below the end of RAM are mapped to themselves for as long as it runs; the
    // address is aligned, not null, and in an area of the layout that holds no Rust object, so that all its accesses
    // are these atomic ones.
    unsafe { core::slice::from_raw_parts(start, count) }
}

/// Bytes of this guest's memory from `address` on.
///
/// # Panics
/// If they reach beyond the memory of the largest guest.
pub fn bytes(address: u64, count: usize) -> &'static [AtomicU8] {
    check(address, count);
    let start = core::ptr::with_exposed_provenance::<AtomicU8>(address as usize);
    // SAFETY: as for `words`.
    unsafe { core::slice::from_raw_parts(start, count) }
}

/// The areas of the layout that payloads may see as words: all but page tables, image and stacks.
fn check(address: u64, length: usize) {
    let end = address + length as u64;
    let inside = |start: u64, stop: u64| address >= start && end <= stop;
    assert!(
        inside(layout::BOOT_INFO, layout::STOP + 0x1000)
            || inside(layout::MAILBOXES, layout::IMAGE)
            || inside(layout::WORK, layout::ram_bytes(layout::MAX_VCPUS)),
        "an address outside the shared areas of the layout"
    );
}

/// Whether the host wants the payload to finish.
pub fn stop_requested() -> bool {
    words(layout::STOP, 1).iter().any(|word| word.load(Relaxed) != 0)
}

/// A page of a vCPU's work area.
#[derive(Clone, Copy, Debug)]
pub struct WorkPage {
    address: u64,
}

impl WorkPage {
    /// Page `number` of the work area of `vcpu`.
    ///
    /// # Panics
    /// If the area has no such page.
    pub fn new(vcpu: u32, number: usize) -> Self {
        assert!(number < WORK_PAGES && vcpu < layout::MAX_VCPUS, "a page of the work area");
        Self { address: layout::work(vcpu) + (number * PAGE_SIZE) as u64 }
    }

    /// Its guest-physical address.
    pub fn gpa(self) -> Gpa {
        Gpa(self.address)
    }

    /// Its words.
    pub fn words(self) -> &'static [AtomicU64] {
        words(self.address, PAGE_WORDS)
    }

    /// Its bytes.
    pub fn bytes(self) -> &'static [AtomicU8] {
        bytes(self.address, PAGE_SIZE)
    }

    /// Gives it the content that belongs to `seed`: one word in four is random, the others repeat, so that a codec
    /// finds something to do.
    pub fn fill(self, seed: u64) {
        self.words().iter().zip(content(seed)).for_each(|(word, value)| word.store(value, Relaxed));
    }

    /// Whether it has the content that belongs to `seed`, every word of it.
    pub fn holds(self, seed: u64) -> bool {
        self.words().iter().zip(content(seed)).all(|(word, value)| word.load(Relaxed) == value)
    }

    /// Fills it with one byte.
    pub fn fill_byte(self, byte: u8) {
        let word = u64::from_le_bytes([byte; 8]);
        self.words().iter().for_each(|to| to.store(word, Relaxed));
    }

    /// Whether the bytes in `range` are all `byte`.
    pub fn is_byte(self, range: core::ops::Range<usize>, byte: u8) -> bool {
        let (start, length) = (range.start, range.len());
        self.bytes().iter().skip(start).take(length).all(|b| b.load(Relaxed) == byte)
    }
}

fn content(seed: u64) -> impl Iterator<Item = u64> {
    (0..PAGE_WORDS as u64).map(move |n| if n % 4 == 0 { crate::random::mix(seed ^ n) } else { seed })
}
