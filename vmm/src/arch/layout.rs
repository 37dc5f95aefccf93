//! Where everything is in guest-physical memory and port space.
//!
//! RAM below 3 GiB, then a hole for devices up to 4 GiB, then the rest of RAM: the classic PC arrangement, which every
//! x86 kernel understands through an e820 map.

use std::ops::Range;

use thiserror::Error;

/// End of the first stretch of RAM, at most (bytes).
pub const LOW_RAM_END: u64 = 3 << 30;
/// Start of the RAM that does not fit below [`LOW_RAM_END`].
pub const HIGH_RAM_START: u64 = 4 << 30;
/// Guest-physical addresses of devices, never RAM.
pub const MMIO_HOLE: Range<u64> = LOW_RAM_END..HIGH_RAM_START;

/// Smallest RAM in which a Linux kernel has a chance to start (bytes).
pub const MIN_RAM: u64 = 16 << 20;
/// Largest RAM offered to one guest (bytes).
pub const MAX_RAM: u64 = 1 << 40;

/// Most vCPUs of a guest: their APIC ids are the numbers from 0 on and stay below 255, which calls all; so no guest needs an x2APIC.
pub const MAX_VCPUS: u32 = 254;

/// The BIOS's reset flag, 40:72. Linux writes how it wants to start again here (0 or 0x1234) before it resets by any way
/// (arch/x86/kernel/reboot.c), and nothing else does: this is how a triple fault that is meant is told from a crash.
pub const RESET_FLAG: u64 = 0x472;
/// What stands at [`RESET_FLAG`] until then.
pub const RESET_FLAG_UNTOUCHED: u16 = 0x5afe;
/// Boot GDT (`Documentation/arch/x86/boot.rst`: the 64-bit entry needs flat segments at selectors 0x10 and 0x18).
pub const GDT_START: u64 = 0x500;
/// Boot page tables: one PML4, one PDPT, four page directories.
pub const PAGE_TABLES_START: u64 = 0x9000;
/// The `struct boot_params` that rsi points to.
pub const ZERO_PAGE_START: u64 = 0x7000;
/// Where rbx points to at a PVH entry.
pub const START_INFO_START: u64 = 0x8000;
/// A `struct setup_data`: the seed of the kernel's random numbers.
pub const SETUP_DATA_START: u64 = 0xf000;
/// Stack pointer at entry; the kernel sets its own at once.
pub const BOOT_STACK: u64 = 0x6ff0;
/// Kernel command line.
pub const CMDLINE_START: u64 = 0x20000;
/// Longest command line with its terminating zero (bytes): x86 `COMMAND_LINE_SIZE`.
pub const CMDLINE_MAX: usize = 2048;
/// End of conventional memory; from here to 1 MiB belongs to firmware.
pub const EBDA_START: u64 = 0x9fc00;
/// ACPI tables: inside the area that old kernels scan for the RSDP (ACPI 6.5, section 5.2.5.1).
pub const ACPI_START: u64 = 0xe0000;
/// The MP table: inside the area that kernels scan for it (MultiProcessor Specification 1.4, section 4).
pub const MP_TABLE_START: u64 = 0xf_0000;
/// Where a processor begins after a reset, and where Linux jumps to in real mode when it knows no other way to reset.
pub const RESET_VECTOR: u64 = 0xf_fff0;
/// First byte above the firmware area: kernels load here or higher.
pub const HIGH_MEMORY_START: u64 = 0x10_0000;

/// Local APIC, the architectural default.
pub const LAPIC_ADDR: u32 = 0xfee0_0000;
/// I/O APIC, where KVM puts it.
pub const IOAPIC_ADDR: u32 = 0xfec0_0000;
/// Pins of KVM's I/O APIC.
pub const IOAPIC_PINS: u32 = 24;
/// Three pages that KVM needs on Intel hosts for real-mode emulation (KVM_SET_TSS_ADDR).
pub const KVM_TSS_ADDR: u64 = 0xfffb_d000;
/// One page that KVM needs on Intel hosts (KVM_SET_IDENTITY_MAP_ADDR).
pub const KVM_IDENTITY_MAP_ADDR: u64 = 0xfffb_c000;

