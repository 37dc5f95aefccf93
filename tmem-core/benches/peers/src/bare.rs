//! No store at all: an array of pages, each behind a lock of its own. What the machine itself asks for the same copies.

use std::sync::{Mutex, PoisonError};

use tmem_core::{PAGE_SIZE, Page};

use crate::peers::Peer;

/// A page, or what is left of one.
#[derive(Clone, Copy)]
struct Slot {
    is_there: bool,
    page: Page,
}

/// An array of pages.
pub(crate) struct Bare(Vec<Mutex<Slot>>);

impl Bare {
    /// With room for so many, which is touched.
    pub(crate) fn new(pages: u32) -> Self {
        let mut slots = Vec::with_capacity(pages as usize);
        // SAFETY: advice about whole pages that are the vector's own; failure is allowed.
        unsafe {
            let start = slots.as_mut_ptr() as usize;
            let bytes = slots.capacity() * size_of::<Mutex<Slot>>();
            let first = start.next_multiple_of(PAGE_SIZE);
            let length = (start + bytes).saturating_sub(first) / PAGE_SIZE * PAGE_SIZE;
            libc::madvise(first as *mut libc::c_void, length, libc::MADV_HUGEPAGE);
        }
        slots.resize_with(pages as usize, || Mutex::new(Slot { is_there: false, page: [1; PAGE_SIZE] }));
        Self(slots)
    }

    fn with<T>(&self, name: u64, work: impl FnOnce(&mut Slot) -> T) -> T {
        work(&mut self.0[name as usize].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Peer for Bare {
    fn put(&self, name: u64, page: &Page) {
        self.with(name, |slot| {
            slot.is_there = true;
            slot.page.copy_from_slice(page);
        });
    }

    fn get(&self, name: u64, page: &mut Page) -> bool {
        self.with(name, |slot| {
            if slot.is_there {
                page.copy_from_slice(&slot.page);
            }
            slot.is_there
        })
    }

    fn flush(&self, name: u64) -> bool {
        self.with(name, |slot| std::mem::replace(&mut slot.is_there, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_there_from_its_put_to_its_flush() {
        let bare = Bare::new(3);
        let mut page = [0; PAGE_SIZE];
        assert!(!bare.get(2, &mut page) && !bare.flush(2));
        bare.put(2, &[7; PAGE_SIZE]);
        assert!(bare.get(2, &mut page) && page == [7; PAGE_SIZE]);
        assert!(bare.flush(2) && !bare.get(2, &mut page));
    }
}
