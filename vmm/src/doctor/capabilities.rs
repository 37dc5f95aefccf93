//! KVM's capabilities that `tmem` uses, and what for.

use super::Capability;
use crate::kvm::Capabilities;

const OLD: &str = "use a newer host kernel";
const NO_PC: &str = "this KVM makes no PC: use Linux's KVM on x86-64, or the emulated host (cargo xtask lab)";

/// All of them, in the order of how much depends on them.
pub(super) fn list(of: &Capabilities) -> Vec<Capability> {
    let capability = |name, present, used_for, advice| Capability { name, present, used_for, advice };
    vec![
        capability("KVM_CAP_IRQCHIP", of.irqchip, "interrupts of Linux guests", NO_PC),
        capability("KVM_CAP_PIT2", of.pit2, "the timer with which Linux guests calibrate", NO_PC),
        capability("KVM_CAP_IRQFD", of.irqfd, "interrupts from devices of Linux guests", OLD),
        capability("KVM_CAP_IOEVENTFD", of.ioeventfd, "doorbells of devices of Linux guests", OLD),
        capability("KVM_CAP_IMMEDIATE_EXIT", of.immediate_exit, "stopping a vCPU reliably", OLD),
        capability("KVM_CAP_SYNC_REGS", of.sync_regs, "hypercalls through a port", OLD),
        capability(
            "KVM_CAP_XEN_HVM",
            of.xen_intercept,
            "hypercalls through vmcall and vmmcall",
            "use a host kernel with CONFIG_KVM_XEN, or do without: the port serves as well",
        ),
        capability(
            "KVM_CAP_TSC_DEADLINE_TIMER",
            of.tsc_deadline,
            "a cheaper timer in Linux guests",
            "nothing: they use another timer",
        ),
        capability("KVM_CAP_PMU_CAPABILITY", of.pmu_off, "keeping performance counters from guests", OLD),
    ]
}

/// Whether Linux guests cannot run without it. (Of the transports one is enough, and is tried.)
pub(super) fn linux_needs(capability: &Capability) -> bool {
    !matches!(
        capability.name,
        "KVM_CAP_SYNC_REGS" | "KVM_CAP_XEN_HVM" | "KVM_CAP_TSC_DEADLINE_TIMER" | "KVM_CAP_PMU_CAPABILITY"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_capability_comes_with_an_advice() {
        let none = Capabilities {
            irqchip: false,
            pit2: false,
            irqfd: false,
            ioeventfd: false,
            immediate_exit: false,
            sync_regs: false,
            xen_intercept: false,
            tsc_deadline: false,
            pmu_off: false,
            max_vcpus: 0,
        };
        assert!(list(&none).iter().all(|capability| !capability.present && !capability.advice.is_empty()));
    }
}
