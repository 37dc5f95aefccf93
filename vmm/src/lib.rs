//! A minimal KVM virtual machine monitor whose guests share one tmem store.
//!
//! Modules by layer, each knowing only those above it in this list:
//!
//! * [`arch`]: pure tables of the x86-64 machine (layout, GDT, page tables, CPUID, ACPI, zero page); no ioctl.
//! * [`memory`]: guest RAM, and the only translation from guest-physical addresses to bytes.
//! * [`kvm`]: the only code that issues KVM ioctls; turns exits into one small enum.
//! * [`loader`]: puts a kernel and its tables into guest memory.
//! * [`disk`]: images and block devices of the host, opened, locked, and known to be raw.
//! * [`tmem`]: hands a hypercall to the host of the store (`tmem-host`), with the memory of the guest that made it.
//! * [`bare`]: guests with nothing but a payload in them, for selftest, benchmark and attack.
//! * [`output`]: what goes out of the process, made safe for terminals, and written by threads that nobody waits for.
//! * [`devices`]: serial line, power, disks: device cores in plain memory.
//! * [`guest`]: one Linux guest, assembled, run and ended.
//! * [`config`]: what is to be run, from flags or a file.
//! * [`control`]: what may be asked of a running session over a local socket, and both ends of it.
//! * [`serve`]: disks to swap to for guests of other virtual machine monitors, over vhost-user.
//! * [`session`]: guests together: started, watched, stopped, reported.
//! * [`doctor`]: what this machine can do, found by trying.
//! * [`cli`]: the program `tmem`.

pub mod arch;
pub mod bare;
pub mod cli;
pub mod config;
pub mod control;
pub mod devices;
pub mod disk;
pub mod doctor;
pub mod guest;
pub mod kvm;
pub mod loader;
pub mod memory;
pub mod output;
pub mod serve;
pub mod session;
pub mod tmem;
