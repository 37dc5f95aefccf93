//! A page of data and a checked byte range inside it.

use thiserror::Error;

/// Bytes in a page. The wire ABI fixes it at 4 KiB (Xen `tmem.h`: page size code 0).
pub const PAGE_SIZE: usize = 4096;

/// One page of data, as it is copied from and to a guest.
pub type Page = [u8; PAGE_SIZE];

/// A byte range that lies wholly inside a page; `len` may be 0.
///
/// Made once from the guest's numbers, so that nothing behind it can overflow (CVE-2012-6032 was an unchecked
/// `offset + len`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRange {
    start: u16,
    end: u16,
}

/// A byte range that does not fit in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("bytes {offset}..{offset}+{len} do not lie in a page of 4096 bytes: shorten the range")]
pub struct RangeError {
    offset: usize,
    len: usize,
}

impl PageRange {
    /// The whole page.
    pub const FULL: Self = Self { start: 0, end: PAGE_SIZE as u16 };

    /// `len` bytes from byte `offset`.
    ///
    /// # Errors
    /// [`RangeError`] when the range is not wholly inside a page.
    pub fn new(offset: usize, len: usize) -> Result<Self, RangeError> {
        let end =
            offset.checked_add(len).filter(|end| *end <= PAGE_SIZE).ok_or(RangeError { offset, len })?;
        // Both are at most 4096 here.
        Ok(Self { start: offset as u16, end: end as u16 })
    }

    /// First byte.
    pub fn offset(self) -> usize {
        usize::from(self.start)
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        usize::from(self.end - self.start)
    }

    /// True when the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// Copies the range of `from` to the same place in `to`.
    pub fn copy(self, from: &Page, to: &mut Page) {
        let range = self.offset()..usize::from(self.end);
        if let (Some(to), Some(from)) = (to.get_mut(range.clone()), from.get(range)) {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_inside_the_page_are_accepted_and_others_refused() {
        assert_eq!(PageRange::new(0, 4096), Ok(PageRange::FULL));
        assert_eq!(PageRange::new(4096, 0).map(PageRange::len), Ok(0));
        assert!(PageRange::new(4096, 1).is_err());
        assert!(PageRange::new(1, 4096).is_err());
        assert!(PageRange::new(usize::MAX, 2).is_err());
    }

    #[test]
    fn copy_touches_only_the_range() {
        let mut to = [1; PAGE_SIZE];
        PageRange::new(10, 2).unwrap().copy(&[2; PAGE_SIZE], &mut to);
        assert_eq!(to[9..13], [1, 2, 2, 1]);
    }
}
