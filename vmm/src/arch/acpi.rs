//! ACPI tables: how a stock kernel finds its vCPUs, interrupt controllers, serial line, disks and off switch.
//!
//! The machine is "hardware-reduced" (ACPI 6.5, section 4.1): no timers, event blocks or SMI, only the sleep and reset
//! registers. Linux then needs neither the PIT nor the PIC, whose emulation is where guests under emulation got stuck.

use acpi_tables::aml::{
    Device, EISAName, IO, Interrupt, Memory32Fixed, Name, Package, Path, ResourceTemplate, Scope,
};
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};

use super::layout;

const OEM_ID: [u8; 6] = *b"TMEM  ";
const OEM_TABLE_ID: [u8; 8] = *b"TMEMVM  ";
const OEM_REVISION: u32 = 1;
/// FADT IAPC_BOOT_ARCH: no VGA, no MSI, no CMOS clock; bit 1 (8042) stays clear, so the keyboard is not probed.
const BOOT_ARCH: u16 = 1 << 2 | 1 << 3 | 1 << 5;
/// Notification value of a button.
const BUTTON_PRESSED: u8 = 0x80;
/// Length of the header common to all tables.
const HEADER: u32 = 36;

/// What the tables describe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcpiConfig {
    /// vCPUs, with APIC ids from 0 on.
    pub vcpus: u32,
    /// virtio-mmio devices, at the layout's windows and interrupts.
    pub virtio_devices: usize,
}

/// All tables as they stand in guest memory from `start` (16-byte aligned) on, the RSDP first.
pub fn tables(config: &AcpiConfig, start: u64) -> Vec<u8> {
    let mut blob = vec![0u8; Rsdp::len()];
    let mut place = |table: &[u8]| {
        blob.resize(blob.len().next_multiple_of(16), 0);
        let addr = start + blob.len() as u64;
        blob.extend_from_slice(table);
        addr
    };
    let dsdt = place(&bytes(&dsdt(config)));
    let fadt = place(&bytes(&fadt(dsdt)));
    let madt = place(&bytes(&madt(config.vcpus)));
    let mut xsdt = XSDT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = place(&bytes(&xsdt));
    for (to, from) in blob.iter_mut().zip(bytes(&Rsdp::new(OEM_ID, xsdt))) {
        *to = from;
    }
    blob
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut out = Vec::new();
    table.to_aml_bytes(&mut out);
    out
}

fn port_register(port: u16) -> GAS {
    GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(port))
}

fn fadt(dsdt: u64) -> impl Aml {
    let mut fadt = FADTBuilder::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        // Set means "not a fixed feature": the power button is a device, and there is no sleep button.
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton);
    fadt.iapc_boot_arch = BOOT_ARCH.into();
    fadt.reset_reg = port_register(layout::RESET_PORT);
    fadt.reset_value = layout::RESET_VALUE;
    fadt.sleep_control_reg = port_register(layout::SLEEP_CONTROL_PORT);
    fadt.sleep_status_reg = port_register(layout::SLEEP_STATUS_PORT);
    fadt.finalize()
}

