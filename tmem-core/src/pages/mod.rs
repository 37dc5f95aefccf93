//! The page store: how the stored form of a page is made, read and freed. The index above knows nothing of it.
//!
//! This is the seam that the first transcendent-memory core called *pamops*: raw, compressed, disk or remote stores are
//! the same to the index, and a test wraps it to make any of its steps fail. The index names where a page is by a [`Form`]
//! and two words; what these mean is known here alone.
//!
//! A tier below the arena is a [`PageStore`] around this one: it takes over pages by [`pack`](PageStore::pack), which may
//! answer with [`Form::Elsewhere`], and [`fetch`](PageStore::fetch)es nothing under a lock: the store
//! [`finish`](PageStore::finish)es such a page with no lock held, and looks afterwards whether it is still the same.

mod arena_pages;
mod log;

pub(crate) use arena_pages::ArenaPages;
pub(crate) use log::{Backref, Record};

use crate::codec::MethodId;
use crate::live::LivePage;
use crate::page::{PAGE_SIZE, Page};

/// Where a page's bytes are, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One 64-bit word, repeated: `a` is its low half, `b` the high one.
    Word,
    /// A frame: `a` is its number, `b` the checksum.
    Frame,
    /// A record of the log, compressed: `a` is its place, `b` the checksum of the page.
    Packed(MethodId),
    /// In a tier below, one of two: `a` is the tier's, `b` the checksum of the page.
    Elsewhere(u8),
}

/// Forms there are, for counters by form.
pub(crate) const FORMS: usize = 8;
const PACKED: u32 = 2;
const ELSEWHERE: u32 = PACKED + MethodId::COUNT;

impl Form {
    /// Three bits.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Word => 0,
            Self::Frame => 1,
            Self::Packed(method) => PACKED + method.bits(),
            Self::Elsewhere(tier) => ELSEWHERE + u32::from(tier & 1),
        }
    }

    /// The form of the lowest three bits.
    pub(crate) fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::Word,
            1 => Self::Frame,
            bits if bits < ELSEWHERE => Self::Packed(MethodId::from_bits(bits - PACKED)),
            bits => Self::Elsewhere((bits - ELSEWHERE) as u8),
        }
    }

    /// All forms, in the order of their bits.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..FORMS as u32).map(Self::from_bits)
    }

    /// A record of the log.
    pub(crate) fn is_packed(self) -> bool {
        matches!(self, Self::Packed(_))
    }
}

/// The stored form of a page: who holds it owns what it names. It is not copied, and it must end in
/// [`PageStore::free`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a stored page that is not freed is lost"]
pub(crate) struct Stored {
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) form: Form,
    /// Size of a record in units of 8 bytes; 0 for other forms.
    pub(crate) units: u16,
}

/// Bytes in a unit of [`Stored::units`].
pub(crate) const UNIT: u32 = 8;

impl Stored {
    /// A page that names nothing, to be left where another was.
    pub(crate) const NOTHING: Self = Self { a: 0, b: 0, form: Form::Word, units: 0 };

    /// Bytes of the store charged for the page's data.
    pub(crate) fn bytes(&self) -> u64 {
        match self.form {
            Form::Word | Form::Elsewhere(_) => 0,
            Form::Frame => PAGE_SIZE as u64,
            Form::Packed(_) => u64::from(self.units) * u64::from(UNIT),
        }
    }
}

/// There is no room for the page, or its codec failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// The stored page is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// What [`PageStore::fetch`] left to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched {
    pub(crate) form: Form,
    pub(crate) a: u32,
    pub(crate) b: u32,
    /// Bytes of a compressed block at the start of the page.
    block: u16,
}

impl Fetched {
    /// Nothing was copied yet: the page may be gone before it is.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self.form, Form::Elsewhere(_))
    }

    /// What is left to do for a page that is elsewhere.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(crate) fn elsewhere(stored: &Stored) -> Self {
        Self { form: stored.form, a: stored.a, b: stored.b, block: 0 }
    }
}

/// How a page is to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub(crate) method: MethodId,
    /// The page's checksum, which is known already.
    pub(crate) checksum: u32,
    /// Who will name it.
    pub(crate) backref: Backref,
    /// Most bytes that are worth it.
    pub(crate) most: usize,
}

/// What the page store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Frames of records.
    pub(crate) frames: u32,
    /// Bytes of records, without what packing them costs.
    pub(crate) payload: u64,
}

/// Creates, reads and frees stored pages.
pub(crate) trait PageStore: Send + Sync {
    /// Stores a page, quickly. Called with no lock held, but by a modification that lost too many races.
    fn create(&self, page: LivePage<'_>) -> Result<Stored, NoRoom>;

    /// Stores a page that stays in a smaller form, or further down, or tells that this is not worth it (`None`). Called with
    /// no lock held.
    fn pack(&self, page: &Page, packing: Packing) -> Result<Option<Stored>, NoRoom>;

    /// First step of reading: copies bytes that are in memory and does nothing else. Either the caller holds the lock that
    /// keeps `stored` alive, or it has taken `stored` out of the index.
    fn fetch(&self, stored: &Stored, page: &mut Page) -> Fetched;

    /// Second step, with no lock held: turns what was fetched into the page, or reads it where it is. A damaged page is
    /// zeroed. What is elsewhere may be gone or another page by now: then the answer does not matter.
    fn finish(&self, fetched: Fetched, page: &mut Page) -> Result<(), Damaged>;

    /// Frees a stored page. Called with no lock held.
    fn free(&self, stored: Stored);

    /// What is held now.
    fn held(&self) -> Held;

    /// Starts emptying a segment of records with many holes, at least one byte in `one_in` of it dead: the sparsest there
    /// is. Takes the same time however many there are.
    fn sparse(&self, one_in: u32) -> Option<u32>;

    /// The record of that segment behind another, or the first.
    fn record(&self, segment: u32, last: Option<&Record>) -> Option<Record>;

    /// Copies a record, which the caller keeps alive, to a better place, and tells which.
    fn relocate(&self, record: &Record, page: &mut Page) -> Option<u32>;

    /// Ends what [`sparse`](Self::sparse) began.
    fn leave(&self, segment: u32);
}