/// First virtio-mmio window.
pub const VIRTIO_MMIO_START: u64 = 0xd000_0000;
/// Size of one virtio-mmio window: registers plus configuration space.
pub const VIRTIO_MMIO_SIZE: u64 = 0x1000;
/// First interrupt of virtio devices; below are the PC's own (timer, keyboard, cascade, serial).
pub const VIRTIO_FIRST_GSI: u32 = 5;
/// Most virtio-mmio devices: one I/O APIC pin each.
pub const MAX_VIRTIO_DEVICES: usize = (IOAPIC_PINS - VIRTIO_FIRST_GSI) as usize;

/// Interrupt of the power button: that of the second serial line, which no guest has.
pub const POWER_BUTTON_GSI: u32 = 3;
/// Ports of the first serial line.
pub const COM1_PORTS: Range<u16> = 0x3f8..0x400;
/// Interrupt of the first serial line.
pub const COM1_GSI: u32 = 4;
/// Ports of the i8042 controller that matter for reset (data and command).
pub const I8042_PORTS: Range<u16> = 0x60..0x65;
/// The chipset's reset control register, which every PC's south bridge has had since the PIIX3: bit 2 resets.
pub const RESET_CONTROL_PORT: u16 = 0xcf9;
/// System control port A: bit 0 resets.
pub const SYSTEM_CONTROL_PORT: u16 = 0x92;
/// pvpanic, at the port that QEMU gives it (its docs/specs/pvpanic.rst).
pub const PANIC_PORT: u16 = 0x505;
/// Sleep control, sleep status and reset registers named by the FADT.
pub const POWER_PORTS: Range<u16> = 0x600..0x603;
/// Writing a sleep type here with the enable bit powers the machine off.
pub const SLEEP_CONTROL_PORT: u16 = 0x600;
/// Reads as "never woken".
pub const SLEEP_STATUS_PORT: u16 = 0x601;
/// Writing [`RESET_VALUE`] here resets the machine.
pub const RESET_PORT: u16 = 0x602;
/// What the FADT tells the guest to write to [`RESET_PORT`].
pub const RESET_VALUE: u8 = 1;
/// Sleep type of soft-off, as the DSDT's `\_S5_` says.
pub const SLEEP_TYPE_S5: u8 = 5;

/// Address of virtio device number `index`.
pub fn virtio_mmio_addr(index: usize) -> u64 {
    VIRTIO_MMIO_START + index as u64 * VIRTIO_MMIO_SIZE
}

/// Interrupt of virtio device number `index`.
pub fn virtio_gsi(index: usize) -> u32 {
    VIRTIO_FIRST_GSI + index as u32
}

/// Why an amount of RAM cannot be a guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RamSizeError {
    /// Too little for any kernel.
    #[error("memory of {0} bytes is too small: a guest needs at least {min} MiB{meant}", min = MIN_RAM >> 20, meant = meant(*.0))]
    TooSmall(u64),
    /// Not a whole number of pages.
    #[error("memory of {0} bytes is not a whole number of 4 KiB pages: give it in MiB, such as 64M")]
    NotPages(u64),
    /// More than the tables provide for.
    #[error("memory of {0} bytes is more than the {max} GiB that a guest may have", max = MAX_RAM >> 30)]
    TooLarge(u64),
    /// More than the host's processor can address.
    #[error(
        "memory of {size} bytes ends beyond the {bits} bits of an address that this host's processor gives a guest: it can have at most \
         {most} MiB", most = most(*bits) >> 20
    )]
    Unaddressable {
        /// What was asked for.
        size: u64,
        /// Bits of a guest-physical address.
        bits: u32,
    },
}

/// What somebody means who is used to give memory in MiB.
fn meant(bytes: u64) -> String {
    match bytes {
        1..=0xf_ffff => format!("; a number alone is bytes: write {bytes}M for MiB"),
        _ => String::new(),
    }
}

/// Most RAM that ends below address 2^`bits`: all but the hole.
fn most(bits: u32) -> u64 {
    let end = 1u64.checked_shl(bits).unwrap_or(u64::MAX);
    end.saturating_sub(HIGH_RAM_START - LOW_RAM_END)
}

/// How much RAM a guest has, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamLayout {
    size: u64,
}

impl RamLayout {
    /// The layout of `size` bytes of RAM.
    ///
    /// # Errors
    /// [`RamSizeError`] when no guest can have that much.
    pub fn new(size: u64) -> Result<Self, RamSizeError> {
        if size < MIN_RAM {
            return Err(RamSizeError::TooSmall(size));
        }
        if !size.is_multiple_of(4096) {
            return Err(RamSizeError::NotPages(size));
        }
        if size > MAX_RAM {
            return Err(RamSizeError::TooLarge(size));
        }
        Ok(Self { size })
    }

