//! What this machine can do, found by trying.
//!
//! A wrong guess about a KVM can hang: on `kvm_pvm` a hypercall instruction spins inside the kernel for ever. So each
//! trial runs in a child process ([`probe`] says what it does, [`child`] supervises it) and is killed when its time is
//! over.

mod capabilities;
mod child;
mod findings;
mod probe;
mod text;
mod tiny;

pub use child::run_probe;
pub use findings::{Ability, Capability, Findings, examine};
pub use probe::{Probe, try_here};
pub use text::text;
