//! How a guest's vCPUs are arranged: one package of cores with one thread each, whatever the host's processor has.
//!
//! Every leaf that tells has to tell the same. On a host with SMT the host's own say that two threads share a core's caches, which a
//! guest would believe of pairs of its vCPUs.

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// Leaf 1 edx: more than one logical processor in the package.
pub(super) const EDX_HTT: u32 = 1 << 28;
/// Leaf 8000_0001 ecx of AMD: the package has more than one core, and is not one core with threads.
const ECX_CMP_LEGACY: u32 = 1 << 1;
/// Leaf 8000_0001 ecx of AMD: leaves 8000_001D and 8000_001E are there.
const ECX_TOPOLOGY_EXTENSIONS: u32 = 1 << 22;

/// Where a vCPU stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topology {
    /// Its number, which is its APIC id.
    pub(super) vcpu: u32,
    /// How many there are, at least 1.
    pub(super) vcpus: u32,
}

/// Leaves that are made here and not taken from the host: extended topology, of both kinds, and AMD's.
pub(super) fn is_made_here(function: u32) -> bool {
    matches!(function, 0xb | 0x1f | 0x8000_0026)
}

impl Topology {
    /// Bits that number the package's vCPUs.
    fn id_bits(self) -> u32 {
        self.vcpus.next_power_of_two().trailing_zeros()
    }

    /// Greatest number among `bits` that a package's vCPU could have.
    fn last_id(self, bits: u32) -> u32 {
        (self.vcpus.next_power_of_two() - 1).min((1 << bits) - 1)
    }

    /// Changes what a leaf of the host's says about neighbours.
    pub(super) fn place(self, leaf: &mut kvm_cpuid_entry2) {
        match leaf.function {
            0x1 => {
                leaf.ebx = (leaf.ebx & 0xffff) | (self.vcpu << 24) | (self.vcpus.min(255) << 16);
                leaf.edx &= !EDX_HTT;
                if self.vcpus > 1 {
                    leaf.edx |= EDX_HTT;
                }
            }
            // Caches (Intel SDM, CPUID leaf 4; AMD APM, Fn8000_001D). Bits 0-4: type, 0 for none; 5-7: level; 14-25: threads that share it;
            // on Intel 26-31: cores of the package.
            0x4 | 0x8000_001d if leaf.eax & 0x1f != 0 => {
                let level = (leaf.eax >> 5) & 7;
                let sharing = if level >= 3 { self.last_id(12) } else { 0 };
                leaf.eax = (leaf.eax & 0x3fff) | sharing << 14;
                if leaf.function == 0x4 {
                    leaf.eax |= self.last_id(6) << 26;
                }
            }
            0x8000_0001 => {
                // Intel has neither bit.
                let amd = leaf.ecx & (ECX_CMP_LEGACY | ECX_TOPOLOGY_EXTENSIONS) != 0;
                leaf.ecx &= !ECX_CMP_LEGACY;
                if amd && self.vcpus > 1 {
                    leaf.ecx |= ECX_CMP_LEGACY;
                }
            }
            // Number of cores and width of the core id (APM volume 3, Fn8000_0008 ecx).
            0x8000_0008 => {
                leaf.ecx = (leaf.ecx & !0xf0ff) | (self.vcpus - 1).min(255) | (self.id_bits() << 12);
            }
            // Extended APIC id, core id with one thread per core, node 0 of 1 (APM volume 3, Fn8000_001E).
            0x8000_001e => {
                leaf.eax = self.vcpu;
                leaf.ebx = self.vcpu & 0xff;
                leaf.ecx = 0;
            }
            _ => {}
        }
    }

