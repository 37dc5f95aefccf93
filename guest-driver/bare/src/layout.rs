//! Where everything is in a bare guest's memory. All addresses are guest-physical, and virtual ones equal them.

/// Identity page tables, written by the host.
pub const PAGE_TABLES: u64 = 0x1000;
/// The page with [`crate::boot::BootInfo`].
pub const BOOT_INFO: u64 = 0x8000;
/// A word that the host sets to 1 when the payload is to finish; the payload polls it.
pub const STOP: u64 = 0x9000;
/// The first vCPU's mailbox.
pub const MAILBOXES: u64 = 0x10_0000;
/// Bytes of one mailbox: a page of text and words, then histograms.
pub const MAILBOX_SIZE: u64 = 0x1_0000;
/// Where the payload is linked and loaded.
pub const IMAGE: u64 = 0x60_0000;
/// Lowest stack; each grows down from its end.
pub const STACKS: u64 = 0x80_0000;
/// Bytes of one stack.
pub const STACK_SIZE: u64 = 0x1_0000;
/// The first vCPU's pages to put, get and spoil.
pub const WORK: u64 = 0x100_0000;
/// Bytes of one vCPU's work area.
pub const WORK_SIZE: u64 = 0x40_0000;
/// Most vCPUs: as many mailboxes and stacks as fit before what follows them.
pub const MAX_VCPUS: u32 = 64;

const _: () = assert!(MAILBOXES + MAX_VCPUS as u64 * MAILBOX_SIZE <= IMAGE);
const _: () = assert!(STACKS + MAX_VCPUS as u64 * STACK_SIZE <= WORK);

/// Bytes of RAM that a guest of `vcpus` needs.
pub const fn ram_bytes(vcpus: u32) -> u64 {
    WORK + vcpus as u64 * WORK_SIZE
}

/// The mailbox of a vCPU.
pub const fn mailbox(vcpu: u32) -> u64 {
    MAILBOXES + vcpu as u64 * MAILBOX_SIZE
}

/// Where a vCPU's stack pointer starts: the end of its stack, aligned as before a call (the x86-64 ABI).
pub const fn stack_pointer(vcpu: u32) -> u64 {
    STACKS + (vcpu as u64 + 1) * STACK_SIZE
}

/// The work area of a vCPU.
pub const fn work(vcpu: u32) -> u64 {
    WORK + vcpu as u64 * WORK_SIZE
}
