//! Why a guest's files cannot be booted.

use std::path::PathBuf;

use thiserror::Error;

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
    /// The ramdisk does not fit beside the kernel.
    #[error(
        "initrd {} of {} KiB does not fit: {} KiB are free beside the kernel in a guest of {} MiB; \
         give it more memory or a smaller initrd",
        path.display(), size.div_ceil(1024), free / 1024, memory >> 20
    )]
    InitrdTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Bytes that were free for it.
        free: u64,
        /// The guest's RAM in bytes.
        memory: u64,
    },
    /// The command line is too long, or has a zero byte in it.
    #[error("the kernel command line has {len} bytes; Linux takes at most 2047, none of them zero")]
    Cmdline {
        /// Its length.
        len: usize,
    },
}
