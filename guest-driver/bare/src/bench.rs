//! What the bench payload measures, as its host reads it.

/// The operations that are timed, in the order of their histograms in each vCPU's mailbox; values are ticks of the time
/// stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Timed {
    /// A call that is answered right after decoding: an operation that does not exist.
    Null = 0,
    /// PUT.
    Put = 1,
    /// GET that hits.
    Get = 2,
    /// FLUSH_PAGE that finds its page.
    Flush = 3,
    /// A BATCH of PUTs, whole.
    BatchPut = 4,
    /// A BATCH of GETs that hit, whole.
    BatchGet = 5,
}

impl Timed {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Null, Self::Put, Self::Get, Self::Flush, Self::BatchPut, Self::BatchGet];
}

/// Parameters of the payload, by their place in the boot information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Pages that one vCPU puts, gets and flushes in one round, one call each.
    pub pages: u64,
    /// Entries of one batch; 0 for none.
    pub batch: u64,
}

impl Parameters {
    /// For the boot information.
    pub const fn to_words(self) -> [u64; 4] {
        [self.pages, self.batch, 0, 0]
    }

    /// From the boot information.
    pub const fn from_words([pages, batch, _, _]: [u64; 4]) -> Self {
        Self { pages, batch }
    }
}

/// Counters of one vCPU, told with [`crate::control::Command::Stop`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations answered; each entry of a batch is one, the null call is none.
    pub operations: u64,
    /// Pages that came back and were compared word by word with what was put.
    pub verified: u64,
    /// Wrong answers and wrong pages.
    pub errors: u64,
    /// The first wrong answer, for the message; 0 for a wrong page.
    pub first_error: i64,
}

impl Counters {
    /// The words after the time stamp.
    pub const fn to_words(self) -> [u64; 4] {
        [self.operations, self.verified, self.errors, self.first_error.cast_unsigned()]
    }

    /// From those words.
    pub const fn from_words([operations, verified, errors, first_error]: [u64; 4]) -> Self {
        Self { operations, verified, errors, first_error: first_error.cast_signed() }
    }
}
