//! What a guest's CPUID says: KVM's supported leaves, filtered, plus the leaf that announces tmem.

mod hidden;
mod topology;

use kvm_bindings::kvm_cpuid_entry2;
use tmem_abi::Discovery;

use topology::{Topology, is_made_here};

/// KVM's paravirtual features (`Documentation/virt/kvm/x86/cpuid.rst`).
const KVM_FEATURES_LEAF: u32 = 0x4000_0001;
/// First leaf of the tmem range: KVM's own range is the one before.
pub const TMEM_BASE_LEAF: u32 = tmem_abi::CPUID_BASE_FIRST + tmem_abi::CPUID_BASE_STEP;

/// KVM features that make the guest kernel issue KVM hypercalls, which the Xen intercept would take away from KVM:
/// PV_UNHALT, PV_SEND_IPI, PV_SCHED_YIELD, HC_MAP_GPA_RANGE (`arch/x86/include/uapi/asm/kvm_para.h`).
const KVM_HYPERCALL_FEATURES: u32 = 1 << 7 | 1 << 11 | 1 << 13 | 1 << 16;

/// Leaf 1 ecx: the TSC-deadline mode of the local APIC timer.
const ECX_TSC_DEADLINE: u32 = 1 << 24;
/// Leaf 1 ecx: running under a hypervisor; without it Linux does not look for KVM.
const ECX_HYPERVISOR: u32 = 1 << 31;

/// What one vCPU's CPUID depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidConfig {
    /// This vCPU's number, which is also its APIC id.
    pub vcpu: u32,
    /// vCPUs of the guest.
    pub vcpus: u32,
    /// Every hypercall of the guest goes to user space, so KVM's own must not be offered.
    pub xen_intercept: bool,
    /// KVM emulates the TSC-deadline timer (KVM_CAP_TSC_DEADLINE_TIMER).
    pub tsc_deadline: bool,
    /// What to announce, if this guest may use tmem.
    pub tmem: Option<Discovery>,
}

/// Makes one vCPU's leaves out of those that KVM supports.
pub fn guest_leaves(supported: &[kvm_cpuid_entry2], config: &CpuidConfig) -> Vec<kvm_cpuid_entry2> {
    let topology = Topology { vcpu: config.vcpu, vcpus: config.vcpus.max(1) };
    let mut leaves: Vec<kvm_cpuid_entry2> = supported
        .iter()
        .filter(|leaf| !is_made_here(leaf.function) && !is_tmem_range(leaf.function))
        .copied()
        .collect();
    hidden::hide(&mut leaves);
    let max_basic = leaves.iter().find(|leaf| leaf.function == 0).map_or(0, |leaf| leaf.eax);
    for leaf in &mut leaves {
        topology.place(leaf);
        match leaf.function {
            0x1 => {
                leaf.ecx |= ECX_HYPERVISOR;
                leaf.ecx &= !ECX_TSC_DEADLINE;
                if config.tsc_deadline {
                    leaf.ecx |= ECX_TSC_DEADLINE;
                }
            }
            KVM_FEATURES_LEAF if config.xen_intercept => leaf.eax &= !KVM_HYPERCALL_FEATURES,
            _ => {}
        }
    }
    for function in [0xb, 0x1f].into_iter().filter(|function| max_basic >= *function) {
        leaves.extend(topology.extended(function));
    }
    if let Some(tmem) = config.tmem {
        leaves.extend(tmem_leaves(&tmem));
    }
    leaves
}

/// The state components that these leaves let a guest switch on in XCR0; 0 without XSAVE (Intel SDM, CPUID leaf 0Dh, sub-leaf 0).
pub fn state_components(leaves: &[kvm_cpuid_entry2]) -> u64 {
    leaves
        .iter()
        .find(|leaf| leaf.function == 0xd && leaf.index == 0)
        .map_or(0, |leaf| u64::from(leaf.edx) << 32 | u64::from(leaf.eax))
}

fn is_tmem_range(function: u32) -> bool {
    (TMEM_BASE_LEAF..TMEM_BASE_LEAF + 0x100).contains(&function)
}

