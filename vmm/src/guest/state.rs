//! A vCPU's registers as text.

use crate::kvm::{CpuState, Vcpu};

/// The registers of a vCPU that is not running.
pub(super) fn of(vcpu: &Vcpu) -> String {
    vcpu.state().map_or_else(|error| error.to_string(), |state| describe(&state))
}

/// The registers that tell where a guest stands.
pub fn describe(state: &CpuState) -> String {
    let (r, s) = (&state.regs, &state.sregs);
    format!(
        "rip {:016x} rsp {:016x} rflags {:08x} cpl {} cs {:04x}\n\
         rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}\n\
         rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}\n\
         r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}\n\
         r13 {:016x} r14 {:016x} r15 {:016x}\n\
         cr0 {:08x} cr2 {:016x} cr3 {:016x} cr4 {:08x} efer {:x} idt {:x}+{:x}",
        r.rip,
        r.rsp,
        r.rflags,
        s.cs.dpl,
        s.cs.selector,
        r.rax,
        r.rbx,
        r.rcx,
        r.rdx,
        r.rsi,
        r.rdi,
        r.rbp,
        r.r8,
        r.r9,
        r.r10,
        r.r11,
        r.r12,
        r.r13,
        r.r14,
        r.r15,
        s.cr0,
        s.cr2,
        s.cr3,
        s.cr4,
        s.efer,
        s.idt.base,
        s.idt.limit,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describe_when_asked_names_instruction_and_fault_address() {
        let mut state = CpuState { regs: Default::default(), sregs: Default::default() };
        state.regs.rip = 0xffff_ffff_8100_0000;
        state.sregs.cr2 = 0xdead;
        let text = describe(&state);
        assert!(text.contains("rip ffffffff81000000") && text.contains("cr2 000000000000dead"), "{text}");
    }
}
