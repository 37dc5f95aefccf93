//! Kernels of a few instructions, for ends and entries that no Linux shows.

/// Where they are loaded: above the boot tables, below what any guest has.
const ADDR: u64 = 0x20_0000;
/// Where code begins in the file, and how far notes may reach before it.
const CODE_AT: usize = 0x200;
const NOTES_AT: usize = 0x100;

/// A kernel by Linux's 64-bit entry that executes an undefined instruction, with no table of handlers: a triple fault.
pub(super) fn crash() -> Vec<u8> {
    elf(&[0x0f, 0x0b], &[])
}

/// A kernel by PVH that writes its command line to the serial line and powers off; it crashes where it finds no start info.
pub(super) fn pvh() -> Vec<u8> {
    let code = [
        0x81, 0x3b, 0x78, 0xc5, 0x6e, 0x33, // cmp dword [ebx], 0x336ec578
        0x75, 0x16, // jne fail
        0x8b, 0x73, 0x18, // mov esi, [ebx + 24]
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz off
        0xee, // out dx, al
        0xeb, 0xf8, // jmp next
        0x66, 0xba, 0x00, 0x06, // off: mov dx, 0x600
        0xb0, 0x34, // mov al, S5 and its enable bit
        0xee, // out dx, al
        0x0f, 0x0b, // fail: ud2
    ];
    let entry = (ADDR as u32).to_le_bytes();
    // XEN_ELFNOTE_PHYS32_ENTRY.
    let note = [&[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0][..], b"Xen\0", &entry].concat();
    elf(&code, &note)
}

/// An ELF-64 with one segment of code, and one of notes if there are any.
fn elf(code: &[u8], notes: &[u8]) -> Vec<u8> {
    let half = u16::to_le_bytes;
    let word = u32::to_le_bytes;
    let long = |n: usize| (n as u64).to_le_bytes();
    let segment = |kind: u32, at: usize, len: usize| {
        let (flags, addr, align) = (5, ADDR as usize, 4);
        let lengths = [long(at), long(addr), long(addr), long(len), long(len), long(align)];
        [&word(kind)[..], &word(flags), &lengths.concat()].concat()
    };
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([half(2), half(62)].concat());
    file.extend(word(1));
    file.extend([ADDR.to_le_bytes(), long(64), long(0)].concat());
    file.extend(word(0));
    let segments = 1 + u16::from(!notes.is_empty());
    file.extend([64, 56, segments, 0, 0, 0].map(half).concat());
    file.extend(segment(1, CODE_AT, code.len()));
    if !notes.is_empty() {
        file.extend(segment(4, NOTES_AT, notes.len()));
    }
    file.resize(NOTES_AT, 0);
    file.extend(notes);
    file.resize(CODE_AT, 0);
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_their_headers_before_their_code() {
        let (crash, pvh) = (crash(), pvh());
        assert_eq!((crash[56], pvh[56]), (1, 2));
        assert_eq!(crash[CODE_AT..], [0x0f, 0x0b]);
        assert_eq!(&pvh[NOTES_AT + 12..NOTES_AT + 16], b"Xen\0");
        assert_eq!(pvh[120..124], [4, 0, 0, 0], "the second program header");
    }
}