fn madt(vcpus: u32) -> impl Aml {
    let mut madt =
        MADT::new(OEM_ID, OEM_TABLE_ID, OEM_REVISION, LocalInterruptController::Address(layout::LAPIC_ADDR));
    for vcpu in 0..vcpus.min(layout::MAX_VCPUS) as u8 {
        madt.add_structure(ProcessorLocalApic::new(vcpu, vcpu, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, layout::IOAPIC_ADDR, 0));
    madt
}

fn dsdt(config: &AcpiConfig) -> impl Aml {
    let mut sdt = Sdt::new(*b"DSDT", HEADER, 2, OEM_ID, OEM_TABLE_ID, OEM_REVISION);
    let s5 = Name::new("_S5_".into(), &Package::new(vec![&layout::SLEEP_TYPE_S5]));
    sdt.append_slice(&bytes(&s5));
    sdt.append_slice(&com1());
    sdt.append_slice(&panic_device());
    sdt.append_slice(&power_button());
    for index in 0..config.virtio_devices {
        sdt.append_slice(&virtio(index));
    }
    sdt
}

fn com1() -> Vec<u8> {
    let ports = layout::COM1_PORTS;
    bytes(&Scope::new(
        "_SB_".into(),
        vec![&Device::new(
            "COM1".into(),
            vec![
                &Name::new("_HID".into(), &EISAName::new("PNP0501")),
                &Name::new("_UID".into(), &aml::ZERO),
                &Name::new(
                    "_CRS".into(),
                    &ResourceTemplate::new(vec![
                        &IO::new(ports.start, ports.start, 1, ports.len() as u8),
                        &Interrupt::new(true, true, false, false, layout::COM1_GSI),
                    ]),
                ),
            ],
        )],
    ))
}

/// The pvpanic device: `QEMU0001` is the id that Linux's drivers/misc/pvpanic/pvpanic-mmio.c binds to.
fn panic_device() -> Vec<u8> {
    bytes(&Scope::new(
        "_SB_".into(),
        vec![&Device::new(
            "PVP0".into(),
            vec![
                &Name::new("_HID".into(), &"QEMU0001"),
                &Name::new(
                    "_CRS".into(),
                    &ResourceTemplate::new(vec![&IO::new(layout::PANIC_PORT, layout::PANIC_PORT, 1, 1)]),
                ),
            ],
        )],
    ))
}

/// The power button, and the generic event device whose interrupt says that it was pressed: what a hardware-reduced machine
/// has in the place of fixed buttons (ACPI 6.5, sections 4.8.2.2.1.2 and 5.6.9).
fn power_button() -> Vec<u8> {
    let button = Path::new("\\_SB_.PWRB");
    let notify = aml::Notify::new(&button, &BUTTON_PRESSED);
    let pressed = aml::Method::new("_EVT".into(), 1, true, vec![&notify]);
    bytes(&Scope::new(
        "_SB_".into(),
        vec![
            &Device::new(
                "PWRB".into(),
                vec![
                    &Name::new("_HID".into(), &EISAName::new("PNP0C0C")),
                    &Name::new("_UID".into(), &aml::ZERO),
                ],
            ),
            &Device::new(
                "GED_".into(),
                vec![
                    &Name::new("_HID".into(), &"ACPI0013"),
                    &Name::new("_UID".into(), &aml::ZERO),
                    &Name::new(
                        "_CRS".into(),
                        &ResourceTemplate::new(vec![&Interrupt::new(
                            true,
                            true,
                            false,
                            false,
                            layout::POWER_BUTTON_GSI,
                        )]),
                    ),
                    &pressed,
                ],
            ),
        ],
    ))
}

/// A virtio-mmio node: `LNRO0005` is the id that Linux's drivers/virtio/virtio_mmio.c binds to.
fn virtio(index: usize) -> Vec<u8> {
    let name = format!("V{index:03}");
    let base = layout::virtio_mmio_addr(index) as u32;
    bytes(&Scope::new(
        "_SB_".into(),
        vec![&Device::new(
            Path::new(&name),
            vec![
                &Name::new("_HID".into(), &"LNRO0005"),
                &Name::new("_UID".into(), &(index as u32)),
                &Name::new("_CCA".into(), &aml::ONE),
                &Name::new(
                    "_CRS".into(),
                    &ResourceTemplate::new(vec![
                        &Memory32Fixed::new(true, base, layout::VIRTIO_MMIO_SIZE as u32),
                        &Interrupt::new(true, true, false, false, layout::virtio_gsi(index)),
                    ]),
                ),
            ],
        )],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = layout::ACPI_START;
    const CONFIG: AcpiConfig = AcpiConfig { vcpus: 4, virtio_devices: 2 };

    fn u32_at(blob: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(blob[at..at + 4].try_into().unwrap())
    }

    fn u64_at(blob: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(blob[at..at + 8].try_into().unwrap())
    }

    fn table(blob: &[u8], addr: u64) -> &[u8] {
        let at = (addr - START) as usize;
        &blob[at..at + u32_at(blob, at + 4) as usize]
    }

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |a, b| a.wrapping_add(*b))
    }

    /// RSDP -> XSDT -> the tables, by signature.
    fn walk(blob: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        assert_eq!(&blob[..8], b"RSD PTR ");
        assert_eq!((sum(&blob[..20]), sum(&blob[..36])), (0, 0));
        let xsdt = table(blob, u64_at(blob, 24));
        let fadt = table(blob, u64_at(xsdt, 36));
        let madt = table(blob, u64_at(xsdt, 44));
        let dsdt = table(blob, u64_at(fadt, 140));
        for (t, name) in [(xsdt, b"XSDT"), (fadt, b"FACP"), (madt, b"APIC"), (dsdt, b"DSDT")] {
            assert_eq!((&t[..4], sum(t)), (&name[..], 0));
        }
        (fadt.to_vec(), madt.to_vec(), dsdt.to_vec())
    }

    #[test]
    fn tables_when_followed_from_the_rsdp_have_right_sums_and_names() {
        walk(&tables(&CONFIG, START));
    }

    #[test]
    fn tables_when_largest_fit_their_room() {
        let config = AcpiConfig { vcpus: layout::MAX_VCPUS, virtio_devices: layout::MAX_VIRTIO_DEVICES };
        assert!((tables(&config, START).len() as u64) < layout::MP_TABLE_START - START);
    }

    #[test]
    fn madt_when_largest_lists_every_apic_once() {
        let config = AcpiConfig { vcpus: layout::MAX_VCPUS, ..CONFIG };
        let (_, madt, _) = walk(&tables(&config, START));
        let ids: Vec<u8> = madt[44..].chunks(8).take(254).map(|entry| entry[3]).collect();
        assert_eq!(ids, (0..254).collect::<Vec<u8>>());
    }

    #[test]
    fn madt_when_four_vcpus_lists_four_apics_and_one_ioapic() {
        let (_, madt, _) = walk(&tables(&CONFIG, START));
        let mut entries = vec![];
        let mut at = 44;
        while at < madt.len() {
            entries.push((madt[at], madt[at + 3]));
            at += madt[at + 1] as usize;
        }
        assert_eq!(entries, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]);
    }

    #[test]
    fn fadt_when_read_names_reset_and_sleep_registers() {
        let (fadt, _, _) = walk(&tables(&CONFIG, START));
        assert_eq!(u32_at(&fadt, 112) & (1 << 20 | 1 << 10), 1 << 20 | 1 << 10);
        assert_eq!(u64_at(&fadt, 116 + 4), u64::from(layout::RESET_PORT));
        assert_eq!(fadt[128], layout::RESET_VALUE);
        assert_eq!(u64_at(&fadt, 244 + 4), u64::from(layout::SLEEP_CONTROL_PORT));
    }

    #[test]
    fn dsdt_when_two_disks_has_two_virtio_nodes_and_their_addresses() {
        let (_, _, dsdt) = walk(&tables(&CONFIG, START));
        let count = |needle: &[u8]| dsdt.windows(needle.len()).filter(|w| *w == needle).count();
        assert_eq!(count(b"LNRO0005"), 2);
        assert_eq!(count(&(layout::virtio_mmio_addr(1) as u32).to_le_bytes()), 1);
        assert_eq!(count(b"_S5_"), 1);
        assert_eq!((count(b"ACPI0013"), count(b"QEMU0001")), (1, 1));
        assert_eq!(count(b"\x86\\\x2e_SB_PWRB\x0a\x80"), 1, "Notify(\\_SB.PWRB, 0x80)");
    }
}
