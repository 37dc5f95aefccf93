//! The six argument registers of a call.

/// One argument register, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// Operation and pool id.
    Rdi,
    /// Object id, low word.
    Rsi,
    /// Object id, middle word.
    Rdx,
    /// Object id, high word.
    R10,
    /// Index and byte range.
    R8,
    /// Guest-physical address.
    R9,
}

/// The arguments of a call, in the order of Xen's 64-bit hypercall convention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Registers {
    /// Bits 0-7 operation, 8-31 zero, 32-63 pool id.
    pub rdi: u64,
    /// Object id, low word.
    pub rsi: u64,
    /// Object id, middle word. The port transport carries it in `r11`, as `dx` holds the port.
    pub rdx: u64,
    /// Object id, high word.
    pub r10: u64,
    /// Bits 0-31 page index, 32-47 byte offset, 48-63 byte length.
    pub r8: u64,
    /// Guest-physical address of the page.
    pub r9: u64,
}
