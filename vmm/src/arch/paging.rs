//! Identity page tables for entering long mode: 2 MiB pages over the first 4 GiB.

use super::layout::PAGE_TABLES_START;

/// Page tables, in the order in which they stand from their start address: PML4, PDPT, four page directories.
pub const TABLES: usize = 6;
/// Entries of one table.
const ENTRIES: usize = 512;
/// Present and writable (Intel SDM volume 3, table 4-15).
const PRESENT_WRITABLE: u64 = 0b11;
/// Reachable from privilege level 3.
const USER: u64 = 0b100;
/// The entry maps a 2 MiB page.
const HUGE: u64 = 1 << 7;

/// Who may use the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Privilege levels 0-2.
    Supervisor,
    /// Every privilege level, for bare guests that run at level 3.
    User,
}

/// Words of tables that map [0, 4 GiB) onto itself, to be written at `start` (page-aligned); `start` is also CR3.
pub fn identity_4gib(start: u64, access: Access) -> Vec<u64> {
    let flags = match access {
        Access::Supervisor => PRESENT_WRITABLE,
        Access::User => PRESENT_WRITABLE | USER,
    };
    let table = |n: u64| (start + n * 4096) | flags;
    let pml4 = (0..ENTRIES).map(|i| if i == 0 { table(1) } else { 0 });
    let pdpt = (0..ENTRIES as u64).map(|i| if i < 4 { table(2 + i) } else { 0 });
    let directories = (0..4 * ENTRIES as u64).map(|i| (i << 21) | flags | HUGE);
    pml4.chain(pdpt).chain(directories).collect()
}

/// The tables of a Linux guest at their place in the layout.
pub fn boot_tables() -> Vec<u64> {
    identity_4gib(PAGE_TABLES_START, Access::Supervisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the processor does with CR3 and a linear address, for 2 MiB pages.
    fn walk(words: &[u64], start: u64, linear: u64) -> Option<u64> {
        let index = |level: u64| ((linear >> (12 + 9 * level)) & 511) as usize;
        let next = |entry: u64| (entry & 1 == 1).then(|| ((entry & !0xfff).wrapping_sub(start) / 8) as usize);
        let pdpt = next(words[index(3)])?;
        let directory = next(words[pdpt + index(2)])?;
        let entry = words[directory + index(1)];
        (entry & (1 | HUGE) == 1 | HUGE).then_some((entry & !0x1f_ffff) | (linear & 0x1f_ffff))
    }

    #[test]
    fn tables_when_walked_map_four_gib_to_themselves_and_nothing_above() {
        let words = identity_4gib(0x9000, Access::Supervisor);
        assert_eq!(words.len(), TABLES * ENTRIES);
        for linear in [0, 0x1234, 0x1f_ffff, 0x20_0000, 0xbfff_ffff, 0xffff_ffff] {
            assert_eq!(walk(&words, 0x9000, linear), Some(linear));
        }
        assert_eq!(walk(&words, 0x9000, 1 << 32), None);
    }

    #[test]
    fn tables_when_for_users_carry_the_user_bit_on_every_level() {
        let words = identity_4gib(0x9000, Access::User);
        assert!(words.iter().filter(|w| **w != 0).all(|w| w & USER != 0));
    }
}
