//! ELF: the uncompressed `vmlinux`, and every kernel with a PVH entry.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use vm_memory::{Bytes, GuestAddress};

use super::note::{self, Found};
use super::{InitrdRoom, Kernel, LoadError, check_room};
use crate::arch::layout::{self, RamLayout};
use crate::arch::regs::Entry;
use crate::memory::GuestRam;

pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// System V ABI, chapter 4: `e_ident`, `e_type`, `e_machine`, `p_type`.
const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const TYPE_OBJECT: u16 = 1;
const MACHINE_386: u16 = 3;
const MACHINE_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;

/// Longest header of the two classes.
const HEADER_LEN: usize = 64;
/// Longest stretch of notes that is looked at (bytes). Linux has less than 1 KiB of them.
const NOTES_MAX: u64 = 64 << 10;

/// What the ELF header says.
struct Header {
    class: u8,
    kind: u16,
    machine: u16,
    entry: u64,
    table: u64,
    entry_len: u16,
    count: u16,
}

/// What a program header says.
struct Segment {
    kind: u32,
    offset: u64,
    addr: u64,
    in_file: u64,
    in_memory: u64,
    align: u64,
}

pub(super) fn load(
    ram: &GuestRam,
    layout: &RamLayout,
    path: &Path,
    file: &mut File,
    len: u64,
) -> Result<Kernel, LoadError> {
    let truncated = || LoadError::Truncated { path: path.into() };
    let mut bytes = [0; HEADER_LEN];
    file.read_exact_at(&mut bytes, 0).map_err(|_| truncated())?;
    let header = Header::read(&bytes).ok_or_else(truncated)?;
    check_machine(path, &bytes, &header)?;
    let segments = segments(file, &header).ok_or_else(truncated)?;
    let notes = notes(file, &segments);
    if segments.iter().any(|s| matches!(s.kind, PT_INTERP | PT_TLS)) || notes.contains(&Found::LinuxProgram) {
        return Err(LoadError::Program { path: path.into() });
    }
    let entry = entry(&header, &notes).ok_or_else(|| LoadError::No64BitEntry { path: path.into() })?;
    let loads: Vec<&Segment> = segments.iter().filter(|s| s.kind == PT_LOAD && s.in_memory > 0).collect();
    let end = check_segments(path, layout, len, &loads, entry)?;
    for segment in loads {
        file.seek(SeekFrom::Start(segment.offset)).map_err(|_| truncated())?;
        ram.mmap()
            .read_exact_volatile_from(GuestAddress(segment.addr), file, segment.in_file as usize)
            .map_err(|_| truncated())?;
    }
    Ok(Kernel { entry, end, header: None, initrd: InitrdRoom::of_elf(entry) })
}

/// Refuses what is for another processor, or no program at all.
fn check_machine(path: &Path, bytes: &[u8], header: &Header) -> Result<(), LoadError> {
    let little = bytes.get(5) == Some(&LITTLE_ENDIAN);
    if !little || !matches!(header.machine, MACHINE_386 | MACHINE_X86_64) {
        return Err(LoadError::OtherMachine {
            path: path.into(),
            machine: machine_name(header.machine, little),
        });
    }
    if header.kind == TYPE_OBJECT {
        return Err(LoadError::Object { path: path.into() });
    }
    Ok(())
}

/// `e_machine` by the names that kernels are sold under.
fn machine_name(machine: u16, little: bool) -> &'static str {
    match machine {
        8 => "mips",
        20 | 21 => "powerpc",
        22 => "s390",
        40 => "arm",
        50 => "ia64",
        183 => "arm64",
        243 => "riscv",
        258 => "loongarch",
        _ if !little => "a big-endian processor",
        _ => "another processor",
    }
}

/// The PVH entry where there is one, else the 64-bit entry of Linux.
fn entry(header: &Header, notes: &[Found]) -> Option<Entry> {
    let pvh = notes.iter().find_map(|found| match found {
        Found::PvhEntry(at) => Some(Entry::Pvh(*at)),
        Found::LinuxProgram => None,
    });
    pvh.or_else(|| (header.class == CLASS_64).then_some(Entry::Linux64(header.entry)))
}

