//! Which policy a store uses, and the making of one for each client and shard.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Policy;
use super::adaptive::{Adaptive, Learner};
use super::fifo::Fifo;
use super::lru::Lru;
use super::s3fifo::S3Fifo;
use super::sieve::Sieve;

/// How a store chooses the ephemeral page to evict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// First in, first out.
    Fifo,
    /// Least recently put or read.
    Lru,
    /// S3-FIFO (Yang et al., SOSP 2023).
    S3Fifo,
    /// SIEVE (Zhang et al., NSDI 2024).
    Sieve,
    /// Whichever of the rules of LRU, LIRS, 2Q, S3-FIFO and W-TinyLFU does best on a sample of each client's pages.
    #[default]
    Adaptive,
}

/// A name that no policy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no eviction policy {0:?}: use fifo, lru, s3-fifo, sieve or adaptive")]
pub struct UnknownEviction(String);

impl Eviction {
    /// All policies.
    pub const ALL: [Self; 5] = [Self::Fifo, Self::Lru, Self::S3Fifo, Self::Sieve, Self::Adaptive];

    fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Lru => "lru",
            Self::S3Fifo => "s3-fifo",
            Self::Sieve => "sieve",
            Self::Adaptive => "adaptive",
        }
    }
}

impl fmt::Display for Eviction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Eviction {
    type Err = UnknownEviction;

    fn from_str(name: &str) -> Result<Self, UnknownEviction> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.name() == name)
            .ok_or_else(|| UnknownEviction(name.to_owned()))
    }
}

/// One client's policies, one a shard, and what they share.
pub(crate) struct Policies {
    choice: Eviction,
    learner: Arc<Learner>,
}

impl Policies {
    pub(crate) fn new(choice: Eviction) -> Self {
        Self { choice, learner: Arc::new(Learner::new()) }
    }

    /// The policy for one more shard.
    pub(crate) fn make(&self) -> Box<dyn Policy> {
        match self.choice {
            Eviction::Fifo => Box::new(Fifo::new()),
            Eviction::Lru => Box::new(Lru::new()),
            Eviction::S3Fifo => Box::new(S3Fifo::new()),
            Eviction::Sieve => Box::new(Sieve::new()),
            Eviction::Adaptive => Box::new(Adaptive::new(Arc::clone(&self.learner))),
        }
    }

    /// Bytes of what they share.
    pub(crate) fn shared_bytes(&self) -> usize {
        self.learner.bytes()
    }
}
