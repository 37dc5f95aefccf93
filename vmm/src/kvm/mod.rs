//! The only code that issues KVM ioctls.
//!
//! [`System`] opens `/dev/kvm` and knows what it can do, [`Vm`] is one machine, [`Vcpu`] one processor of it. A vCPU's
//! exits reach the rest of the program through one narrow trait, [`ExitHandler`], whatever transport brought them.

mod error;
mod exit;
mod kick;
mod system;
mod vcpu;
mod vm;
mod xen;

pub use error::KvmError;
pub use exit::{Exit, ExitHandler, Failure, HypercallHandler};
pub use kick::Kicker;
pub use system::{Capabilities, Flavour, System, SystemError};
pub use tmem_host::{Registers, TranslateGva, Transport};
pub use vcpu::{CpuState, Vcpu};
pub use vm::{IrqLines, Vm, VmConfig};
