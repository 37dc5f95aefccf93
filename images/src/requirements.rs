//! What a Debian 12 machine needs beside cargo. One list, for `cargo xtask setup` and for people.

/// A package to be installed, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requirement {
    /// The Debian package.
    pub package: &'static str,
    /// What it is needed for.
    pub why: &'static str,
}

const fn need(package: &'static str, why: &'static str) -> Requirement {
    Requirement { package, why }
}

/// Everything that building the images and running the lab needs.
///
/// Kernels, their headers and busybox are not here: they are downloaded into the cache and unpacked there, never
/// installed.
pub const REQUIREMENTS: &[Requirement] = &[
    need("gcc", "compiles the small guest kernel and the driver module"),
    need(
        "libc6-dev",
        "C library headers for the kernel's host tools, and the static C library of guest programs",
    ),
    need("make", "drives the kernel's build"),
    need("flex", "the kernel's configuration tool is generated with it"),
    need("bison", "the kernel's configuration tool is generated with it"),
    need("patch", "makes the small guest kernel tmem-aware"),
    need("bc", "computes the kernel's time constants"),
    need("libelf-dev", "objtool, which checks and annotates kernel objects, reads ELF with it"),
    need("xz-utils", "unpacks the kernel's source and its modules"),
    need("kmod", "depmod finds out which kernel module needs which"),
    need("e2fsprogs", "makes disks of programs for guests"),
    need("qemu-system-x86", "emulates the lab's host, a machine with virtualization"),
];
