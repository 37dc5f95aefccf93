//! Which policy a store uses, and the making of one for each client and shard.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::census::Census;
use super::follow::{Adaptive, Fixed};
use super::learner::Learner;
use super::rule::{self, Rule};
use super::{Nodes, Policy};
use crate::arena::Arena;

/// How a store chooses the ephemeral page to evict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Least recently put or read.
    Lru,
    /// LIRS (Jiang and Zhang, SIGMETRICS 2002).
    Lirs,
    /// S3-FIFO (Yang et al., SOSP 2023).
    S3Fifo,
    /// W-TinyLFU with a window of 1 % (Einziger, Friedman and Manes, 2017).
    WTinyLfu,
    /// Whichever of several rules does best on a sample of each client's pages: LRU, LIRS, W-TinyLFU, and W-TinyLFU
    /// with LIRS's second chance and windows of 5 and 20 %.
    #[default]
    Adaptive,
}

/// A name that no policy has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no eviction policy {0:?}: use lru, lirs, s3-fifo, w-tinylfu or adaptive")]
pub struct UnknownEviction(String);

impl Eviction {
    /// All policies.
    pub const ALL: [Self; 5] = [Self::Lru, Self::Lirs, Self::S3Fifo, Self::WTinyLfu, Self::Adaptive];

    fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lirs => "lirs",
            Self::S3Fifo => "s3-fifo",
            Self::WTinyLfu => "w-tinylfu",
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
    census: Arc<Census>,
    follow: Follow,
}

enum Follow {
    Rule(Rule),
    Learner(Arc<Learner>),
}

impl Policies {
    /// For a client of a store of so many shards.
    pub(crate) fn new(choice: Eviction, shards: usize, arena: Arc<Arena>) -> Self {
        let rule = match choice {
            Eviction::Lru => rule::LRU,
            Eviction::Lirs => rule::LIRS,
            Eviction::S3Fifo => rule::S3_FIFO,
            Eviction::WTinyLfu => rule::W_TINY_LFU,
            Eviction::Adaptive => rule::TRIED[0],
        };
        let census = Arc::new(Census::new(shards, rule, arena));
        let follow = match choice {
            Eviction::Adaptive => Follow::Learner(Arc::new(Learner::new(Arc::clone(&census)))),
            _ => Follow::Rule(rule),
        };
        Self { census, follow }
    }

    /// The policy for a shard. It takes no memory before it evicts.
    pub(crate) fn make(&self, shard: usize) -> AnyPolicy {
        let census = Arc::clone(&self.census);
        AnyPolicy(match &self.follow {
            Follow::Rule(rule) => Made::Fixed(Fixed::new(*rule, *rule != rule::LRU, census, shard)),
            Follow::Learner(learner) => Made::Adaptive(Adaptive::new(Arc::clone(learner), census, shard)),
        })
    }

    /// The shard to evict from. Its policy may know better.
    pub(crate) fn next(&self) -> usize {
        self.census.next()
    }

    /// Bytes of what they share.
    #[cfg(test)]
    pub(crate) fn shared_bytes(&self) -> usize {
        self.census.bytes() + if let Follow::Learner(learner) = &self.follow { learner.bytes() } else { 0 }
    }
}

/// Any of the policies, in place: a client has one in each shard, and none of them is a box of its own.
pub(crate) struct AnyPolicy(Made);

enum Made {
    Fixed(Fixed),
    Adaptive(Adaptive),
}

impl AnyPolicy {
    fn any(&self) -> &dyn Policy {
        match &self.0 {
            Made::Fixed(policy) => policy,
            Made::Adaptive(policy) => policy,
        }
    }

    fn any_mut(&mut self) -> &mut dyn Policy {
        match &mut self.0 {
            Made::Fixed(policy) => policy,
            Made::Adaptive(policy) => policy,
        }
    }
}

impl Policy for AnyPolicy {
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.any_mut().insert(nodes, token);
    }

    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32) {
        self.any_mut().hit(nodes, token);
    }

    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool) {
        self.any_mut().remove(nodes, token, taken);
    }

    fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool, must: bool) -> Option<u32> {
        self.any_mut().victim(nodes, grow, must)
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.any().bytes()
    }

    fn wants(&self) -> usize {
        self.any().wants()
    }
}
