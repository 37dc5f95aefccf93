//! Rules: which queue a page enters, and which page goes. A policy follows one rule, or the best of several.

/// Which page that is put again belongs among the proven ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promote {
    /// None: with a trial queue of the whole capacity, LRU.
    Never,
    /// One put again after a shorter time than the oldest proven page has waited: LIRS (Jiang and Zhang, 2002), with
    /// times in place of its stack. The page that makes room for it goes back on trial.
    Sooner,
    /// One hit once, or evicted lately and put again: 2Q (Johnson and Shasha, 1994), and with a trial queue of half the
    /// pages what ARC comes to when both of its halves are needed.
    Seen,
    /// One hit twice, or evicted lately and put again: S3-FIFO (Yang et al., 2023).
    Twice,
    /// One hit after it left the trial queue by a comparison of counts: W-TinyLFU (Einziger et al., 2017).
    Won,
    /// As [`Won`](Self::Won), and one that was evicted and is put again in half the time that the next page to go has
    /// waited: it would have been kept, had it been known (LIRS's argument for W-TinyLFU's queues).
    WonOrSooner,
}

/// A rule: how large the trial queue is, and how a page leaves it upwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Share of the pages that are on trial, in percent.
    pub(super) trial: u32,
    pub(super) promote: Promote,
}

impl Rule {
    /// Whether a page leaves the trial queue by a comparison of counts with the page that it would push out.
    pub(super) fn compares(self) -> bool {
        matches!(self.promote, Promote::Won | Promote::WonOrSooner)
    }
}

pub(super) const LRU: Rule = Rule { trial: 100, promote: Promote::Never };
pub(super) const LIRS: Rule = Rule { trial: 1, promote: Promote::Sooner };
pub(super) const S3_FIFO: Rule = Rule { trial: 10, promote: Promote::Twice };
pub(super) const W_TINY_LFU: Rule = Rule { trial: 1, promote: Promote::Won };

/// The rules that the default tries. The first is the one that a cache begins with.
pub(super) const TRIED: [Rule; 6] = [
    Rule { trial: 5, promote: Promote::WonOrSooner },
    Rule { trial: 20, promote: Promote::WonOrSooner },
    Rule { trial: 50, promote: Promote::Seen },
    W_TINY_LFU,
    LIRS,
    LRU,
];
