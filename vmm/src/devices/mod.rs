//! The machine's devices: each one a core that works in plain memory, wired to the VM by event descriptors.

pub mod bus;
pub mod console;
pub mod power;
pub mod serial;
pub mod stdin;
pub mod terminal;
pub mod virtio;
