//! The rules that the adaptive policy chooses from.

/// Which page of the trial queue proves itself, and so is moved among the proven ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promote {
    /// None: with a trial queue of the whole capacity, LRU.
    Never,
    /// One put again after a shorter time than the oldest proven page has waited: LIRS (Jiang and Zhang, 2002), with
    /// times in place of its stack.
    Sooner,
    /// One hit once, or evicted lately and put again: 2Q (Johnson and Shasha, 1994).
    Seen,
    /// One hit twice, or evicted lately and put again: S3-FIFO (Yang et al., 2023).
    Twice,
    /// One hit after it left the trial queue by winning a comparison of counts: W-TinyLFU (Einziger et al., 2017).
    Wins,
}

/// A rule: how large the trial queue is, how a page leaves it upwards, and whether it may leave by its count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Share of the pages that are on trial, in percent.
    pub(super) trial: u32,
    pub(super) promote: Promote,
}

/// The rules tried. The first is the one that a cache begins with.
pub(super) const RULES: [Rule; 6] = [
    Rule { trial: 1, promote: Promote::Sooner },
    Rule { trial: 10, promote: Promote::Seen },
    Rule { trial: 10, promote: Promote::Twice },
    Rule { trial: 100, promote: Promote::Never },
    Rule { trial: 1, promote: Promote::Wins },
    Rule { trial: 20, promote: Promote::Wins },
];
