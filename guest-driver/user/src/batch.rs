//! Many operations in one call.

use std::marker::PhantomData;

use crate::abi::{self, Op};
use crate::pool::answer;
use crate::{Key, Page, PoolError};

/// Operations that [`Pool::run`](crate::Pool::run) runs in order. It borrows the pages that they are about.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    pub(crate) ops: Vec<Op>,
    pages: PhantomData<&'a mut Page>,
}

impl<'a> Batch<'a> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a put. What it puts is read before any operation near it runs, so a get before it does not change it.
    pub fn put(&mut self, key: Key, page: &'a Page) -> &mut Self {
        self.add(abi::PUT, key, page.as_ptr() as u64)
    }

    /// Adds a get.
    pub fn get(&mut self, key: Key, page: &'a mut Page) -> &mut Self {
        self.add(abi::GET, key, page.as_mut_ptr() as u64)
    }

    /// Adds a flush of one page.
    pub fn flush(&mut self, key: Key) -> &mut Self {
        self.add(abi::FLUSH, key, 0)
    }

    /// What came of operation `n`, once the batch has run: of a put 0, of a get how many pages were found, of a flush how
    /// many went. Nothing if there is no such operation.
    ///
    /// # Errors
    /// As for the operation by itself; [`PoolError::NotRun`] before it has run.
    pub fn status(&self, n: usize) -> Option<Result<i64, PoolError>> {
        self.ops.get(n).map(|op| answer(op.status))
    }

    fn add(&mut self, op: u32, key: Key, page: u64) -> &mut Self {
        self.ops.push(Op { op, index: key.index, oid: key.oid, page, status: abi::NOT_RUN });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_run_says_so() {
        let page = [0; crate::PAGE_SIZE];
        let mut batch = Batch::new();
        batch.put(Key::default(), &page).flush(Key::default());
        assert!([0, 1].iter().all(|n| matches!(batch.status(*n), Some(Err(PoolError::NotRun)))));
        assert!(batch.status(2).is_none());
    }
}
