//! The options of every command that runs bare guests.

use clap::{Args, ValueEnum};

use crate::bare::{BareError, Privilege, Setting};
use crate::kvm::{System, Transport};

/// How bare guests run.
#[derive(Args, Clone, Debug)]
pub(super) struct BareOptions {
    /// How hypercalls travel.
    #[arg(long, value_enum, default_value_t)]
    transport: TransportChoice,

    /// At which privilege level guest code runs: kernel (0), user (3), or whichever this KVM runs at full speed.
    #[arg(long, value_enum, default_value_t)]
    privilege: PrivilegeChoice,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum TransportChoice {
    /// The hypercall where KVM hands it out, else the port.
    #[default]
    Auto,
    /// An `out` to an I/O port.
    Port,
    /// `vmcall` or `vmmcall`.
    Hypercall,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum PrivilegeChoice {
    #[default]
    Auto,
    Kernel,
    User,
}

impl BareOptions {
    /// What they mean on this machine.
    pub(super) fn choose(&self, system: &System) -> Result<Setting, BareError> {
        let transport = match self.transport {
            TransportChoice::Auto => None,
            TransportChoice::Port => Some(Transport::Port(tmem_abi::DEFAULT_PORT)),
            TransportChoice::Hypercall => Some(Transport::Xen),
        };
        let privilege = match self.privilege {
            PrivilegeChoice::Auto => None,
            PrivilegeChoice::Kernel => Some(Privilege::Kernel),
            PrivilegeChoice::User => Some(Privilege::User),
        };
        Setting::choose(system, transport, privilege)
    }
}
