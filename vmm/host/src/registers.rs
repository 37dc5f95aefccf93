//! What a front end brings: a call's registers, and the guest's page tables for Xen's calls.

use tmem_abi::Gpa;

/// Registers of a hypercall, the same for every transport: number in `rax`, arguments in the Xen order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Hypercall number.
    pub rax: u64,
    /// First argument.
    pub rdi: u64,
    /// Second argument.
    pub rsi: u64,
    /// Third argument.
    pub rdx: u64,
    /// Fourth argument.
    pub r10: u64,
    /// Fifth argument.
    pub r8: u64,
    /// Sixth argument.
    pub r9: u64,
    /// Privilege level of the caller, where the transport tells it: KVM's Xen exit does (and only 0 gets this far), a
    /// port does not (the guest's own I/O permissions guard it).
    pub cpl: Option<u8>,
}

/// Turns a guest-virtual address into a guest-physical one with the calling vCPU's page tables.
pub trait TranslateGva {
    /// The guest-physical address behind `gva`, or `None` where nothing is mapped. It may cost a system call.
    fn translate(&self, gva: u64) -> Option<Gpa>;
}