    /// The extended topology (Intel SDM, CPUID leaves 0Bh and 1Fh; AMD APM, Fn0000_000B): threads of a core, cores of the package, the end.
    pub(super) fn extended(self, function: u32) -> [kvm_cpuid_entry2; 3] {
        let level = |index: u32, shift: u32, count: u32, kind: u32| kvm_cpuid_entry2 {
            function,
            index,
            flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: count,
            ecx: index | kind << 8,
            edx: self.vcpu,
            ..Default::default()
        };
        [level(0, 0, 1, 1), level(1, self.id_bits(), self.vcpus, 2), level(2, 0, 0, 0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRD_OF_THREE: Topology = Topology { vcpu: 2, vcpus: 3 };

    fn placed(topology: Topology, mut leaf: kvm_cpuid_entry2) -> kvm_cpuid_entry2 {
        topology.place(&mut leaf);
        leaf
    }

    /// A cache of a host whose cores have two threads.
    fn cache(function: u32, level: u32) -> kvm_cpuid_entry2 {
        let sharing = if level < 3 { 1 } else { 63 };
        kvm_cpuid_entry2 { function, eax: 1 | level << 5 | sharing << 14 | 31 << 26, ..Default::default() }
    }

    fn sharing(leaf: kvm_cpuid_entry2) -> u32 {
        (leaf.eax >> 14) & 0xfff
    }

    #[test]
    fn leaf_one_when_placed_names_apic_id_and_count() {
        let one =
            placed(THIRD_OF_THREE, kvm_cpuid_entry2 { function: 1, ebx: u32::MAX, ..Default::default() });
        assert_eq!((one.ebx >> 24, (one.ebx >> 16) & 0xff, one.edx), (2, 3, EDX_HTT));
        let alone = Topology { vcpu: 0, vcpus: 1 };
        let host = kvm_cpuid_entry2 { function: 1, edx: u32::MAX, ..Default::default() };
        assert_eq!(placed(alone, host).edx, !EDX_HTT);
    }

    #[test]
    fn caches_when_the_host_has_smt_are_each_core_s_own_below_the_third_level() {
        for function in [0x4, 0x8000_001d] {
            let seen = [1, 2, 3].map(|level| sharing(placed(THIRD_OF_THREE, cache(function, level))));
            assert_eq!(seen, [0, 0, 3], "{function:#x}");
        }
        assert_eq!(placed(THIRD_OF_THREE, cache(0x4, 1)).eax >> 26, 3);
        let none = kvm_cpuid_entry2 { function: 4, index: 4, ..Default::default() };
        assert_eq!(placed(THIRD_OF_THREE, none), none);
    }

    #[test]
    fn every_leaf_when_there_are_254_vcpus_says_so_as_far_as_its_field_goes() {
        let last = Topology { vcpu: 253, vcpus: 254 };
        let leaf = |function| kvm_cpuid_entry2 { function, ..Default::default() };
        assert_eq!(placed(last, leaf(1)).ebx >> 16, 253 << 8 | 254);
        assert_eq!(placed(last, cache(4, 3)).eax >> 14, 63 << 12 | 255);
        assert_eq!(placed(last, leaf(0x8000_0008)).ecx, 8 << 12 | 253);
        assert_eq!((placed(last, leaf(0x8000_001e)).eax, placed(last, leaf(0x8000_001e)).ebx), (253, 253));
        let [thread, core, end] = last.extended(0xb);
        assert_eq!((thread.eax, thread.ebx, thread.ecx, thread.edx), (0, 1, 0x100, 253));
        assert_eq!((core.eax, core.ebx, core.ecx, core.edx), (8, 254, 0x201, 253));
        assert_eq!((end.ebx, end.ecx), (0, 2));
    }

    #[test]
    fn package_when_amd_has_cores_and_no_threads() {
        let amd =
            kvm_cpuid_entry2 { function: 0x8000_0001, ecx: ECX_TOPOLOGY_EXTENSIONS, ..Default::default() };
        assert_eq!(placed(THIRD_OF_THREE, amd).ecx & ECX_CMP_LEGACY, ECX_CMP_LEGACY);
        let intel = kvm_cpuid_entry2 { function: 0x8000_0001, ..Default::default() };
        assert_eq!(placed(THIRD_OF_THREE, intel).ecx, 0);
    }
}
