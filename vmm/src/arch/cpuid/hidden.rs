//! What KVM offers and a guest of this machine does not get.
//!
//! KVM's list says what it *could* give. A feature whose other half is missing here (enclave memory, a permission of this process), that
//! opens more of the host to attack than any guest needs, or that only describes the host's own processor, is taken away,
//! the feature bit and the leaf that describes it together.

use kvm_bindings::kvm_cpuid_entry2;

/// A register of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

use Register::{Eax, Ebx, Ecx, Edx};

/// Leaf, sub-leaf, register, and the bits that a guest does not see (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E).
const BITS: &[(u32, u32, Register, &[u32])] = &[
    // Virtual machines inside the guest: VMX, SMX; SVM, SKINIT.
    (0x1, 0, Ecx, &[5, 6]),
    (0x8000_0001, 0, Ecx, &[2, 12]),
    // Performance counters: DTES64, DS-CPL, PDCM, DS; AMD's core, north-bridge and cache counters,
    // instruction-based sampling, lightweight profiling.
    (0x1, 0, Ecx, &[2, 4, 15]),
    (0x1, 0, Edx, &[21]),
    (0x8000_0001, 0, Ecx, &[10, 15, 23, 24, 27, 28]),
    // MONITOR and MWAIT, which KVM makes NOPs of; AMD's MONITORX.
    (0x1, 0, Ecx, &[3]),
    (0x8000_0001, 0, Ecx, &[29]),
    // Thermal and power management: EST, TM2, xTPR, ACPI, TM, PBE.
    (0x1, 0, Ecx, &[7, 8, 14]),
    (0x1, 0, Edx, &[22, 29, 31]),
    // Enclaves (SGX, SGX_LC, SGX_KEYS), transactions (HLE, RTM, always-abort, load tracking), cache monitoring and allocation, trace.
    (0x7, 0, Ebx, &[2, 4, 11, 12, 15, 25]),
    (0x7, 0, Ecx, &[30]),
    (0x7, 0, Edx, &[1, 11, 13, 16]),
    // Waiting without an exit (WAITPKG's umwait holds the physical processor), enqueueing to devices that are not there.
    (0x7, 0, Ecx, &[5, 29]),
];

/// Leaf, register, and the only bits of it that a guest sees: of power management the local APIC timer that goes on while the processor
/// sleeps (ARAT) and the constant rate of the TSC.
const ONLY: &[(u32, Register, u32)] = &[
    (0x6, Eax, 1 << 2),
    (0x6, Ebx, 0),
    (0x6, Ecx, 0),
    (0x6, Edx, 0),
    (0x8000_0007, Eax, 0),
    (0x8000_0007, Ecx, 0),
    (0x8000_0007, Edx, 1 << 8),
];

/// AMX (BF16, TILE, INT8, and sub-leaf 1's FP16 and COMPLEX), which needs a permission that this process may not have asked for: then its
/// state components are missing in leaf 0Dh.
const AMX: &[(u32, u32, Register, &[u32])] =
    &[(0x7, 0, Edx, &[22, 24, 25]), (0x7, 1, Eax, &[21]), (0x7, 1, Edx, &[8])];
/// XTILECFG and XTILEDATA.
const AMX_STATE: u32 = 3 << 17;

/// Whole leaves that a guest reads as zero: MONITOR/MWAIT, performance counters, cache monitoring and allocation (also AMD's), enclaves,
/// trace, SVM, sampling, profiling, counters again, encrypted memory.
const LEAVES: &[u32] = &[
    0x5,
    0xa,
    0xf,
    0x10,
    0x12,
    0x14,
    0x23,
    0x8000_000a,
    0x8000_001b,
    0x8000_001c,
    0x8000_001f,
    0x8000_0020,
    0x8000_0022,
    0x8000_0023,
];
/// AMX's leaves.
const AMX_LEAVES: &[u32] = &[0x1d, 0x1e];