fn tmem_leaves(tmem: &Discovery) -> [kvm_cpuid_entry2; 2] {
    let mut function = TMEM_BASE_LEAF;
    tmem.leaves(TMEM_BASE_LEAF).map(|leaf| {
        let tmem_abi::CpuidLeaf { eax, ebx, ecx, edx } = leaf;
        let entry = kvm_cpuid_entry2 { function, eax, ebx, ecx, edx, ..Default::default() };
        function += 1;
        entry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, ..Default::default() }
    }

    fn config() -> CpuidConfig {
        CpuidConfig { vcpu: 2, vcpus: 3, xen_intercept: false, tsc_deadline: true, tmem: None }
    }

    fn find(leaves: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
        *leaves.iter().find(|e| e.function == function && e.index == index).unwrap()
    }

    #[test]
    fn leaf_one_when_made_names_the_hypervisor_and_hides_nested_ones() {
        let one = find(&guest_leaves(&[kvm_cpuid_entry2 { ecx: 1 << 5, ..leaf(1) }], &config()), 1, 0);
        assert_eq!(one.ecx, ECX_HYPERVISOR | ECX_TSC_DEADLINE);
    }

    #[test]
    fn tsc_deadline_when_kvm_lacks_it_is_not_offered() {
        let cfg = CpuidConfig { tsc_deadline: false, ..config() };
        let host = kvm_cpuid_entry2 { ecx: u32::MAX, ..leaf(1) };
        assert_eq!(find(&guest_leaves(&[host], &cfg), 1, 0).ecx & ECX_TSC_DEADLINE, 0);
    }

    #[test]
    fn kvm_features_when_xen_intercepts_lose_only_those_that_hypercall() {
        let host = kvm_cpuid_entry2 { eax: u32::MAX, ..leaf(KVM_FEATURES_LEAF) };
        let with = CpuidConfig { xen_intercept: true, ..config() };
        let eax = |c| find(&guest_leaves(&[host], c), KVM_FEATURES_LEAF, 0).eax;
        assert_eq!(eax(&with), !KVM_HYPERCALL_FEATURES);
        assert_eq!(eax(&config()), u32::MAX);
    }

    #[test]
    fn tmem_leaf_when_allowed_is_found_as_guests_look_for_it() {
        let features = tmem_abi::Features::PERSISTENT;
        let tmem = Discovery::this_version(features, Some(tmem_abi::DEFAULT_PORT), 64);
        let cfg = CpuidConfig { tmem: Some(tmem), ..config() };
        let leaves = guest_leaves(&[leaf(0x4000_0000)], &cfg);
        let found = Discovery::find(|function| {
            leaves.iter().find(|e| e.function == function).map_or_else(Default::default, |e| {
                tmem_abi::CpuidLeaf { eax: e.eax, ebx: e.ebx, ecx: e.ecx, edx: e.edx }
            })
        });
        assert_eq!(found, Ok(tmem));
    }

    #[test]
    fn tmem_leaf_when_not_allowed_is_absent_even_if_the_host_has_one() {
        let leaves = guest_leaves(&[leaf(TMEM_BASE_LEAF), leaf(TMEM_BASE_LEAF + 1)], &config());
        assert!(leaves.is_empty());
    }

    #[test]
    fn state_components_are_both_halves_of_the_first_sub_leaf() {
        let size = kvm_cpuid_entry2 { eax: 7, edx: 1, ebx: 832, ..leaf(0xd) };
        let extended = kvm_cpuid_entry2 { eax: 0xf, index: 1, ..leaf(0xd) };
        assert_eq!(state_components(&[leaf(1), extended, size]), 1 << 32 | 7);
    }

    #[test]
    fn state_components_without_xsave_are_none() {
        assert_eq!(state_components(&[leaf(0), leaf(1)]), 0);
    }

    #[test]
    fn topology_when_three_vcpus_has_two_bits_and_this_apic_id() {
        let host = [kvm_cpuid_entry2 { eax: 0xd, ..leaf(0) }, kvm_cpuid_entry2 { edx: 99, ..leaf(0xb) }];
        let leaves = guest_leaves(&host, &config());
        let core = find(&leaves, 0xb, 1);
        assert_eq!((core.eax, core.ebx, core.ecx, core.edx), (2, 3, 0x201, 2));
        assert_eq!(leaves.iter().filter(|e| e.function == 0xb).count(), 3);
        assert_eq!(leaves.iter().filter(|e| e.function == 0x1f).count(), 0);
    }
}
