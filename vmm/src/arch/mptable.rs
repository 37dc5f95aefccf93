//! The MP table: how a kernel without ACPI finds its vCPUs and interrupt controllers (Intel MultiProcessor Specification 1.4).
//!
//! A kernel that has ACPI does not look at it.

use super::layout;

/// Version 0x14, of an integrated local APIC.
const LAPIC_VERSION: u8 = 0x14;
/// KVM's I/O APIC.
const IOAPIC_VERSION: u8 = 0x11;
/// Revision 1.4.
const REVISION: u8 = 4;
/// Entry types (section 4.3).
const PROCESSOR: u8 = 0;
const BUS: u8 = 1;
const IOAPIC: u8 = 2;
const IO_INTERRUPT: u8 = 3;
const LOCAL_INTERRUPT: u8 = 4;
/// Processor flags: usable, and the one that starts.
const ENABLED: u8 = 1;
const BOOT_PROCESSOR: u8 = 2;
/// Family 6, with FPU and local APIC: what no kernel looks at, because CPUID tells better.
const SIGNATURE: u32 = 0x600;
const FEATURES: u32 = 0x201;
/// Interrupt types.
const INT: u8 = 0;
const NMI: u8 = 1;
const EXT_INT: u8 = 3;
/// Number of the only bus, and the APIC id that means all.
const ISA: u8 = 0;
const ALL: u8 = 0xff;
/// The floating pointer's length; the table follows it.
const POINTER_LEN: u64 = 16;

/// The floating pointer and the table, as they stand in guest memory from [`layout::MP_TABLE_START`] on.
pub fn tables(vcpus: u32) -> Vec<u8> {
    let table = configuration(vcpus.min(layout::MAX_VCPUS) as u8);
    let addr = (layout::MP_TABLE_START + POINTER_LEN) as u32;
    let mut pointer = [&b"_MP_"[..], &addr.to_le_bytes(), &[1, REVISION, 0, 0, 0, 0, 0, 0]].concat();
    close(&mut pointer, 10);
    [pointer, table].concat()
}

fn configuration(vcpus: u8) -> Vec<u8> {
    // Behind the processors' ids, as no two APICs may have the same.
    let ioapic_id = vcpus;
    let mut entries: Vec<Vec<u8>> = (0..vcpus).map(processor).collect();
    entries.push([&[BUS, ISA][..], b"ISA   "].concat());
    entries.push(
        [&[IOAPIC, ioapic_id, IOAPIC_VERSION, ENABLED][..], &layout::IOAPIC_ADDR.to_le_bytes()].concat(),
    );
    // Each pin has the interrupt of its own number, also those that an ISA bus does not have: so is KVM's routing.
    let pins = 0..layout::IOAPIC_PINS as u8;
    entries.extend(pins.map(|pin| vec![IO_INTERRUPT, INT, 0, 0, ISA, pin, ioapic_id, pin]));
    entries.push(vec![LOCAL_INTERRUPT, EXT_INT, 0, 0, ISA, 0, ALL, 0]);
    entries.push(vec![LOCAL_INTERRUPT, NMI, 0, 0, ISA, 0, ALL, 1]);

    let count = entries.len() as u16;
    let body = entries.concat();
    let length = (44 + body.len()) as u16;
    let mut table = [&b"PCMP"[..], &length.to_le_bytes(), &[REVISION, 0], b"TMEM    TMEMVM      "].concat();
    // No table of the maker's.
    table.extend([0; 6]);
    table.extend(count.to_le_bytes());
    table.extend(layout::LAPIC_ADDR.to_le_bytes());
    table.extend([0; 4]);
    table.extend(body);
    close(&mut table, 7);
    table
}

fn processor(vcpu: u8) -> Vec<u8> {
    let flags = if vcpu == 0 { ENABLED | BOOT_PROCESSOR } else { ENABLED };
    let ids = [SIGNATURE.to_le_bytes(), FEATURES.to_le_bytes(), [0; 4], [0; 4]].concat();
    [&[PROCESSOR, vcpu, LAPIC_VERSION, flags][..], &ids].concat()
}

/// Makes the sum of all bytes 0 with the one at `at`.
fn close(table: &mut [u8], at: usize) {
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(byte) = table.get_mut(at) {
        *byte = sum.wrapping_neg();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Entries by type, walked as a kernel does.
    fn entries(blob: &[u8]) -> Vec<&[u8]> {
        let table = &blob[16..];
        let mut at = 44;
        let mut found = vec![];
        while at < table.len() {
            let len = if table[at] == PROCESSOR { 20 } else { 8 };
            found.push(&table[at..at + len]);
            at += len;
        }
        assert_eq!(usize::from(u16::from_le_bytes([table[34], table[35]])), found.len());
        found
    }

    #[test]
    fn pointer_and_table_when_made_have_their_names_sums_and_lengths() {
        let blob = tables(3);
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |a, b| a.wrapping_add(*b));
        assert_eq!(
            (&blob[..4], &blob[16..20], sum(&blob[..16]), sum(&blob[16..])),
            (&b"_MP_"[..], &b"PCMP"[..], 0, 0)
        );
        assert_eq!(u32::from_le_bytes(blob[4..8].try_into().unwrap()), 0xf_0010);
        assert_eq!(usize::from(u16::from_le_bytes([blob[20], blob[21]])), blob.len() - 16);
    }

    #[test]
    fn processors_when_listed_are_all_enabled_and_the_first_boots() {
        let blob = tables(3);
        let ids: Vec<(u8, u8)> = entries(&blob)
            .iter()
            .filter(|entry| entry[0] == PROCESSOR)
            .map(|entry| (entry[1], entry[3]))
            .collect();
        assert_eq!(ids, [(0, 3), (1, 1), (2, 1)]);
    }

    #[test]
    fn interrupts_when_routed_go_to_the_pin_of_their_number() {
        let blob = tables(1);
        let pins: Vec<(u8, u8)> = entries(&blob)
            .iter()
            .filter(|entry| entry[0] == IO_INTERRUPT)
            .map(|entry| (entry[5], entry[7]))
            .collect();
        assert_eq!(pins, (0..24).map(|pin| (pin, pin)).collect::<Vec<_>>());
    }

    #[test]
    fn table_when_largest_has_no_two_apics_of_one_id_and_fits_its_room() {
        let blob = tables(layout::MAX_VCPUS);
        let ioapic = *entries(&blob).iter().find(|entry| entry[0] == IOAPIC).unwrap();
        assert_eq!(ioapic[1], 254);
        assert!(layout::MP_TABLE_START + blob.len() as u64 <= layout::RESET_VECTOR);
    }
}
