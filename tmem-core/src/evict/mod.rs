//! Which ephemeral page goes first. One trait, one file per policy.
//!
//! A policy orders the pages of one client in one shard, under that shard's lock. It keeps its order in two links and
//! three bits per page, which live in the index, so that a page's place costs 8 bytes and no allocation.

mod census;
mod choice;
mod follow;
mod history;
mod learner;
mod list;
mod queues;
mod rule;
mod shadow;
#[cfg(test)]
mod tests;

pub(crate) use choice::{AnyPolicy, Policies};
pub use choice::{Eviction, UnknownEviction};

/// What a policy may keep with each page. Tokens name pages.
pub(crate) trait Nodes {
    /// The page's two links.
    fn links(&self, token: u32) -> [u32; 2];
    /// Sets the page's two links.
    fn set_links(&mut self, token: u32, links: [u32; 2]);
    /// The page's marks, 0 to 7.
    fn marks(&self, token: u32) -> u32;
    /// Sets the page's marks.
    fn set_marks(&mut self, token: u32, marks: u32);
    /// A hash that the page's key had before and will have again.
    fn name(&self, token: u32) -> u64;
}

/// An eviction policy. The work of every call is bounded, whatever happened before.
pub(crate) trait Policy: Send {
    /// A page was put.
    fn insert(&mut self, nodes: &mut dyn Nodes, token: u32);

    /// A page was read and stays.
    fn hit(&mut self, nodes: &mut dyn Nodes, token: u32);

    /// A page is about to leave: taken by an exclusive get (`taken`), flushed or replaced.
    fn remove(&mut self, nodes: &mut dyn Nodes, token: u32, taken: bool);

    /// Chooses the page to evict and forgets it. None when there is none, or when another shard's page should go first;
    /// with `must` only when there is none. With `grow` it may hold what it [`wants`](Self::wants) from now on.
    fn victim(&mut self, nodes: &mut dyn Nodes, grow: bool, must: bool) -> Option<u32>;

    /// Bytes held beside the pages' links and marks.
    #[cfg(test)]
    fn bytes(&self) -> usize;

    /// Bytes that it would hold beside them from the next eviction on, what the client's policies share included.
    fn wants(&self) -> usize;
}
