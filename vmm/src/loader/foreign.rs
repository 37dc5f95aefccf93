//! Files that people take for a kernel that can be booted here, and how to make one of them.

/// What a file is, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Ends "FILE is ".
    pub what: &'static str,
    /// A sentence without its full stop.
    pub advice: &'static str,
}

/// Magic numbers: where, what, and its meaning. The first that fits counts.
const KINDS: &[(usize, &[u8], Foreign)] = &[
    (0, b"\x1f\x8b", packed("compressed with gzip", "unpack it first: gzip -dc < FILE > kernel")),
    (0, b"\xfd7zXZ\0", packed("compressed with xz", "unpack it first: xz -dc < FILE > kernel")),
    (0, b"\x28\xb5\x2f\xfd", packed("compressed with zstd", "unpack it first: zstd -dc < FILE > kernel")),
    (0, b"\x04\x22\x4d\x18", packed("compressed with lz4", "unpack it first: lz4 -dc < FILE > kernel")),
    (0, b"\x02\x21\x4c\x18", packed("compressed with lz4", "unpack it first: lz4 -dc < FILE > kernel")),
    (0, b"BZh", packed("compressed with bzip2", "unpack it first: bzip2 -dc < FILE > kernel")),
    (0, b"\x5d\0\0", packed("compressed with lzma", "unpack it first: lzma -dc < FILE > kernel")),
    (0, b"\x89LZO\0", packed("compressed with lzop", "unpack it first: lzop -dc < FILE > kernel")),
    (0x38, b"ARM\x64", other("a kernel for arm64")),
    (0x30, b"RISCV", other("a kernel for riscv")),
    (0x38, b"RSC\x05", other("a kernel for riscv")),
    (4, b"zimg", other("a compressed EFI image (zboot), which kernels for arm64, riscv and loongarch have")),
    (
        0,
        b"\x27\x05\x19\x56",
        Foreign {
            what: "a U-Boot image (uImage)",
            advice: "take out what is behind its header of 64 bytes: tail -c +65 FILE > kernel",
        },
    ),
    (
        0,
        b"\xd0\x0d\xfe\xed",
        Foreign {
            what: "a device tree or a FIT image",
            advice: "take the kernel out: dumpimage -T flat_dt -p 0 -o kernel FILE",
        },
    ),
    (0, b"070701", INITRD),
    (0, b"070702", INITRD),
    (0, b"!<arch>\ndebian", packed_kernel("a Debian package")),
    (0, b"\xed\xab\xee\xdb", packed_kernel("an RPM package")),
];

/// An EFI program with a kernel inside, as systemd's stub makes them.
const UNIFIED: Foreign = Foreign {
    what: "a unified kernel image (UKI) for EFI firmware",
    advice: "take its parts out and give them by themselves: objcopy -O binary --only-section=.linux FILE kernel, \
             the same with .initrd and .cmdline",
};
const EFI: Foreign = Foreign {
    what: "a program for EFI firmware, and no Linux kernel for x86",
    advice: "give a bzImage (a distribution's /boot/vmlinuz-*) or an ELF vmlinux for x86-64",
};
const INITRD: Foreign = Foreign {
    what: "an initial ramdisk",
    advice: "give it with --initrd (or `initrd`), and the kernel with --kernel",
};

const fn packed(what: &'static str, advice: &'static str) -> Foreign {
    Foreign { what, advice }
}

const fn other(what: &'static str) -> Foreign {
    Foreign { what, advice: "the processors of a guest are x86-64: give a kernel that was built for them" }
}

const fn packed_kernel(what: &'static str) -> Foreign {
    Foreign { what, advice: "unpack it, and give the boot/vmlinuz-* that is in it" }
}

/// What a file with this beginning is, if it is something that people take for a kernel.
pub(super) fn recognise(head: &[u8]) -> Option<Foreign> {
    let fits = |at: &usize, magic: &[u8]| head.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    let known = KINDS.iter().find(|(at, magic, _)| fits(at, magic)).map(|(_, _, kind)| *kind);
    known.or_else(|| {
        let efi = head.starts_with(b"MZ");
        let unified = head.windows(7).any(|name| name == b".linux\0");
        efi.then_some(if unified { UNIFIED } else { EFI })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(at: usize, magic: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 4096];
        head[at..at + magic.len()].copy_from_slice(magic);
        head
    }

    #[test]
    fn file_when_its_magic_is_known_is_recognised_at_its_place() {
        for (at, magic, kind) in KINDS {
            assert_eq!(recognise(&with(*at, magic)), Some(*kind), "{}", kind.what);
            assert_eq!(recognise(&with(at + 1, magic)), None, "{}", kind.what);
        }
    }

    #[test]
    fn arm64_kernel_when_it_is_an_efi_program_too_is_a_kernel_for_arm64() {
        let mut head = with(0x38, b"ARM\x64");
        head[..2].copy_from_slice(b"MZ");
        assert!(recognise(&head).unwrap().what.contains("arm64"));
    }

    #[test]
    fn efi_program_when_it_has_a_section_with_a_kernel_is_a_unified_image() {
        let mut head = with(0x200, b".linux\0\0");
        head[..2].copy_from_slice(b"MZ");
        assert_eq!(recognise(&head), Some(UNIFIED));
        assert_eq!(recognise(&with(0, b"MZ")), Some(EFI));
    }

    #[test]
    fn file_when_short_or_text_is_not_recognised() {
        for head in [&b""[..], b"#!/bin/sh\n", b"\x1f"] {
            assert_eq!(recognise(head), None);
        }
    }
}
