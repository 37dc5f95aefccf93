//! Registers with which a vCPU enters a kernel.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_sregs};

use super::{gdt, layout};

/// CR0: protection on.
const CR0_PE: u64 = 1;
/// CR0: a fixed bit.
const CR0_ET: u64 = 1 << 4;
/// CR0: paging on.
const CR0_PG: u64 = 1 << 31;
/// CR4: physical address extension, which long mode requires.
const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode enabled.
const EFER_LME: u64 = 1 << 8;
/// EFER: long mode active.
const EFER_LMA: u64 = 1 << 10;
/// The bit of RFLAGS that is always set.
const RFLAGS_FIXED: u64 = 1 << 1;

/// Puts 64-bit mode with paging from `cr3` into `sregs`, keeping what KVM set (APIC base and so on).
pub fn enter_long_mode(sregs: &mut kvm_sregs, cr3: u64) {
    sregs.cr3 = cr3;
    sregs.cr4 |= CR4_PAE;
    sregs.cr0 |= CR0_PE | CR0_PG;
    sregs.efer |= EFER_LME | EFER_LMA;
}

/// How a kernel is entered, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In 64-bit mode, by Linux's boot protocol (`Documentation/arch/x86/boot.rst`).
    Linux64(u64),
    /// In 32-bit protected mode without paging, by PVH (Xen's docs/misc/pvh.pandoc).
    Pvh(u32),
}

/// System registers at `entry`, where KVM has set `sregs`.
pub fn entry_sregs(entry: Entry, sregs: kvm_sregs) -> kvm_sregs {
    match entry {
        Entry::Linux64(_) => linux_sregs(sregs),
        Entry::Pvh(_) => pvh_sregs(sregs),
    }
}

/// General registers at `entry`.
pub fn entry_regs(entry: Entry) -> kvm_regs {
    match entry {
        Entry::Linux64(rip) => linux_regs(rip),
        Entry::Pvh(eip) => kvm_regs {
            rip: eip.into(),
            rbx: layout::START_INFO_START,
            rflags: RFLAGS_FIXED,
            ..Default::default()
        },
    }
}

/// System registers of a PVH entry: flat segments, protection on, everything else off.
fn pvh_sregs(mut sregs: kvm_sregs) -> kvm_sregs {
    let data = gdt::DATA.segment(gdt::BOOT_DS);
    sregs.cs = gdt::CODE_32.segment(gdt::BOOT_CS);
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.tr = gdt::TSS_32.segment(gdt::BOOT_TSS);
    sregs.cr0 = CR0_PE | CR0_ET;
    sregs.cr4 = 0;
    sregs.efer = 0;
    sregs
}

/// System registers of Linux's 64-bit boot protocol (`Documentation/arch/x86/boot.rst`).
pub fn linux_sregs(mut sregs: kvm_sregs) -> kvm_sregs {
    let data = gdt::DATA.segment(gdt::BOOT_DS);
    sregs.cs = gdt::CODE_64.segment(gdt::BOOT_CS);
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.tr = gdt::TSS.segment(gdt::BOOT_TSS);
    sregs.gdt =
        kvm_dtable { base: layout::GDT_START, limit: (gdt::GDT_WORDS * 8 - 1) as u16, ..Default::default() };
    enter_long_mode(&mut sregs, layout::PAGE_TABLES_START);
    sregs
}

/// General registers of Linux's 64-bit boot protocol: rsi points to the zero page.
pub fn linux_regs(entry: u64) -> kvm_regs {
    kvm_regs {
        rip: entry,
        rsi: layout::ZERO_PAGE_START,
        rsp: layout::BOOT_STACK,
        rbp: layout::BOOT_STACK,
        rflags: RFLAGS_FIXED,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_sregs_when_made_are_in_long_mode_and_keep_the_apic_base() {
        let before = kvm_sregs { apic_base: 0xfee0_0900, ..Default::default() };
        let sregs = linux_sregs(before);
        assert_eq!(sregs.efer & (EFER_LMA | EFER_LME), EFER_LMA | EFER_LME);
        assert_eq!(sregs.cr0 & (CR0_PE | CR0_PG), CR0_PE | CR0_PG);
        assert_eq!((sregs.cs.selector, sregs.cs.l), (0x10, 1));
        assert_eq!(sregs.apic_base, 0xfee0_0900);
    }

    #[test]
    fn pvh_entry_when_made_is_flat_32_bit_code_without_paging() {
        let before = kvm_sregs { apic_base: 0xfee0_0900, cr0: 0x6000_0010, ..Default::default() };
        let entry = Entry::Pvh(0x100_0000);
        let sregs = entry_sregs(entry, before);
        assert_eq!((sregs.cr0, sregs.cr4, sregs.efer, sregs.apic_base), (0x11, 0, 0, 0xfee0_0900));
        assert_eq!((sregs.cs.db, sregs.cs.l, sregs.cs.limit, sregs.ds.limit), (1, 0, u32::MAX, u32::MAX));
        assert_eq!((sregs.tr.limit, sregs.tr.type_), (0x67, 11));
        let regs = entry_regs(entry);
        assert_eq!((regs.rip, regs.rbx, regs.rflags), (0x100_0000, layout::START_INFO_START, 2));
    }

    #[test]
    fn linux_regs_when_made_name_entry_and_zero_page() {
        let regs = linux_regs(0x100_0200);
        assert_eq!((regs.rip, regs.rsi, regs.rflags), (0x100_0200, layout::ZERO_PAGE_START, 2));
    }
}
