//! `cargo xtask images`: everything that guests boot, made or found in the cache.

use serde::Serialize;
use tmem_images::{Cache, GuestSpec, Images, KernelId, Progress};

use crate::setup::SetupError;

/// Why images could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImagesError {
    /// A package is missing.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The builder failed.
    #[error(transparent)]
    Build(#[from] tmem_images::Error),
    /// A checksum could not be taken.
    #[error(transparent)]
    Command(#[from] crate::command::CommandError),
}

/// The builder for this repository, with the machine's cache and progress on standard error.
pub(crate) fn open() -> Result<Images, tmem_images::Error> {
    let progress = Progress::new(|line| eprintln!("images: {line}"));
    Images::open(crate::paths::root(), Cache::from_env()?, progress)
}

/// One image, for the table and `--json`.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    version: String,
    sha256: String,
    path: String,
}

/// Makes everything for guests with these kernels and lists it; with `lock` the versions used become the tested ones of images/manifest.lock.
pub(crate) fn main(kernels: &[KernelId], json: bool, lock: bool) -> Result<(), ImagesError> {
    crate::setup::ensure()?;
    let images = open()?;
    let rows = make(&images, kernels)?;
    if lock {
        // The packages of programs for guests are locked too.
        images.debian_programs()?;
        images.write_lock()?;
    }
    if json {
        let packages: Vec<String> = images.used().iter().map(ToString::to_string).collect();
        let all = serde_json::json!({ "images": rows, "packages": packages });
        println!("{all:#}");
    } else {
        let cells: Vec<Vec<String>> = rows
            .into_iter()
            .map(|row| vec![row.what, row.version, row.sha256.chars().take(16).collect(), row.path])
            .collect();
        print!("{}", crate::table::render(&["what", "version", "sha256 (start)", "path"], &cells));
    }
    Ok(())
}

fn make(images: &Images, kernels: &[KernelId]) -> Result<Vec<Row>, ImagesError> {
    let mut rows = Vec::new();
    for &id in kernels {
        let kernel = images.kernel(id)?;
        let mut files = vec![("kernel (bzImage)", kernel.bzimage.clone())];
        files.extend(kernel.vmlinux.clone().map(|vmlinux| ("kernel (ELF)", vmlinux)));
        files.push(("driver", images.driver(id)?.path));
        files.push(("initramfs", images.guest_initramfs(&GuestSpec::new(id))?));
        for (what, path) in files {
            let sha256 = sha256_of(&path)?;
            let (what, version) = (format!("{id} {what}"), kernel.release.clone());
            rows.push(Row { what, version, sha256, path: path.display().to_string() });
        }
    }
    Ok(rows)
}

fn sha256_of(path: &std::path::Path) -> Result<String, crate::command::CommandError> {
    let line = crate::command::stdout_of(std::process::Command::new("sha256sum").arg(path))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
}
