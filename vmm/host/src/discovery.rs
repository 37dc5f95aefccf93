//! What the guest's CPUID says about this host.

use tmem_abi::{Discovery, Features};

use crate::dispatcher::Limits;

/// How a guest's hypercalls reach the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `vmcall`/`vmmcall`, as `KVM_EXIT_XEN`.
    Xen,
    /// `out` of any width to this port.
    Port(u16),
}

impl Transport {
    /// The port that CPUID announces, if calls travel through one.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Xen => None,
            Self::Port(port) => Some(port),
        }
    }
}

/// The announcement for a guest whose hypercalls travel by `transport`.
///
/// Every operation is announced whatever the guest may do: a pool that it may not have is refused when it asks.
pub fn discovery(transport: Transport, limits: &Limits) -> Discovery {
    let operations = [
        Features::PERSISTENT,
        Features::EPHEMERAL,
        Features::SHARED,
        Features::SUBPAGE,
        Features::FLUSH_RANGE,
        Features::BATCH,
        Features::QUERY,
    ]
    .into_iter()
    .fold(Features::NONE, Features::union);
    let (features, port) = match transport {
        Transport::Xen => (operations.union(Features::HYPERCALL).union(Features::XEN), None),
        Transport::Port(port) => (operations, Some(port)),
    };
    Discovery::this_version(features, port, limits.batch_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xen_transport_announces_the_hypercall_and_no_port() {
        let found = discovery(Transport::Xen, &Limits::default());
        assert!(found.features.contains(Features::HYPERCALL.union(Features::XEN)));
        assert_eq!(found.port, None);
    }

    #[test]
    fn port_transport_announces_the_port_and_neither_hypercall() {
        let found = discovery(Transport::Port(0x7450), &Limits::default());
        assert!(!found.features.contains(Features::HYPERCALL) && !found.features.contains(Features::XEN));
        assert_eq!(found.port, Some(0x7450));
        assert_eq!(found.batch_max, tmem_abi::DEFAULT_BATCH_MAX);
    }
}
