//! Segment descriptors, as GDT words for memory and as KVM's segment registers.

use kvm_bindings::kvm_segment;

/// Selector of the boot code segment (Linux's `__BOOT_CS`).
pub const BOOT_CS: u16 = 0x10;
/// Selector of the boot data segment (Linux's `__BOOT_DS`).
pub const BOOT_DS: u16 = 0x18;
/// Selector of the boot task segment.
pub const BOOT_TSS: u16 = 0x20;

/// Words of the boot GDT: null, null, code, data, task.
pub const GDT_WORDS: usize = 5;

/// A descriptor before it is packed: Intel SDM volume 3, section 3.4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// First linear address.
    pub base: u32,
    /// 20 bits, in units of 4 KiB when the granularity flag is set.
    pub limit: u32,
    /// Bits 0-7: type, S, DPL, present; bits 12-15: AVL, L, D/B, granularity.
    pub flags: u16,
}

/// 64-bit code, execute/read, accessed, present, privilege 0.
pub const CODE_64: Descriptor = Descriptor { base: 0, limit: 0xf_ffff, flags: 0xa09b };
/// Data, read/write, accessed, present, privilege 0.
pub const DATA: Descriptor = Descriptor { base: 0, limit: 0xf_ffff, flags: 0xc093 };
/// 32-bit code, execute/read, accessed, present, privilege 0.
pub const CODE_32: Descriptor = Descriptor { base: 0, limit: 0xf_ffff, flags: 0xc09b };
/// Busy 32-bit task segment, as small as one can be.
pub const TSS_32: Descriptor = Descriptor { base: 0, limit: 0x67, flags: 0x008b };
/// Busy 64-bit task segment.
pub const TSS: Descriptor = Descriptor { base: 0, limit: 0xf_ffff, flags: 0x808b };

impl Descriptor {
    /// The same segment for privilege level `dpl` (0-3).
    pub const fn with_dpl(self, dpl: u16) -> Self {
        Self { flags: self.flags | ((dpl & 3) << 5), ..self }
    }

    const fn bit(self, n: u16) -> u8 {
        ((self.flags >> n) & 1) as u8
    }

    /// The eight bytes that stand in a GDT.
    pub const fn word(self) -> u64 {
        let base = self.base as u64;
        let limit = self.limit as u64;
        let flags = self.flags as u64;
        ((base & 0xff00_0000) << 32)
            | ((flags & 0xf0ff) << 40)
            | ((limit & 0xf_0000) << 32)
            | ((base & 0x00ff_ffff) << 16)
            | (limit & 0xffff)
    }

    /// The segment register that loading `selector` for this descriptor would give.
    pub const fn segment(self, selector: u16) -> kvm_segment {
        let granular = self.bit(15);
        kvm_segment {
            base: self.base as u64,
            limit: if granular == 1 { (self.limit << 12) | 0xfff } else { self.limit },
            selector,
            type_: (self.flags & 0xf) as u8,
            s: self.bit(4),
            dpl: ((self.flags >> 5) & 3) as u8,
            present: self.bit(7),
            avl: self.bit(12),
            l: self.bit(13),
            db: self.bit(14),
            g: granular,
            unusable: 0,
            padding: 0,
        }
    }
}

/// The GDT that Linux's 64-bit boot protocol asks for.
pub const fn boot_gdt() -> [u64; GDT_WORDS] {
    [0, 0, CODE_64.word(), DATA.word(), TSS.word()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_when_flat_match_the_values_linux_uses() {
        // linux: arch/x86/boot/compressed/head_64.S, gdt
        assert_eq!(CODE_64.word(), 0x00af_9b00_0000_ffff);
        assert_eq!(DATA.word(), 0x00cf_9300_0000_ffff);
    }

    #[test]
    fn segment_when_granular_has_a_byte_limit() {
        let code = CODE_64.segment(BOOT_CS);
        assert_eq!((code.limit, code.l, code.db, code.g, code.dpl), (u32::MAX, 1, 0, 1, 0));
    }

    #[test]
    fn with_dpl_when_three_is_user_in_both_forms() {
        let user = DATA.with_dpl(3);
        assert_eq!(user.segment(0x23).dpl, 3);
        assert_eq!((user.word() >> 45) & 3, 3);
    }

    #[test]
    fn word_when_base_is_set_scatters_it() {
        let d = Descriptor { base: 0x1234_5678, limit: 0x67, flags: 0x008b };
        assert_eq!(d.word(), 0x1200_8b34_5678_0067);
    }
}
