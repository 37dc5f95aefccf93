//! What the selftest payload takes for granted: how its host has configured it.

/// Most pools of the client.
pub const MAX_POOLS: u32 = 8;
/// Its cap in bytes.
pub const CAP_BYTES: u64 = 4 << 20;
/// The uuid of a shared pool that it may join, low word first.
pub const SHARED: [u64; 2] = [0x7465_7374, 0x7368_6172];
/// One that it may not.
pub const NOT_SHARED: [u64; 2] = [0x7465_7374, 0x6465_6e79];
/// Parameter 0 of the boot information, when this guest runs in user mode under the hypercall transport: every call is
/// to be refused, and that is the only case.
pub const USER_MODE: u64 = 1;
