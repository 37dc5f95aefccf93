//! bzImage: the compressed kernel that distributions ship (`Documentation/arch/x86/boot.rst`).

use std::fs::File;
use std::path::Path;

use linux_loader::loader::{BzImage, KernelLoader};
use vm_memory::GuestAddress;

use super::{InitrdRoom, Kernel, LoadError, check_room};
use crate::arch::layout::{self, RamLayout};
use crate::arch::regs::Entry;
use crate::memory::GuestRam;

/// First byte after the part of the header that is looked at.
pub(super) const HEADER_END: usize = 0x268;
/// Offset of the magic "HdrS".
const MAGIC_AT: usize = 0x202;
/// Offset of the count of 512-byte setup sectors.
const SETUP_SECTS_AT: usize = 0x1f1;
/// Offset of the size of the protected-mode part, in 16-byte paragraphs.
const SYSSIZE_AT: usize = 0x1f4;
/// First protocol version with `xloadflags`.
const VERSION_2_12: u16 = 0x20c;
/// `xloadflags`: the kernel has a 64-bit entry point.
const XLF_KERNEL_64: u16 = 1;
/// `xloadflags`: kernel, boot parameters and initial ramdisk may be above 4 GiB.
const XLF_CAN_BE_LOADED_ABOVE_4G: u16 = 2;
/// Distance of the 64-bit entry point from the start of the protected-mode part.
const ENTRY_64: u64 = 0x200;

pub(super) fn is_one(head: &[u8]) -> bool {
    head.get(MAGIC_AT..MAGIC_AT + 4) == Some(b"HdrS")
}

/// Bytes that the header says the file has.
fn promised_len(head: &[u8]) -> Option<u64> {
    let sectors = match *head.get(SETUP_SECTS_AT)? {
        0 => 4,
        n => u64::from(n),
    };
    let paragraphs = head.get(SYSSIZE_AT..)?.first_chunk::<4>()?;
    Some((sectors + 1) * 512 + u64::from(u32::from_le_bytes(*paragraphs)) * 16)
}

pub(super) fn load(
    ram: &GuestRam,
    layout: &RamLayout,
    path: &Path,
    file: &mut File,
    len: u64,
    head: &[u8],
) -> Result<Kernel, LoadError> {
    let truncated = || LoadError::Truncated { path: path.into() };
    // The file may lack up to 15 bytes of its last paragraph.
    if head.len() < HEADER_END || len + 15 < promised_len(head).ok_or_else(truncated)? {
        return Err(truncated());
    }
    check_room(layout, path, layout::HIGH_MEMORY_START + len)?;
    let start = GuestAddress(layout::HIGH_MEMORY_START);
    let loaded = BzImage::load(ram.mmap(), Some(start), file, Some(start))
        .map_err(|_| LoadError::NotAKernel { path: path.into() })?;
    let header = loaded.setup_header.ok_or_else(|| LoadError::NotAKernel { path: path.into() })?;
    if header.version < VERSION_2_12 || header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(LoadError::No64BitEntry { path: path.into() });
    }
    // The kernel unpacks itself at its preferred address, or above where it was loaded.
    let runs_at = header.pref_address.max(layout::HIGH_MEMORY_START);
    let end = runs_at.saturating_add(u64::from(header.init_size));
    check_room(layout, path, end)?;
    let entry = Entry::Linux64(loaded.kernel_load.0 + ENTRY_64);
    let initrd = InitrdRoom {
        below: u64::from(header.initrd_addr_max).saturating_add(1),
        above_4g: header.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G != 0,
    };
    Ok(Kernel { entry, end, header: Some(header), initrd })
}
