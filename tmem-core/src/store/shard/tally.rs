//! How many pages a shard has: of each form, and of each promise.

use crate::codec::Recipe;
use crate::index::Entry;
use crate::key::Kind;
use crate::pages::{FORMS, Form};

/// The counts.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::store) struct Tally {
    forms: [u64; FORMS],
    /// Of those, the ones known not to compress any further.
    stuck: [u64; FORMS],
    persistent: u64,
    ephemeral: u64,
}

impl Tally {
    /// Counts a page in or out by its form.
    pub(super) fn count(&mut self, entry: &Entry, by: i64) {
        let form = entry.form().bits() as usize;
        if let Some(count) = self.forms.get_mut(form) {
            *count = count.wrapping_add_signed(by);
        }
        if entry.is_stuck()
            && let Some(count) = self.stuck.get_mut(form)
        {
            *count = count.wrapping_add_signed(by);
        }
    }

    /// Counts a page in or out by what was promised of it.
    pub(super) fn count_kind(&mut self, kind: Kind, by: i64) {
        let pages = if kind == Kind::Persistent { &mut self.persistent } else { &mut self.ephemeral };
        *pages = pages.wrapping_add_signed(by);
    }

    /// Pages of a form.
    pub(in crate::store) fn of(&self, form: Form) -> u64 {
        self.forms.get(form.bits() as usize).copied().unwrap_or_default()
    }

    pub(in crate::store) fn persistent(&self) -> u64 {
        self.persistent
    }

    pub(in crate::store) fn ephemeral(&self) -> u64 {
        self.ephemeral
    }

    /// Pages that may be compressed: raw ones, and with `deep` those that may be once more.
    pub(in crate::store) fn compressible(&self, recipe: Recipe, deep: bool) -> u64 {
        let may = |form: &Form| recipe.next(*form, deep).is_some();
        let left =
            |form: Form| self.of(form) - self.stuck.get(form.bits() as usize).copied().unwrap_or_default();
        Form::all().filter(may).map(left).sum()
    }

    pub(in crate::store) fn add(&mut self, other: &Self) {
        let add = |to: &mut [u64; FORMS], from: &[u64; FORMS]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        };
        add(&mut self.forms, &other.forms);
        add(&mut self.stuck, &other.stuck);
        self.persistent += other.persistent;
        self.ephemeral += other.ephemeral;
    }
}
