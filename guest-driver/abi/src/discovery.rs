//! How a guest finds the host: a CPUID leaf with a signature.

use core::fmt;

use crate::{VERSION_MAJOR, VERSION_MINOR};

/// First base leaf that a guest looks at. KVM's own signature stays here, so tmem is usually at the second.
pub const CPUID_BASE_FIRST: u32 = 0x4000_0000;
/// Last base leaf that a guest looks at (the range Linux searches, arch/x86/include/asm/cpuid.h).
pub const CPUID_BASE_LAST: u32 = 0x4000_ff00;
/// Distance between base leaves.
pub const CPUID_BASE_STEP: u32 = 0x100;
/// The signature in ebx, ecx, edx of the base leaf.
pub const SIGNATURE: &[u8; 12] = b"TmemTmemTmem";

/// The four registers of a CPUID leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuidLeaf {
    /// In the base leaf the highest leaf of this range, in base+1 the version.
    pub eax: u32,
    /// Signature, or feature bits.
    pub ebx: u32,
    /// Signature, or the port.
    pub ecx: u32,
    /// Signature, or most entries in a batch.
    pub edx: u32,
}

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Features {
            $($(#[$doc])* pub const $name: Features = Features(1 << $bit);)*

            /// Every feature bit of this version with its name.
            pub const NAMES: &'static [(Features, &'static str)] = &[$((Features::$name, stringify!($name)),)*];
        }
    };
}

/// What a host offers: ebx of leaf base+1. Unknown bits are kept, and ignored by a guest.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(u32);

features! {
    /// `vmcall`/`vmmcall` is served. Without it the port is the only transport.
    HYPERCALL = 0;
    /// Persistent pools may be made.
    PERSISTENT = 1;
    /// Private ephemeral pools may be made.
    EPHEMERAL = 2;
    /// Shared pools may be joined, if the host allowed their uuid for this guest.
    SHARED = 3;
    /// READ, WRITE and XCHG.
    SUBPAGE = 4;
    /// FLUSH_RANGE.
    FLUSH_RANGE = 5;
    /// BATCH.
    BATCH = 6;
    /// QUERY.
    QUERY = 7;
    /// Xen's `tmem_op`: `rax` = 38 over `vmcall`/`vmmcall`.
    XEN = 8;
}

impl Features {
    /// No feature.
    pub const NONE: Features = Features(0);

    /// From the value of ebx.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The value of ebx.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every bit of `other` is here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_set();
        for (_, name) in Self::NAMES.iter().filter(|(feature, _)| self.contains(*feature)) {
            list.entry(&format_args!("{name}"));
        }
        list.finish()
    }
}

/// What a host says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Major version of the ABI that the host speaks.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// What it offers.
    pub features: Features,
    /// The port of the port transport, `None` if there is none.
    pub port: Option<u16>,
    /// Most entries in a batch, 0 without [`Features::BATCH`].
    pub batch_max: u32,
}

/// Why a guest that looks for tmem must do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryError {
    /// No leaf carries the signature: this host has no tmem.
    NoSignature,
    /// The host speaks another major version.
    Version {
        /// Its major version.
        major: u16,
    },
    /// The host offers neither a hypercall nor a port.
    NoTransport,
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature => write!(f, "no CPUID leaf says TmemTmemTmem: this host has no tmem"),
            Self::Version { major } => {
                write!(
                    f,
                    "the host speaks tmem ABI {major}, this guest {VERSION_MAJOR}: update the older one"
                )
            }
            Self::NoTransport => write!(f, "the host offers neither a tmem hypercall nor a tmem port"),
        }
    }
}

impl core::error::Error for DiscoveryError {}

impl Discovery {
    /// The two leaves, base and base+1, that announce this host.
    #[must_use]
    pub fn leaves(&self, base: u32) -> [CpuidLeaf; 2] {
        let [s0, s1, s2] = signature_words();
        let version = u32::from(self.major) << 16 | u32::from(self.minor);
        let port = self.port.map_or(0, u32::from);
        [
            CpuidLeaf { eax: base + 1, ebx: s0, ecx: s1, edx: s2 },
            CpuidLeaf { eax: version, ebx: self.features.bits(), ecx: port, edx: self.batch_max },
        ]
    }

    /// This version with these features, port and batch limit.
    #[must_use]
    pub const fn this_version(features: Features, port: Option<u16>, batch_max: u32) -> Self {
        Self { major: VERSION_MAJOR, minor: VERSION_MINOR, features, port, batch_max }
    }

    /// Searches the CPUID leaves as every guest does, through `cpuid(leaf)`.
    ///
    /// # Errors
    /// Without signature, with another major version, or without a transport there is no tmem.
    pub fn find(mut cpuid: impl FnMut(u32) -> CpuidLeaf) -> Result<Self, DiscoveryError> {
        let [s0, s1, s2] = signature_words();
        let found = (CPUID_BASE_FIRST..=CPUID_BASE_LAST).step_by(CPUID_BASE_STEP as usize).find(|base| {
            let leaf = cpuid(*base);
            leaf.eax > *base && leaf.ebx == s0 && leaf.ecx == s1 && leaf.edx == s2
        });
        let leaf = cpuid(found.ok_or(DiscoveryError::NoSignature)? + 1);
        let major = (leaf.eax >> 16) as u16;
        if major != VERSION_MAJOR {
            return Err(DiscoveryError::Version { major });
        }
        let features = Features::from_bits(leaf.ebx);
        let port = u16::try_from(leaf.ecx).ok().filter(|port| *port != 0);
        if port.is_none() && !features.contains(Features::HYPERCALL) {
            return Err(DiscoveryError::NoTransport);
        }
        let minor = (leaf.eax & 0xffff) as u16;
        Ok(Self { major, minor, features, port, batch_max: leaf.edx })
    }
}

fn signature_words() -> [u32; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(SIGNATURE.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}