/// Refuses segments that are not where they can be, and an entry that is in none; returns the end of the last.
fn check_segments(
    path: &Path,
    layout: &RamLayout,
    len: u64,
    loads: &[&Segment],
    entry: Entry,
) -> Result<u64, LoadError> {
    let truncated = || LoadError::Truncated { path: path.into() };
    let mut last = 0;
    for segment in loads {
        let end = segment.addr.checked_add(segment.in_memory).ok_or_else(truncated)?;
        let file_end = segment.offset.checked_add(segment.in_file).ok_or_else(truncated)?;
        if file_end > len || segment.in_file > segment.in_memory {
            return Err(truncated());
        }
        if segment.addr < layout::HIGH_MEMORY_START {
            return Err(LoadError::TooLow { path: path.into(), addr: segment.addr });
        }
        last = last.max(end);
    }
    let at = match entry {
        Entry::Linux64(at) => at,
        Entry::Pvh(at) => at.into(),
    };
    // What is in memory but not in the file is zero, and no code.
    if !loads.iter().any(|s| (s.addr..s.addr.saturating_add(s.in_file)).contains(&at)) {
        return Err(LoadError::EntryOutside { path: path.into(), entry: at });
    }
    check_room(layout, path, last)?;
    Ok(last)
}

impl Header {
    fn read(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let class = *bytes.get(4)?;
        let (kind, machine) = (u16_at(bytes, 16)?, u16_at(bytes, 18)?);
        Some(match class {
            CLASS_32 => Self {
                class,
                kind,
                machine,
                entry: u32_at(bytes, 24)?.into(),
                table: u32_at(bytes, 28)?.into(),
                entry_len: u16_at(bytes, 42)?,
                count: u16_at(bytes, 44)?,
            },
            _ => Self {
                class,
                kind,
                machine,
                entry: u64_at(bytes, 24)?,
                table: u64_at(bytes, 32)?,
                entry_len: u16_at(bytes, 54)?,
                count: u16_at(bytes, 56)?,
            },
        })
    }
}

impl Segment {
    fn read(bytes: &[u8], class: u8) -> Option<Self> {
        let kind = u32_at(bytes, 0)?;
        let word = |at: usize| u32_at(bytes, at).map(u64::from);
        Some(match class {
            CLASS_32 => Self {
                kind,
                offset: word(4)?,
                addr: word(12)?,
                in_file: word(16)?,
                in_memory: word(20)?,
                align: word(28)?,
            },
            _ => Self {
                kind,
                offset: u64_at(bytes, 8)?,
                addr: u64_at(bytes, 24)?,
                in_file: u64_at(bytes, 32)?,
                in_memory: u64_at(bytes, 40)?,
                align: u64_at(bytes, 48)?,
            },
        })
    }
}

/// All program headers; `None` if the file ends before they do.
fn segments(file: &File, header: &Header) -> Option<Vec<Segment>> {
    let mut bytes = vec![0; usize::from(header.entry_len) * usize::from(header.count)];
    file.read_exact_at(&mut bytes, header.table).ok()?;
    bytes
        .chunks_exact(usize::from(header.entry_len).max(1))
        .map(|entry| Segment::read(entry, header.class))
        .collect()
}

/// What the file's notes tell. Notes that cannot be read tell nothing.
fn notes(file: &File, segments: &[Segment]) -> Vec<Found> {
    let mut found = Vec::new();
    for segment in segments.iter().filter(|s| s.kind == PT_NOTE && s.in_file <= NOTES_MAX) {
        let mut bytes = vec![0; segment.in_file as usize];
        if file.read_exact_at(&mut bytes, segment.offset).is_ok() {
            found.extend(note::find(&bytes, segment.align));
        }
    }
    found
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}
