//! How bare guests run on this machine: transport and privilege.

use super::{BareError, Privilege};
use crate::kvm::{Flavour, System, Transport};

/// How bare guests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// How hypercalls travel.
    pub transport: Transport,
    /// At which level payloads run.
    pub privilege: Privilege,
}

impl Setting {
    /// What is asked for, and for the rest what is best here: the hypercall where KVM hands it out, and the level that
    /// runs at full speed.
    ///
    /// # Errors
    /// [`BareError::Setting`] when the hypercall is asked for where it would never return or never arrive, or a level
    /// at which payloads cannot run.
    pub fn choose(
        system: &System,
        transport: Option<Transport>,
        privilege: Option<Privilege>,
    ) -> Result<Self, BareError> {
        let flavour = system.flavour();
        let hypercall = flavour == Flavour::Hardware && system.capabilities().xen_intercept;
        let transport = match transport {
            None if hypercall => Transport::Xen,
            None => Transport::Port(tmem_abi::DEFAULT_PORT),
            Some(Transport::Xen) if flavour == Flavour::Pvm => {
                return Err(BareError::Setting(
                    "on kvm_pvm a hypercall instruction never returns: use --transport port",
                ));
            }
            Some(Transport::Xen) if !hypercall => {
                return Err(BareError::Setting(
                    "this KVM does not hand hypercalls out (KVM_CAP_XEN_HVM, kernel option CONFIG_KVM_XEN): use \
                     --transport port",
                ));
            }
            Some(transport) => transport,
        };
        if flavour == Flavour::Pvm && privilege == Some(Privilege::Kernel) {
            return Err(BareError::Setting(
                "kvm_pvm emulates code at the kernel's level, and does not know all instructions of the payload: use \
                 --privilege user",
            ));
        }
        Ok(Self { transport, privilege: privilege.unwrap_or(Privilege::native(flavour)) })
    }

    /// The transport as reports name it.
    pub fn transport_name(&self) -> &'static str {
        match self.transport {
            Transport::Xen => "hypercall",
            Transport::Port(_) => "port",
        }
    }

    /// The level as reports name it.
    pub fn privilege_name(&self) -> &'static str {
        match self.privilege {
            Privilege::Kernel => "kernel",
            Privilege::User => "user",
        }
    }
}
