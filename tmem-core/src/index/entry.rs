//! What the index keeps of one page: three words.

use crate::pages::{Form, Stored};

/// A page's entry: its stored form (two words), and one word of size, owner and marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(super) a: u32,
    pub(super) b: u32,
    pub(super) c: u32,
}

/// Words in an entry.
pub(super) const WORDS: usize = 3;

// Word c, from bit 0: form 3, age 2, stuck 1, policy's marks 3, units 10, owner 13.
const AGE: u32 = 3;
const STUCK: u32 = 5;
const MARKS: u32 = 6;
const UNITS: u32 = 9;
const OWNER: u32 = 19;

impl Entry {
    /// An entry for a page that `owner` stored.
    pub(crate) fn new(stored: &Stored, owner: u16) -> Self {
        let c = stored.form.bits() | u32::from(stored.units) << UNITS | u32::from(owner) << OWNER;
        Self { a: stored.a, b: stored.b, c }
    }

    /// The stored form. Whoever takes it out of the index for good has to free it.
    pub(crate) fn stored(&self) -> Stored {
        let form = Form::from_bits(self.c);
        Stored { a: self.a, b: self.b, form, units: (self.c >> UNITS & 0x3ff) as u16 }
    }

    /// The stored form's kind.
    pub(crate) fn form(&self) -> Form {
        self.stored().form
    }

    /// The same entry with another stored form.
    pub(crate) fn with(&self, stored: &Stored) -> Self {
        let mut new = Self::new(stored, self.owner());
        new.c |= self.c & (7 << MARKS);
        new
    }

    /// Number of the client that the page is charged to.
    pub(crate) fn owner(&self) -> u16 {
        (self.c >> OWNER) as u16
    }

    /// Times the compressor may still pass before it takes the page, 0 to 3.
    pub(crate) fn age(&self) -> u32 {
        self.c >> AGE & 3
    }

    pub(crate) fn set_age(&mut self, age: u32) {
        self.c = self.c & !(3 << AGE) | (age & 3) << AGE;
    }

    /// Known not to compress any further.
    pub(crate) fn is_stuck(&self) -> bool {
        self.c >> STUCK & 1 == 1
    }

    pub(crate) fn set_stuck(&mut self) {
        self.c |= 1 << STUCK;
    }

    pub(crate) fn marks(&self) -> u32 {
        self.c >> MARKS & 7
    }

    pub(crate) fn set_marks(&mut self, marks: u32) {
        self.c = self.c & !(7 << MARKS) | (marks & 7) << MARKS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::LZ4;

    #[test]
    fn fields_do_not_touch_each_other() {
        let stored = || Stored { a: 1, b: u32::MAX, form: Form::Packed(LZ4), units: 512 };
        let mut entry = Entry::new(&stored(), 8191);
        entry.set_age(3);
        entry.set_marks(5);
        entry.set_stuck();
        entry.set_age(1);
        assert_eq!((entry.owner(), entry.age(), entry.marks(), entry.is_stuck()), (8191, 1, 5, true));
        assert_eq!(entry.stored(), stored());
        let raw = entry.with(&Stored { a: 9, b: 8, form: Form::Frame, units: 0 });
        assert_eq!((raw.owner(), raw.marks(), raw.age(), raw.is_stuck()), (8191, 5, 0, false));
    }
}
