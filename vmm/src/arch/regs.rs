//! Registers with which a vCPU enters 64-bit code.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_sregs};

use super::{gdt, layout};

/// CR0: protection on.
const CR0_PE: u64 = 1;
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
    fn linux_regs_when_made_name_entry_and_zero_page() {
        let regs = linux_regs(0x100_0200);
        assert_eq!((regs.rip, regs.rsi, regs.rflags), (0x100_0200, layout::ZERO_PAGE_START, 2));
    }
}
