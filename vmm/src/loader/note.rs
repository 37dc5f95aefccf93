//! ELF notes: what a file says about itself (System V ABI, chapter 5).

/// A note that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// XEN_ELFNOTE_PHYS32_ENTRY: where a PVH kernel is entered.
    PvhEntry(u32),
    /// NT_GNU_ABI_TAG for Linux: a program, which needs a kernel below it.
    LinuxProgram,
}

const XEN_PHYS32_ENTRY: u32 = 18;
const GNU_ABI_TAG: u32 = 1;
/// First word of the ABI tag.
const ABI_LINUX: [u8; 4] = [0; 4];

/// Looks through one segment of notes; `align` is the segment's.
pub(super) fn find(bytes: &[u8], align: u64) -> Vec<Found> {
    let align = if align == 8 { 8 } else { 4 };
    let mut rest = bytes;
    let mut found = Vec::new();
    while let Some((note, after)) = split(rest, align) {
        let value = note.value.first_chunk::<4>();
        match (note.name, note.kind, value) {
            (b"Xen\0", XEN_PHYS32_ENTRY, Some(at)) => found.push(Found::PvhEntry(u32::from_le_bytes(*at))),
            (b"GNU\0", GNU_ABI_TAG, Some(&ABI_LINUX)) => found.push(Found::LinuxProgram),
            _ => {}
        }
        rest = after;
    }
    found
}

struct Note<'a> {
    kind: u32,
    name: &'a [u8],
    value: &'a [u8],
}

/// The first note, and what is behind it; `None` where no whole one is left.
fn split(bytes: &[u8], align: usize) -> Option<(Note<'_>, &[u8])> {
    let (words, rest) = bytes.split_first_chunk::<12>()?;
    let [name_len, value_len, kind] = [0, 4, 8]
        .map(|at| words.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_le_bytes(*word)));
    let (name_len, value_len) = (name_len as usize, value_len as usize);
    let name = rest.get(..name_len)?;
    // The value begins at a multiple of the alignment from the note's start, the header of 12 bytes included.
    let value_at = (12 + name_len).next_multiple_of(align) - 12;
    let value = rest.get(value_at..value_at.checked_add(value_len)?)?;
    let next = (12 + value_at + value_len).next_multiple_of(align) - 12;
    Some((Note { kind, name, value }, rest.get(next..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, value: &[u8]) -> Vec<u8> {
        let word = |n: usize| (n as u32).to_le_bytes().to_vec();
        let mut bytes =
            [word(name.len()), word(value.len()), kind.to_le_bytes().to_vec(), name.to_vec()].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn pvh_entry_when_among_others_is_found_with_four_or_eight_bytes() {
        let other = note(b"Linux\0", 257, b"123");
        for value in [&[1, 2, 3, 4][..], &[1, 2, 3, 4, 0, 0, 0, 0]] {
            let bytes = [other.clone(), note(b"Xen\0", 18, value), other.clone()].concat();
            assert_eq!(find(&bytes, 4), [Found::PvhEntry(0x0403_0201)]);
        }
    }

    #[test]
    fn program_when_its_tag_says_linux_is_one_and_else_is_not() {
        let tag = |system: u8| note(b"GNU\0", 1, &[system, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(find(&tag(0), 4), [Found::LinuxProgram]);
        assert_eq!(find(&tag(3), 4), []);
    }

    #[test]
    fn notes_when_cut_or_of_impossible_length_are_none() {
        let whole = note(b"Xen\0", 18, &[1, 2, 3, 4]);
        for len in 0..whole.len() {
            assert_eq!(find(&whole[..len], 4), [], "cut to {len}");
        }
        assert_eq!(find(&[0xff; 64], 4), []);
        assert_eq!(find(&note(b"Xen\0", 18, &[1, 2]), 4), []);
    }
}
