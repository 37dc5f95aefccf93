//! A guest with nothing in it but tmem: no operating system, no interrupts, no allocator.
//!
//! It runs wherever KVM runs anything: at privilege level 0 on ordinary KVM, at level 3 (with IOPL 3) on `kvm_pvm`,
//! where unprivileged guest code is the kind that runs at full speed. The host starts every vCPU in 64-bit mode at the
//! payload's entry, with identity page tables.
//!
//! * [`Host`] finds tmem and calls it, over either transport.
//! * [`layout`], [`boot`] and [`control`] are what host and payload agree on beside tmem itself; the host's program
//!   uses them too.
//! * The payloads beside this library: `selftest` walks the rules of the ABI case by case, `bench` measures, `hostile`
//!   attacks.

#![no_std]

pub mod bench;
pub mod boot;
pub mod control;
pub mod histogram;
mod host;
pub mod layout;
pub mod memory;
pub mod random;
pub mod selftest;

pub use host::{Host, Transport};
