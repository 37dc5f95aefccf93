//! The zero page: what the boot loader tells Linux (`Documentation/arch/x86/zero-page.rst`).

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};

use super::layout::{self, RamLayout};

/// e820: usable RAM.
const E820_RAM: u32 = 1;
/// e820: not to be used.
const E820_RESERVED: u32 = 2;
/// `type_of_loader`: "undefined", for loaders without an assigned number.
const LOADER_UNDEFINED: u8 = 0xff;
/// `boot_flag` of a valid header.
const BOOT_FLAG: u16 = 0xaa55;
/// `header`: "HdrS".
const HEADER_MAGIC: u32 = 0x5372_6448;

/// Where the initial ramdisk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initrd {
    /// Guest-physical address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
}

/// Bytes of a seed: as much as Linux's generator holds.
pub const SEED_LEN: usize = 32;
/// `SETUP_RNG_SEED`, which Linux takes since 6.0 and credits unless it was told not to (`random.trust_bootloader`).
const SETUP_RNG_SEED: u32 = 9;

/// The `struct setup_data` with the seed of the kernel's random numbers, the only one there is.
pub fn seed_data(seed: &[u8; SEED_LEN]) -> Vec<u8> {
    let (next, len) = (0u64, SEED_LEN as u32);
    [&next.to_le_bytes()[..], &SETUP_RNG_SEED.to_le_bytes(), &len.to_le_bytes(), seed].concat()
}

/// The memory map: RAM up to the firmware area, the firmware area, all other RAM.
pub fn e820(ram: &RamLayout) -> Vec<boot_e820_entry> {
    let entry = |range: std::ops::Range<u64>, kind| boot_e820_entry {
        addr: range.start,
        size: range.end - range.start,
        r#type: kind,
    };
    let mut map = vec![
        entry(0..layout::EBDA_START, E820_RAM),
        entry(layout::EBDA_START..layout::HIGH_MEMORY_START, E820_RESERVED),
        entry(layout::HIGH_MEMORY_START..ram.low().end, E820_RAM),
    ];
    map.extend(ram.high().map(|high| entry(high, E820_RAM)));
    map
}

/// Builds the zero page. `header` is a bzImage's own setup header; an ELF kernel has none.
pub fn zero_page(
    ram: &RamLayout,
    header: Option<setup_header>,
    cmdline_len: u32,
    initrd: Option<Initrd>,
) -> boot_params {
    let mut params = boot_params {
        hdr: header.unwrap_or(setup_header {
            boot_flag: BOOT_FLAG,
            header: HEADER_MAGIC,
            kernel_alignment: 0x100_0000,
            ..Default::default()
        }),
        acpi_rsdp_addr: layout::ACPI_START,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.cmd_line_ptr = layout::CMDLINE_START as u32;
    params.hdr.cmdline_size = cmdline_len;
    params.hdr.setup_data = layout::SETUP_DATA_START;
    if let Some(initrd) = initrd {
        params.hdr.ramdisk_image = initrd.addr as u32;
        params.ext_ramdisk_image = (initrd.addr >> 32) as u32;
        params.hdr.ramdisk_size = initrd.size as u32;
        params.ext_ramdisk_size = (initrd.size >> 32) as u32;
    }
    let map = e820(ram);
    params.e820_entries = map.len() as u8;
    for (slot, entry) in params.e820_table.iter_mut().zip(map) {
        *slot = entry;
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(size: u64, kind: u32) -> Vec<(u64, u64)> {
        let map = e820(&RamLayout::new(size).unwrap());
        map.iter().filter(|e| ({ e.r#type }) == kind).map(|e| ({ e.addr }, { e.addr } + { e.size })).collect()
    }

    #[test]
    fn e820_when_small_has_two_stretches_of_ram_around_the_firmware() {
        let expected = [(0, layout::EBDA_START), (layout::HIGH_MEMORY_START, 64 << 20)];
        assert_eq!(ranges(64 << 20, E820_RAM), expected);
        assert_eq!(ranges(64 << 20, E820_RESERVED), [(layout::EBDA_START, layout::HIGH_MEMORY_START)]);
    }

    #[test]
    fn e820_when_large_leaves_the_hole_out() {
        let ram = ranges(4 << 30, E820_RAM);
        assert_eq!(ram[1..], [(layout::HIGH_MEMORY_START, layout::LOW_RAM_END), (4 << 30, 5 << 30)]);
    }

    #[test]
    fn zero_page_when_no_header_is_valid_for_a_plain_elf() {
        let ram = RamLayout::new(64 << 20).unwrap();
        let params = zero_page(&ram, None, 10, Some(Initrd { addr: 0x300_0000, size: 77 }));
        let hdr = params.hdr;
        assert_eq!({ hdr.header }, HEADER_MAGIC);
        assert_eq!(({ hdr.ramdisk_image }, { hdr.ramdisk_size }), (0x300_0000, 77));
        assert_eq!({ hdr.setup_data }, layout::SETUP_DATA_START);
        assert_eq!({ params.acpi_rsdp_addr }, layout::ACPI_START);
        assert_eq!(params.e820_entries, 3);
    }

    #[test]
    fn zero_page_when_the_initrd_is_above_4_gib_has_the_upper_halves() {
        let ram = RamLayout::new(16 << 30).unwrap();
        let params = zero_page(&ram, None, 0, Some(Initrd { addr: 0x2_8000_1000, size: 0x1_0000_0002 }));
        assert_eq!(({ params.hdr.ramdisk_image }, { params.ext_ramdisk_image }), (0x8000_1000, 2));
        assert_eq!(({ params.hdr.ramdisk_size }, { params.ext_ramdisk_size }), (2, 1));
    }

    #[test]
    fn seed_data_when_made_is_a_list_of_one() {
        let data = seed_data(&[7; SEED_LEN]);
        assert_eq!(data[..16], [0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(data[16..], [7; 32]);
    }

    #[test]
    fn zero_page_when_bzimage_keeps_its_header() {
        let ram = RamLayout::new(64 << 20).unwrap();
        let header = setup_header { init_size: 0x345_0000, ..Default::default() };
        assert_eq!({ zero_page(&ram, Some(header), 0, None).hdr.init_size }, 0x345_0000);
    }
}
