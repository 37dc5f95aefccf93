//! A guest that has the smoke test of the C library (guest-driver/user/c), compiled as a user would.

use std::path::Path;

use tmem_images::{GuestSpec, KernelId};

use crate::command;
use crate::files;
use crate::lab::Added;

/// How a strict user compiles; all headers are this repository's or the system's.
const OPTIONS: [&str; 3] = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wpedantic"];

/// The initramfs of a guest that finds the program at `/opt/smoke`, for the lab; what is compiled goes to `dir`.
pub(super) fn initramfs(kernel: KernelId, dir: &Path) -> Result<Added, Box<dyn std::error::Error>> {
    let driver = crate::paths::root().join("guest-driver");
    let headers = format!("-I{}", driver.join("linux").display());
    files::make_dir(dir)?;
    let options = OPTIONS.iter().copied().chain([headers.as_str()]);
    let options: Vec<&str> = options.collect();
    let smoke = command::compile(&[driver.join("user/c/smoke.c")], &options, &dir.join("smoke"))?;
    let spec = GuestSpec { files: vec![("/opt/smoke".to_owned(), smoke)], ..GuestSpec::new(kernel) };
    let from = crate::images::open()?.guest_initramfs(&spec)?;
    Ok(Added { from, to: "/lab/device-initramfs".into() })
}
