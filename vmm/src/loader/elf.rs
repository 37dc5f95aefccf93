//! ELF: the uncompressed `vmlinux`, or any plain 64-bit program that expects the same entry.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use linux_loader::loader::{Elf, KernelLoader};
use vm_memory::GuestAddress;

use super::{Kernel, LoadError, check_room};
use crate::arch::layout::{self, RamLayout};
use crate::memory::GuestRam;

pub(super) const MAGIC: &[u8] = b"\x7fELF";

/// ELF-64 header (System V ABI, chapter 4): class, data, machine, and where the program headers are.
const CLASS_64_LITTLE: [u8; 2] = [2, 1];
const MACHINE_X86_64: u16 = 62;
const HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
const PT_LOAD: u32 = 1;

/// What the program headers ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extent {
    /// Bytes that the file must have.
    file_end: u64,
    /// Lowest physical address.
    start: u64,
    /// First physical address above.
    end: u64,
}

pub(super) fn load(
    ram: &GuestRam,
    layout: &RamLayout,
    path: &Path,
    file: &mut File,
    len: u64,
) -> Result<Kernel, LoadError> {
    let truncated = || LoadError::Truncated { path: path.into() };
    let not_a_kernel = || LoadError::NotAKernel { path: path.into() };
    let header: [u8; HEADER_LEN] = read(file, 0).ok_or_else(truncated)?;
    if header.get(4..6) != Some(&CLASS_64_LITTLE) || u16_at(&header, 18) != Some(MACHINE_X86_64) {
        return Err(LoadError::No64BitEntry { path: path.into() });
    }
    let extent = extent(file, &header).ok_or_else(truncated)?;
    if extent.file_end > len {
        return Err(truncated());
    }
    if extent.end == 0 || extent.start < layout::HIGH_MEMORY_START {
        return Err(not_a_kernel());
    }
    check_room(layout, path, extent.end)?;
    let lowest = GuestAddress(layout::HIGH_MEMORY_START);
    let loaded = Elf::load(ram.mmap(), None, file, Some(lowest)).map_err(|_| not_a_kernel())?;
    Ok(Kernel { entry: loaded.kernel_load.0, end: extent.end, header: None })
}

fn read<const N: usize>(file: &File, at: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// Reads the program headers; `None` if the file ends before they do or their numbers overflow.
fn extent(file: &File, header: &[u8; HEADER_LEN]) -> Option<Extent> {
    let table = u64_at(header, 32)?;
    let count = u16_at(header, 56)?;
    let mut all = Extent { start: u64::MAX, ..Extent::default() };
    for n in 0..u64::from(count) {
        let at = table.checked_add(n * PROGRAM_HEADER_LEN as u64)?;
        let entry: [u8; PROGRAM_HEADER_LEN] = read(file, at)?;
        let kind = u32::from_le_bytes(*entry.first_chunk()?);
        let (offset, addr) = (u64_at(&entry, 8)?, u64_at(&entry, 24)?);
        let (in_file, in_memory) = (u64_at(&entry, 32)?, u64_at(&entry, 40)?);
        if kind == PT_LOAD && in_memory > 0 {
            all.file_end = all.file_end.max(offset.checked_add(in_file)?);
            all.start = all.start.min(addr);
            all.end = all.end.max(addr.checked_add(in_memory)?);
        }
    }
    Some(all)
}
