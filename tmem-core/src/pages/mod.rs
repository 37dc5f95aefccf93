//! The page store: how the stored form of a page is made, read and freed. The index above knows nothing of it.
//!
//! This is the seam that the first transcendent-memory core called *pamops*: raw, compressed, disk or remote stores are
//! the same to the index, and a test can make any of its steps fail.

mod arena_pages;
mod log;

pub(crate) use arena_pages::ArenaPages;

use crate::live::LivePage;
use crate::page::Page;

/// How a page is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Form {
    /// One 64-bit word, repeated: `a` is its low half, `b` the high one.
    Same = 0,
    /// A frame: `a` is its number, `b` the checksum.
    Raw = 1,
    /// An LZ4 record in the log: `a` is its place, `b` the checksum of the page.
    Lz4 = 2,
    /// A Zstandard record in the log, likewise.
    Zstd = 3,
}

impl Form {
    /// A record of the log.
    pub(crate) fn is_packed(self) -> bool {
        matches!(self, Self::Lz4 | Self::Zstd)
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
    /// Bytes charged for the page's data.
    pub(crate) fn bytes(&self) -> u64 {
        match self.form {
            Form::Same => 0,
            Form::Raw => crate::page::PAGE_SIZE as u64,
            Form::Lz4 | Form::Zstd => u64::from(self.units) * u64::from(UNIT),
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
    form: Form,
    a: u32,
    b: u32,
    /// Bytes of a compressed block at the start of the page.
    block: u16,
}

/// Where the index keeps a page, so that a record that has to move can find who points to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) shard: u16,
    pub(crate) token: u32,
}

/// How a page is to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Squeeze {
    /// [`Form::Lz4`] or [`Form::Zstd`].
    pub(crate) form: Form,
    /// The page's checksum, which is known already.
    pub(crate) checksum: u32,
    pub(crate) home: Home,
    /// Most bytes that are worth it.
    pub(crate) most: usize,
}

/// Creates, reads and frees stored pages.
pub(crate) trait PageStore: Send + Sync {
    /// Stores a page, quickly. Called with no lock held, but by a modification that lost too many races.
    fn create(&self, page: LivePage<'_>) -> Result<Stored, NoRoom>;

    /// Stores a page in compressed form, or tells that this is not worth it (`None`). Called with no lock held.
    fn squeeze(&self, page: &Page, into: Squeeze) -> Result<Option<Stored>, NoRoom>;

    /// First step of reading: copies bytes and does nothing else. Either the caller holds the lock that keeps `stored`
    /// alive, or it has taken `stored` out of the index.
    fn fetch(&self, stored: &Stored, page: &mut Page) -> Fetched;

    /// Second step, with no lock held: turns what was fetched into the page. A damaged page is zeroed.
    fn finish(&self, fetched: Fetched, page: &mut Page) -> Result<(), Damaged>;

    /// Frees a stored page.
    fn free(&self, stored: Stored);
}

impl<S: PageStore + ?Sized> PageStore for std::sync::Arc<S> {
    fn create(&self, page: LivePage<'_>) -> Result<Stored, NoRoom> {
        (**self).create(page)
    }

    fn squeeze(&self, page: &Page, into: Squeeze) -> Result<Option<Stored>, NoRoom> {
        (**self).squeeze(page, into)
    }

    fn fetch(&self, stored: &Stored, page: &mut Page) -> Fetched {
        (**self).fetch(stored, page)
    }

    fn finish(&self, fetched: Fetched, page: &mut Page) -> Result<(), Damaged> {
        (**self).finish(fetched, page)
    }

    fn free(&self, stored: Stored) {
        (**self).free(stored);
    }
}