    /// Bytes of RAM.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Answers `Ok` if a processor whose guest-physical addresses have so many bits reaches all of it.
    ///
    /// # Errors
    /// [`RamSizeError::Unaddressable`].
    pub fn fits(&self, bits: u32) -> Result<(), RamSizeError> {
        match self.size <= most(bits) {
            true => Ok(()),
            false => Err(RamSizeError::Unaddressable { size: self.size, bits }),
        }
    }

    /// RAM below the MMIO hole; every loader and boot table stays inside.
    pub fn low(&self) -> Range<u64> {
        0..self.size.min(LOW_RAM_END)
    }

    /// RAM above the MMIO hole, if any.
    pub fn high(&self) -> Option<Range<u64>> {
        (self.size > LOW_RAM_END).then(|| HIGH_RAM_START..HIGH_RAM_START + (self.size - LOW_RAM_END))
    }

    /// All stretches of RAM in ascending order.
    pub fn regions(&self) -> impl Iterator<Item = Range<u64>> {
        std::iter::once(self.low()).chain(self.high())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_when_zero_small_or_odd_is_refused() {
        assert_eq!(RamLayout::new(0), Err(RamSizeError::TooSmall(0)));
        assert_eq!(RamLayout::new(MIN_RAM - 4096), Err(RamSizeError::TooSmall(MIN_RAM - 4096)));
        assert_eq!(RamLayout::new(MIN_RAM + 1), Err(RamSizeError::NotPages(MIN_RAM + 1)));
        assert_eq!(RamLayout::new(MAX_RAM + 4096), Err(RamSizeError::TooLarge(MAX_RAM + 4096)));
    }

    #[test]
    fn ram_when_it_ends_beyond_the_processor_s_addresses_is_refused_with_what_it_can_have() {
        let most = RamLayout::new((64 << 30) - (1 << 30)).unwrap();
        assert_eq!((most.fits(36), most.high().unwrap().end), (Ok(()), 1 << 36));
        let more = RamLayout::new((63 << 30) + 4096).unwrap();
        let error = more.fits(36).unwrap_err().to_string();
        assert!(error.contains("the 36 bits") && error.ends_with("at most 64512 MiB"), "{error}");
        assert_eq!((more.fits(37), RamLayout::new(MAX_RAM).unwrap().fits(64)), (Ok(()), Ok(())));
    }

    #[test]
    fn ram_when_it_looks_like_mebibytes_is_told_how_they_are_written() {
        assert!(RamSizeError::TooSmall(2048).to_string().ends_with("write 2048M for MiB"));
        assert!(RamSizeError::TooSmall(8 << 20).to_string().ends_with("at least 16 MiB"));
    }

    #[test]
    fn regions_when_ram_exceeds_the_hole_are_two_and_keep_the_size() {
        let layout = RamLayout::new(5 << 30).unwrap();
        let regions: Vec<_> = layout.regions().collect();
        assert_eq!(regions, [0..LOW_RAM_END, HIGH_RAM_START..HIGH_RAM_START + (2 << 30)]);
    }

    #[test]
    fn regions_when_ram_ends_at_the_hole_are_one() {
        assert_eq!(RamLayout::new(LOW_RAM_END).unwrap().high(), None);
    }

    #[test]
    fn boot_rooms_do_not_overlap() {
        let rooms = [
            RESET_FLAG..RESET_FLAG + 2,
            GDT_START..GDT_START + 64,
            BOOT_STACK - 0xff0..BOOT_STACK,
            ZERO_PAGE_START..ZERO_PAGE_START + 4096,
            START_INFO_START..START_INFO_START + 4096,
            PAGE_TABLES_START..PAGE_TABLES_START + 6 * 4096,
            SETUP_DATA_START..SETUP_DATA_START + 4096,
            CMDLINE_START..CMDLINE_START + CMDLINE_MAX as u64,
            ACPI_START..MP_TABLE_START,
            MP_TABLE_START..RESET_VECTOR,
            RESET_VECTOR..HIGH_MEMORY_START,
        ];
        assert!(rooms.windows(2).all(|w| w[0].end <= w[1].start));
    }
}
