//! The x86-64 machine as pure tables: bytes and numbers that a vCPU, a loader or a guest kernel reads.
//!
//! Nothing here issues an ioctl or touches a device, so all of it is tested on machines without KVM.

pub mod acpi;
pub mod boot_params;
pub mod cmdline;
pub mod cpuid;
pub mod firmware;
pub mod gdt;
pub mod layout;
pub mod mptable;
pub mod msr;
pub mod paging;
pub mod regs;
pub mod start_info;
