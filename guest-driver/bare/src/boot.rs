//! What the host tells a payload before it starts.

use tmem_abi::CpuidLeaf;

use crate::layout::BOOT_INFO;
use crate::memory::words;

/// First word of the boot information: that a payload and a host of the same build met.
const MAGIC: u64 = u64::from_le_bytes(*b"tmembare");

/// Which transport to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Want {
    /// The one that discovery prefers.
    Any = 0,
    /// The port.
    Port = 1,
    /// `vmcall` or `vmmcall`.
    Hypercall = 2,
}

/// The boot information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootInfo {
    /// vCPUs of this guest.
    pub vcpus: u32,
    /// Bytes of RAM, from address 0 without a gap.
    pub ram_bytes: u64,
    /// An address in the hole for devices: page-aligned and not RAM.
    pub hole: u64,
    /// Where all that is random starts from.
    pub seed: u64,
    /// Which transport to use.
    pub transport: Want,
    /// The two leaves in which CPUID announces tmem, for machines whose processor answers a guest at user level itself: there
    /// CPUID shows what the host's own programs see, and nothing of this.
    pub announced: [CpuidLeaf; 2],
    /// What else the payload wants to know.
    pub parameters: [u64; 4],
}

impl BootInfo {
    /// Words of the structure in memory.
    pub const WORDS: usize = 14;

    /// As it stands in memory.
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        let [p0, p1, p2, p3] = self.parameters;
        let vcpus = u64::from(self.vcpus);
        let transport = self.transport as u64;
        let [[a0, a1], [a2, a3]] =
            self.announced.map(|leaf| [wide(leaf.eax, leaf.ebx), wide(leaf.ecx, leaf.edx)]);
        [MAGIC, vcpus, self.ram_bytes, self.hole, self.seed, transport, p0, p1, p2, p3, a0, a1, a2, a3]
    }

    /// From memory; `None` if the host that wrote it is of another build.
    pub fn from_words(words: [u64; Self::WORDS]) -> Option<Self> {
        let [magic, vcpus, ram_bytes, hole, seed, transport, p0, p1, p2, p3, a0, a1, a2, a3] = words;
        let transport = match transport {
            0 => Want::Any,
            1 => Want::Port,
            2 => Want::Hypercall,
            _ => return None,
        };
        let vcpus = u32::try_from(vcpus).ok().filter(|_| magic == MAGIC)?;
        let announced = [leaf(a0, a1), leaf(a2, a3)];
        Some(Self { vcpus, ram_bytes, hole, seed, transport, announced, parameters: [p0, p1, p2, p3] })
    }

    /// Reads it, in the guest.
    ///
    /// # Panics
    /// If the host did not write it.
    pub fn read() -> Self {
        let mut read = [0; Self::WORDS];
        for (to, word) in read.iter_mut().zip(words(BOOT_INFO, Self::WORDS)) {
            *to = word.load(core::sync::atomic::Ordering::Relaxed);
        }
        Self::from_words(read).expect("the host and this payload are of the same build")
    }
}

fn wide(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn leaf(first: u64, second: u64) -> CpuidLeaf {
    CpuidLeaf { eax: first as u32, ebx: (first >> 32) as u32, ecx: second as u32, edx: (second >> 32) as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_a_foreign_magic_is_refused() {
        let info = BootInfo {
            vcpus: 4,
            ram_bytes: 1 << 25,
            hole: 0xd000_0000,
            seed: 7,
            transport: Want::Hypercall,
            announced: [
                CpuidLeaf { eax: 1, ebx: 2, ecx: 3, edx: 4 },
                CpuidLeaf { eax: 5, ebx: 6, ecx: 7, edx: u32::MAX },
            ],
            parameters: [1, 2, 3, 4],
        };
        let mut words = info.to_words();
        assert_eq!(BootInfo::from_words(words), Some(info));
        words[0] += 1;
        assert_eq!(BootInfo::from_words(words), None);
    }
}
