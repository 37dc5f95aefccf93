//! What a kernel entered by PVH finds: Xen's `hvm_start_info` (xen/include/public/arch-x86/hvm/start_info.h).
//!
//! PVH is an entry in 32-bit protected mode without paging, named by an ELF note; other kernels than Linux have it, too.

use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::ByteValued;

use super::boot_params::{Initrd, e820};
use super::layout::{self, RamLayout};

/// `XEN_HVM_START_MAGIC_VALUE`: "xEn3" with the top bit of its first byte set.
const MAGIC: u32 = 0x336e_c578;
/// The first version with a memory map.
const VERSION: u32 = 1;

/// The structure and the lists that it names, as they stand in guest memory from [`layout::START_INFO_START`] on.
pub fn start_info(ram: &RamLayout, initrd: Option<Initrd>) -> Vec<u8> {
    let modules: Vec<hvm_modlist_entry> = initrd
        .map(|initrd| hvm_modlist_entry { paddr: initrd.addr, size: initrd.size, ..Default::default() })
        .into_iter()
        .collect();
    let memory: Vec<hvm_memmap_table_entry> = e820(ram)
        .into_iter()
        .map(|entry| hvm_memmap_table_entry {
            addr: entry.addr,
            size: entry.size,
            type_: entry.r#type,
            reserved: 0,
        })
        .collect();
    let modlist = layout::START_INFO_START + size_of::<hvm_start_info>() as u64;
    let memmap = modlist + (modules.len() * size_of::<hvm_modlist_entry>()) as u64;
    let info = hvm_start_info {
        magic: MAGIC,
        version: VERSION,
        flags: 0,
        nr_modules: modules.len() as u32,
        modlist_paddr: if modules.is_empty() { 0 } else { modlist },
        cmdline_paddr: layout::CMDLINE_START,
        rsdp_paddr: layout::ACPI_START,
        memmap_paddr: memmap,
        memmap_entries: memory.len() as u32,
        reserved: 0,
    };
    let lists = modules.iter().map(ByteValued::as_slice).chain(memory.iter().map(ByteValued::as_slice));
    std::iter::once(info.as_slice()).chain(lists).flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u64_at(blob: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(blob[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn start_info_when_there_is_an_initrd_names_it_and_all_memory() {
        let ram = RamLayout::new(4 << 30).unwrap();
        let blob = start_info(&ram, Some(Initrd { addr: 0x300_0000, size: 77 }));
        assert_eq!(&blob[..8], [0x78, 0xc5, 0x6e, 0x33, 1, 0, 0, 0]);
        assert_eq!(u64_at(&blob, 24), layout::CMDLINE_START);
        assert_eq!(u64_at(&blob, 32), layout::ACPI_START);
        let at = |addr: u64| (addr - layout::START_INFO_START) as usize;
        let module = at(u64_at(&blob, 16));
        assert_eq!((u64_at(&blob, module), u64_at(&blob, module + 8)), (0x300_0000, 77));
        let memory = at(u64_at(&blob, 40));
        assert_eq!(blob.len(), memory + 4 * 24);
        let last = memory + 3 * 24;
        assert_eq!((u64_at(&blob, last), u64_at(&blob, last + 8), blob[last + 16]), (4 << 30, 1 << 30, 1));
    }

    #[test]
    fn start_info_when_there_is_no_initrd_has_no_modules() {
        let blob = start_info(&RamLayout::new(64 << 20).unwrap(), None);
        assert_eq!((blob[12], u64_at(&blob, 16)), (0, 0));
        assert!(blob.len() < 4096);
    }
}
