//! Puts a Linux kernel, its initial ramdisk, command line and tables into guest memory.
//!
//! Two kernel formats, one way in: the 64-bit entry point of Linux's boot protocol (`Documentation/arch/x86/boot.rst`),
//! which a bzImage has 0x200 after its start and an ELF `vmlinux` names in its header.

mod bzimage;
mod elf;
mod error;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use linux_loader::loader::bootparam::setup_header;
use vm_memory::{ByteValued, Bytes, GuestAddress};

pub use error::LoadError;

use crate::arch::acpi::{self, AcpiConfig};
use crate::arch::boot_params::{self, Initrd};
use crate::arch::layout::{self, RamLayout};
use crate::arch::{gdt, paging};
use crate::memory::GuestRam;

/// Highest address of an initial ramdisk for a kernel that names none (boot.rst, `initrd_addr_max`).
const INITRD_MAX_DEFAULT: u64 = 0x37ff_ffff;

/// What to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxImage {
    /// `vmlinux` (ELF) or `bzImage`.
    pub kernel: PathBuf,
    /// Initial ramdisk.
    pub initrd: Option<PathBuf>,
    /// Kernel command line.
    pub cmdline: String,
}

/// A kernel in guest memory.
struct Kernel {
    /// 64-bit entry point.
    entry: u64,
    /// First byte that the kernel does not use while it starts.
    end: u64,
    /// A bzImage's setup header.
    header: Option<setup_header>,
}

/// Fills `ram` with all that a Linux guest needs at its first instruction, and returns the entry point.
///
/// # Errors
/// [`LoadError`], which names the file and what is wrong with it.
pub fn load_linux(
    ram: &GuestRam,
    layout: &RamLayout,
    image: &LinuxImage,
    machine: &AcpiConfig,
) -> Result<u64, LoadError> {
    let kernel = load_kernel(ram, layout, &image.kernel)?;
    let initrd = match &image.initrd {
        Some(path) => Some(load_initrd(ram, layout, &kernel, path)?),
        None => None,
    };
    let cmdline = image.cmdline.as_bytes();
    if cmdline.len() >= layout::CMDLINE_MAX || cmdline.contains(&0) {
        return Err(LoadError::Cmdline { len: cmdline.len() });
    }
    let low = "boot tables are below 1 MiB, where every layout has RAM";
    ram.write(cmdline, layout::CMDLINE_START).expect(low);
    ram.write(&[0], layout::CMDLINE_START + cmdline.len() as u64).expect(low);
    let params = boot_params::zero_page(layout, kernel.header, cmdline.len() as u32, initrd);
    ram.write(params.as_slice(), layout::ZERO_PAGE_START).expect(low);
    ram.write(&le_bytes(&gdt::boot_gdt()), layout::GDT_START).expect(low);
    ram.write(&le_bytes(&paging::boot_tables()), layout::PAGE_TABLES_START).expect(low);
    ram.write(&acpi::tables(machine, layout::ACPI_START), layout::ACPI_START).expect(low);
    Ok(kernel.entry)
}

fn le_bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn open(path: &Path) -> Result<(File, u64), LoadError> {
    let cannot = |source| LoadError::Open { path: path.into(), source };
    let file = File::open(path).map_err(cannot)?;
    let meta = file.metadata().map_err(cannot)?;
    if !meta.is_file() {
        return Err(LoadError::NotAFile { path: path.into() });
    }
    Ok((file, meta.len()))
}

fn load_kernel(ram: &GuestRam, layout: &RamLayout, path: &Path) -> Result<Kernel, LoadError> {
    let (mut file, len) = open(path)?;
    let mut head = Vec::new();
    file.by_ref()
        .take(bzimage::HEADER_END as u64)
        .read_to_end(&mut head)
        .map_err(|source| LoadError::Open { path: path.into(), source })?;
    if head.starts_with(elf::MAGIC) {
        return elf::load(ram, layout, path, &mut file, len);
    }
    if bzimage::is_one(&head) {
        return bzimage::load(ram, layout, path, &mut file, len, &head);
    }
    Err(LoadError::NotAKernel { path: path.into() })
}

/// Refuses a kernel that needs memory up to `end` when low RAM ends earlier.
fn check_room(layout: &RamLayout, path: &Path, end: u64) -> Result<(), LoadError> {
    if end > layout.low().end {
        return Err(LoadError::KernelTooLarge { path: path.into(), needed: end, memory: layout.size() });
    }
    Ok(())
}

/// Puts the ramdisk as high as the kernel allows, out of the way of its decompression.
fn load_initrd(
    ram: &GuestRam,
    layout: &RamLayout,
    kernel: &Kernel,
    path: &Path,
) -> Result<Initrd, LoadError> {
    let (mut file, size) = open(path)?;
    let highest = kernel.header.map_or(INITRD_MAX_DEFAULT, |h| u64::from(h.initrd_addr_max));
    let top = layout.low().end.min(highest.saturating_add(1));
    let addr = top.checked_sub(size).map(|a| a & !0xfff).filter(|a| *a >= kernel.end);
    let Some(addr) = addr else {
        return Err(LoadError::InitrdTooLarge {
            path: path.into(),
            size,
            free: top.saturating_sub(kernel.end),
            memory: layout.size(),
        });
    };
    ram.mmap()
        .read_exact_volatile_from(GuestAddress(addr), &mut file, size as usize)
        .map_err(|_| LoadError::Truncated { path: path.into() })?;
    Ok(Initrd { addr: addr as u32, size: size as u32 })
}

#[cfg(test)]
mod tests;