/// Takes what a guest does not get out of `leaves`.
pub(super) fn hide(leaves: &mut Vec<kvm_cpuid_entry2>) {
    let components = leaves.iter().find(|leaf| leaf.function == 0xd && leaf.index == 0);
    let amx = components.is_some_and(|leaf| leaf.eax & AMX_STATE == AMX_STATE);
    leaves.retain(|leaf| !LEAVES.contains(&leaf.function) && (amx || !AMX_LEAVES.contains(&leaf.function)));
    let absent = if amx { &[] } else { AMX };
    for leaf in leaves {
        for &(function, index, register, bits) in BITS.iter().chain(absent) {
            if (leaf.function, leaf.index) == (function, index) {
                let mask = bits.iter().fold(0, |mask, bit| mask | 1 << bit);
                *register.of(leaf) &= !mask;
            }
        }
        for &(function, register, mask) in ONLY {
            if leaf.function == function {
                *register.of(leaf) &= mask;
            }
        }
    }
}

impl Register {
    fn of(self, leaf: &mut kvm_cpuid_entry2) -> &mut u32 {
        match self {
            Eax => &mut leaf.eax,
            Ebx => &mut leaf.ebx,
            Ecx => &mut leaf.ecx,
            Edx => &mut leaf.edx,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything(function: u32, index: u32) -> kvm_cpuid_entry2 {
        let ones = u32::MAX;
        kvm_cpuid_entry2 { function, index, eax: ones, ebx: ones, ecx: ones, edx: ones, ..Default::default() }
    }

    fn hidden(leaves: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
        let mut leaves = leaves.to_vec();
        hide(&mut leaves);
        leaves
    }

    #[test]
    fn nested_virtualisation_when_kvm_offers_it_is_hidden_with_its_leaf() {
        let leaves = hidden(&[everything(1, 0), everything(0x8000_0001, 0), everything(0x8000_000a, 0)]);
        assert_eq!(leaves.len(), 2);
        assert_eq!((leaves[0].ecx & 1 << 5, leaves[1].ecx & 1 << 2), (0, 0));
    }

    #[test]
    fn counters_when_kvm_offers_them_are_hidden_with_their_leaves() {
        let leaves = hidden(&[
            everything(1, 0),
            everything(0xa, 0),
            everything(0x8000_0001, 0),
            everything(0x8000_0022, 0),
        ]);
        assert_eq!(leaves.iter().map(|leaf| leaf.function).collect::<Vec<_>>(), [1, 0x8000_0001]);
        assert_eq!((leaves[0].ecx & 1 << 15, leaves[1].ecx & 1 << 23), (0, 0));
    }

    #[test]
    fn power_when_kvm_offers_it_keeps_only_the_timer_and_the_constant_clock() {
        let leaves = hidden(&[everything(6, 0), everything(0x8000_0007, 0)]);
        let registers = |n: usize| [leaves[n].eax, leaves[n].ebx, leaves[n].ecx, leaves[n].edx];
        assert_eq!(registers(0), [1 << 2, 0, 0, 0]);
        assert_eq!(registers(1), [0, u32::MAX, 0, 1 << 8]);
    }

    #[test]
    fn amx_when_its_state_is_not_permitted_is_hidden_and_otherwise_stays() {
        let state = |eax| kvm_cpuid_entry2 { function: 0xd, eax, ..Default::default() };
        let without = hidden(&[everything(7, 0), state(7), everything(0x1d, 0)]);
        assert_eq!((without.len(), without[0].edx & (1 << 22 | 1 << 24 | 1 << 25)), (2, 0));
        let with = hidden(&[everything(7, 0), state(7 | AMX_STATE), everything(0x1d, 0)]);
        assert_eq!((with.len(), with[0].edx & 1 << 24), (3, 1 << 24));
    }

    #[test]
    fn what_programs_compute_with_stays() {
        let leaves = hidden(&[everything(1, 0), everything(7, 0)]);
        // SSE4.2, x2APIC, POPCNT, AES, XSAVE, AVX, RDRAND; AVX2, BMI2, SMAP, SHA.
        let has = |register: u32, bits: &[u32]| bits.iter().all(|bit| register & 1 << bit != 0);
        assert!(has(leaves[0].ecx, &[20, 21, 23, 25, 26, 28, 30]));
        assert!(has(leaves[1].ebx, &[5, 8, 20, 29]));
    }
}
