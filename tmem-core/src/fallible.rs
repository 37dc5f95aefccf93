//! Memory of the process that is asked for and may be refused.

use std::alloc::{Layout, alloc};

/// A box, unless there is no memory for it.
pub(crate) fn boxed<T>(value: T) -> Option<Box<T>> {
    let layout = Layout::new::<T>();
    if layout.size() == 0 {
        return Some(Box::new(value));
    }
    // SAFETY: the layout is not empty.
    let at = unsafe { alloc(layout) }.cast::<T>();
    if at.is_null() {
        return None;
    }
    // SAFETY: the memory is new, large enough and aligned, and a box frees it by the same allocator and layout.
    unsafe {
        at.write(value);
        Some(Box::from_raw(at))
    }
}

/// Adds a value to a vector, unless there is no memory for it.
pub(crate) fn push<T>(vector: &mut Vec<T>, value: T) -> Option<()> {
    vector.try_reserve(1).ok()?;
    vector.push(value);
    Some(())
}
