//! Names of pages that are gone, the last so many of them.

use std::collections::VecDeque;

use hashbrown::HashTable;

/// A bounded first-in first-out set of 32-bit fingerprints: 9 bytes each, 17 while it grows.
pub(super) struct Ghost {
    order: VecDeque<u32>,
    table: HashTable<u32>,
}

impl Ghost {
    pub(super) const fn new() -> Self {
        Self { order: VecDeque::new(), table: HashTable::new() }
    }

    /// Remembers a name, and forgets the oldest beyond `most`.
    pub(super) fn add(&mut self, name: u64, most: usize) {
        let print = fingerprint(name);
        if most > 0 && self.table.find(spread(print), |p| *p == print).is_none() {
            self.table.insert_unique(spread(print), print, |p| spread(*p));
            self.order.push_back(print);
        }
        while self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(oldest);
        }
    }

    /// Tells whether a name is remembered, and forgets it. Its place in the order stays until it is the oldest.
    pub(super) fn take(&mut self, name: u64) -> bool {
        self.forget(fingerprint(name))
    }

    fn forget(&mut self, print: u32) -> bool {
        self.table.find_entry(spread(print), |p| *p == print).map(|entry| entry.remove()).is_ok()
    }
}

fn fingerprint(name: u64) -> u32 {
    (name >> 16) as u32
}

/// Spreads a fingerprint over 64 bits, since hashbrown uses both ends (multiplier: 2^64 / phi, Knuth).
fn spread(print: u32) -> u64 {
    u64::from(print).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_names_are_remembered_once() {
        let mut ghost = Ghost::new();
        (0..10u64).for_each(|n| ghost.add(n << 20, 4));
        assert!(!ghost.take(5 << 20) && ghost.take(6 << 20) && !ghost.take(6 << 20) && ghost.take(9 << 20));
    }
}
