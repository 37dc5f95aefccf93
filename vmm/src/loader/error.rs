//! Why a guest's files cannot be booted.

use std::path::PathBuf;

use thiserror::Error;

use super::foreign::Foreign;
use crate::arch::layout::{HIGH_RAM_START, LOW_RAM_END};

/// Why a kernel or its company could not be put into guest memory.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        #[source]
        source: std::io::Error,
    },
    /// A directory or device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// No format that can be booted.
    #[error(
        "{} is not a Linux kernel: give a bzImage (a distribution's /boot/vmlinuz-*) or an ELF vmlinux for x86-64",
        path.display()
    )]
    NotAKernel {
        /// The file.
        path: PathBuf,
    },
    /// A kernel without the entry point that is used here.
    #[error("{} has no 64-bit entry point: give a kernel built with CONFIG_X86_64, version 3.8 or later", path.display())]
    No64BitEntry {
        /// The file.
        path: PathBuf,
    },
    /// Something else that people take for a kernel.
    #[error("{} is {}: {}", path.display(), kind.what, kind.advice)]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: Foreign,
    },
    /// An ELF for another architecture.
    #[error("{} is for {machine}, and the processors of a guest are x86-64: give a kernel that was built for them", path.display())]
    OtherMachine {
        /// The file.
        path: PathBuf,
        /// What it is for.
        machine: &'static str,
    },
    /// An ELF that is not linked.
    #[error(
        "{} is an object file or a module, and no kernel: give a bzImage (a distribution's /boot/vmlinuz-*) or an ELF vmlinux",
        path.display()
    )]
    Object {
        /// The file.
        path: PathBuf,
    },
    /// An ELF that needs an operating system below it.
    #[error("{} is a program that runs under Linux, and no kernel: put it into an initramfs and give that with --initrd", path.display())]
    Program {
        /// The file.
        path: PathBuf,
    },
    /// An ELF whose first instruction would be nowhere.
    #[error(
        "{} cannot be started: its entry point {entry:#x} is in none of its segments, as guest-physical addresses count; \
         it is no kernel, or needs a boot loader of its own",
        path.display()
    )]
    EntryOutside {
        /// The file.
        path: PathBuf,
        /// Where it wants to start.
        entry: u64,
    },
    /// An ELF over the boot tables.
    #[error("{} has a segment at {addr:#x}: link it above 1 MiB, below which the boot tables are", path.display())]
    TooLow {
        /// The file.
        path: PathBuf,
        /// The segment's guest-physical address.
        addr: u64,
    },
    /// A kernel that needs addresses where no guest has memory.
    #[error(
        "{} needs memory up to {} MiB to start, and no guest has any from {} to {} MiB: build it for a lower address",
        path.display(), needed.div_ceil(1 << 20), LOW_RAM_END >> 20, HIGH_RAM_START >> 20
    )]
    TooHigh {
        /// The file.
        path: PathBuf,
        /// First byte above what the kernel uses.
        needed: u64,
    },
    /// The file ends before its own header says.
    #[error("{} is truncated: its header promises more than the file holds; copy or build it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// The kernel needs more memory than there is.
    #[error(
        "{} needs memory up to {} MiB to start, the guest has {} MiB: give it more with --memory (or `memory`)",
        path.display(), needed.div_ceil(1 << 20), memory >> 20
    )]
    KernelTooLarge {
        /// The file.
        path: PathBuf,
        /// First byte above what the kernel uses.
        needed: u64,
        /// The guest's RAM in bytes.
        memory: u64,
    },
    /// The ramdisk does not fit beside the kernel, and would in a guest with more memory.
    #[error(
        "initrd {} of {} MiB does not fit beside the kernel in a guest of {} MiB: give it at least {} MiB with --memory \
         (or `memory`), or a smaller initrd",
        path.display(), size.div_ceil(1 << 20), memory >> 20, needed.div_ceil(1 << 20)
    )]
    InitrdNeedsMemory {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The guest's RAM in bytes.
        memory: u64,
        /// With so many bytes of RAM it fits.
        needed: u64,
    },
    /// The ramdisk does not fit where the kernel takes one.
    #[error(
        "initrd {} of {} MiB is too large for this kernel, which takes one of at most {} MiB, however much memory the guest \
         has: give it a smaller one, or a disk",
        path.display(), size.div_ceil(1 << 20), most >> 20
    )]
    InitrdTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Largest that fits (bytes).
        most: u64,
    },
    /// The host gave no random numbers.
    #[error("cannot draw the seed of the guest's random numbers: {0}")]
    Seed(#[source] getrandom::Error),
    /// The command line is too long, or has a zero byte in it.
    #[error("the kernel command line has {len} bytes; Linux takes at most 2047, none of them zero")]
    Cmdline {
        /// Its length.
        len: usize,
    },
}
