//! Puts a kernel, its initial ramdisk, command line and tables into guest memory.
//!
//! Two kernel formats, two ways in: the 64-bit entry point of Linux's boot protocol (`Documentation/arch/x86/boot.rst`), which a
//! bzImage has 0x200 after its start and an ELF `vmlinux` names in its header; and PVH, for an ELF with a note that says so.

mod bzimage;
mod elf;
mod error;
mod foreign;
mod initrd;
mod note;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use linux_loader::loader::bootparam::setup_header;
use vm_memory::ByteValued;

pub use error::LoadError;
pub use foreign::Foreign;

use initrd::InitrdRoom;

use crate::arch::acpi::{self, AcpiConfig};
use crate::arch::boot_params::{self, SEED_LEN};
use crate::arch::layout::{self, RamLayout};
use crate::arch::regs::Entry;
use crate::arch::start_info::start_info;
use crate::arch::{cmdline, firmware, gdt, mptable, paging};
use crate::memory::GuestRam;

/// Bytes of a file that tell what it is: a bzImage's header, and the section names of an EFI program.
const HEAD_LEN: u64 = 4096;

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
    /// Where it is entered, and in which mode.
    entry: Entry,
    /// First byte that the kernel does not use while it starts.
    end: u64,
    /// A bzImage's setup header.
    header: Option<setup_header>,
    /// Where it takes an initial ramdisk.
    initrd: InitrdRoom,
}

/// Fills `ram` with all that a guest needs at its first instruction, and returns the entry point.
///
/// # Errors
/// [`LoadError`], which names the file and what is wrong with it.
pub fn load_kernel(
    ram: &GuestRam,
    layout: &RamLayout,
    image: &LinuxImage,
    machine: &AcpiConfig,
) -> Result<Entry, LoadError> {
    let kernel = load_image(ram, layout, &image.kernel)?;
    let initrd = match &image.initrd {
        Some(path) => Some(initrd::load(ram, layout, &kernel, path)?),
        None => None,
    };
    let cmdline = cmdline::with_devices(&image.cmdline, machine.virtio_devices);
    let cmdline = cmdline.as_bytes();
    if cmdline.len() >= layout::CMDLINE_MAX || cmdline.contains(&0) {
        return Err(LoadError::Cmdline { len: cmdline.len() });
    }
    let low = "boot tables are below 1 MiB, where every layout has RAM";
    ram.write(cmdline, layout::CMDLINE_START).expect(low);
    ram.write(&[0], layout::CMDLINE_START + cmdline.len() as u64).expect(low);
    match kernel.entry {
        Entry::Linux64(_) => {
            let params = boot_params::zero_page(layout, kernel.header, cmdline.len() as u32, initrd);
            ram.write(params.as_slice(), layout::ZERO_PAGE_START).expect(low);
            ram.write(&boot_params::seed_data(&seed()?), layout::SETUP_DATA_START).expect(low);
            ram.write(&le_bytes(&gdt::boot_gdt()), layout::GDT_START).expect(low);
            ram.write(&le_bytes(&paging::boot_tables()), layout::PAGE_TABLES_START).expect(low);
        }
        Entry::Pvh(_) => ram.write(&start_info(layout, initrd), layout::START_INFO_START).expect(low),
    }
    ram.write(&firmware::reset_code(), layout::RESET_VECTOR).expect(low);
    ram.write(&layout::RESET_FLAG_UNTOUCHED.to_le_bytes(), layout::RESET_FLAG).expect(low);
    ram.write(&acpi::tables(machine, layout::ACPI_START), layout::ACPI_START).expect(low);
    ram.write(&mptable::tables(machine.vcpus), layout::MP_TABLE_START).expect(low);
    Ok(kernel.entry)
}

fn seed() -> Result<[u8; SEED_LEN], LoadError> {
    let mut seed = [0; SEED_LEN];
    getrandom::fill(&mut seed).map_err(LoadError::Seed)?;
    Ok(seed)
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

fn load_image(ram: &GuestRam, layout: &RamLayout, path: &Path) -> Result<Kernel, LoadError> {
    let (mut file, len) = open(path)?;
    let mut head = Vec::new();
    file.by_ref()
        .take(HEAD_LEN)
        .read_to_end(&mut head)
        .map_err(|source| LoadError::Open { path: path.into(), source })?;
    if head.starts_with(elf::MAGIC) {
        return elf::load(ram, layout, path, &mut file, len);
    }
    if bzimage::is_one(&head) {
        return bzimage::load(ram, layout, path, &mut file, len, &head);
    }
    let path = path.into();
    Err(match foreign::recognise(&head) {
        Some(kind) => LoadError::Foreign { path, kind },
        None => LoadError::NotAKernel { path },
    })
}

/// Refuses a kernel that needs memory up to `end` when low RAM ends earlier.
fn check_room(layout: &RamLayout, path: &Path, end: u64) -> Result<(), LoadError> {
    if end > layout::LOW_RAM_END {
        return Err(LoadError::TooHigh { path: path.into(), needed: end });
    }
    if end > layout.low().end {
        return Err(LoadError::KernelTooLarge { path: path.into(), needed: end, memory: layout.size() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
