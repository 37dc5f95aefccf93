//! The initial ramdisk: as high as the kernel allows, out of the way of its decompression.

use std::path::Path;

use vm_memory::{Bytes, GuestAddress};

use super::{Kernel, LoadError, open};
use crate::arch::boot_params::Initrd;
use crate::arch::layout::{HIGH_RAM_START, LOW_RAM_END, MAX_RAM, RamLayout};
use crate::arch::regs::Entry;
use crate::memory::GuestRam;

/// Where a kernel takes an initial ramdisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InitrdRoom {
    /// It has to end below this address, or
    pub(super) below: u64,
    /// may be above 4 GiB.
    pub(super) above_4g: bool,
}

impl InitrdRoom {
    /// What the kernel in an ELF takes. By the 64-bit entry that is any address; Linux keeps 32 bits of what PVH tells it
    /// (arch/x86/platform/pvh/enlighten.c), and others may as well.
    pub(super) fn of_elf(entry: Entry) -> Self {
        Self { below: HIGH_RAM_START, above_4g: matches!(entry, Entry::Linux64(_)) }
    }

    /// Where `size` bytes go, above a kernel that ends at `end`.
    fn place(self, layout: &RamLayout, end: u64, size: u64) -> Option<u64> {
        let page = |addr: u64| addr & !0xfff;
        let low = layout.low().end.min(self.below).checked_sub(size).map(page).filter(|addr| *addr >= end);
        let high = layout
            .high()
            .filter(|_| self.above_4g)
            .and_then(|high| high.end.checked_sub(size).map(page).filter(|addr| *addr >= high.start));
        low.or(high)
    }

    /// The largest that fits with any amount of memory.
    fn most(self, end: u64) -> u64 {
        let low = LOW_RAM_END.min(self.below).saturating_sub(end.next_multiple_of(4096));
        if self.above_4g { low.max(MAX_RAM - LOW_RAM_END) } else { low }
    }

    /// The least memory in which it fits, if it fits in any.
    fn needed(self, end: u64, size: u64) -> u64 {
        let low = end.next_multiple_of(4096) + size.next_multiple_of(4096);
        if low <= LOW_RAM_END.min(self.below) { low } else { LOW_RAM_END + size.next_multiple_of(4096) }
    }
}

pub(super) fn load(
    ram: &GuestRam,
    layout: &RamLayout,
    kernel: &Kernel,
    path: &Path,
) -> Result<Initrd, LoadError> {
    let (mut file, size) = open(path)?;
    let room = kernel.initrd;
    let Some(addr) = room.place(layout, kernel.end, size) else {
        let most = room.most(kernel.end);
        return Err(if size > most {
            LoadError::InitrdTooLarge { path: path.into(), size, most }
        } else {
            let needed = room.needed(kernel.end, size);
            LoadError::InitrdNeedsMemory { path: path.into(), size, memory: layout.size(), needed }
        });
    };
    ram.mmap()
        .read_exact_volatile_from(GuestAddress(addr), &mut file, size as usize)
        .map_err(|_| LoadError::Truncated { path: path.into() })?;
    Ok(Initrd { addr, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const END: u64 = 24 * MIB;
    const BZIMAGE: InitrdRoom = InitrdRoom { below: 0x8000_0000, above_4g: true };

    fn place(room: InitrdRoom, memory: u64, size: u64) -> Option<u64> {
        room.place(&RamLayout::new(memory).unwrap(), END, size)
    }

    #[test]
    fn initrd_when_it_fits_below_the_limit_is_as_high_as_can_be() {
        assert_eq!(place(BZIMAGE, 64 * MIB, MIB + 1), Some(63 * MIB - 4096));
        assert_eq!(place(BZIMAGE, 3 * GIB, GIB), Some(GIB));
        assert_eq!(place(InitrdRoom::of_elf(Entry::Linux64(0)), 16 * GIB, GIB), Some(2 * GIB));
    }

    #[test]
    fn initrd_when_it_fits_only_above_4_gib_is_there_if_the_kernel_takes_it() {
        assert_eq!(place(BZIMAGE, 16 * GIB, 3 * GIB), Some(14 * GIB));
        assert_eq!(place(InitrdRoom { above_4g: false, ..BZIMAGE }, 16 * GIB, 3 * GIB), None);
        assert_eq!(place(InitrdRoom::of_elf(Entry::Pvh(0)), 16 * GIB, 3 * GIB), None);
    }

    #[test]
    fn initrd_when_refused_fits_with_what_is_advised_and_not_with_a_page_less() {
        for room in [BZIMAGE, InitrdRoom::of_elf(Entry::Pvh(0)), InitrdRoom { above_4g: false, ..BZIMAGE }] {
            for size in [1, 4097, 50 * MIB, GIB + 1, 2 * GIB - END, 2 * GIB - END + 1, 3 * GIB] {
                let needed = room.needed(END, size);
                if size <= room.most(END) {
                    assert!(place(room, needed, size).is_some(), "{room:?} {size}");
                    assert!(place(room, needed - 4096, size).is_none(), "{room:?} {size}");
                } else {
                    assert!(place(room, MAX_RAM, size).is_none(), "{room:?} {size}");
                }
            }
        }
    }
}
