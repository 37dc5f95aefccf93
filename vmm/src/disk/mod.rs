//! Disks as the host has them: raw images and block devices, opened once, locked, and known not to be something else.

mod format;
mod image;
mod lock;
mod medium;
mod transfer;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use format::{Format, shell_word};
pub use image::Image;
pub use medium::Medium;

/// Bytes of a sector: virtio-blk's only unit.
pub const SECTOR: u64 = 512;

/// A disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpec {
    /// The host's file.
    pub path: PathBuf,
    /// The guest may not write.
    pub read_only: bool,
    /// The file is raw, whatever it looks like.
    pub raw: bool,
    /// What the guest is told as its serial number; `None` for one by its place in the list.
    pub id: Option<String>,
    /// Queues; `None` for as many as the guest has vCPUs, up to a limit.
    pub queues: Option<u16>,
}

impl DiskSpec {
    /// A disk that the guest may write.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read_only: false, raw: false, id: None, queues: None }
    }
}

/// Why a disk cannot be attached.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The file cannot be opened as asked.
    #[error("cannot open disk {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// It is no file with bytes in it.
    #[error("disk {} is {what}: give a raw image or a block device", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// There is nothing in it.
    #[error("disk {} is empty: give it its size with `truncate -s 512M {}`", .0.display(), shell_word(.0))]
    Empty(PathBuf),
    /// The size is no whole number of sectors.
    #[error(
        "disk {} has {size} bytes, which is no whole number of 512-byte sectors: round it up with `truncate -s %512 {}`",
        path.display(), shell_word(path)
    )]
    Odd {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// It is no raw image.
    #[error(
        "disk {path} is {what}, and a guest would see its bytes as they are and destroy it: make a raw image of it with \
         `{convert}`; if it is a raw disk into which a guest has written this, insist with `{path},format=raw`",
        path = path.display(), what = format.name(), convert = format.convert(path)
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: Format,
    },
    /// Somebody has locked it.
    #[error("disk {path} is in use: {}; `fuser -v {}` tells who has it", used(*.read_only), shell_word(path), path = path.display())]
    Used {
        /// The file.
        path: PathBuf,
        /// It was to be read only.
        read_only: bool,
    },
}

fn used(read_only: bool) -> &'static str {
    match read_only {
        true => {
            "another guest, of tmem or another VMM, may write to it; end that guest, or give this one a copy"
        }
        false => {
            "another guest, of tmem or another VMM, has it too, and two of which one writes would destroy it; end that guest, \
             give this one a copy, or have both only read it (`,ro`)"
        }
    }
}

/// Opens all the disks of a guest.
///
/// # Errors
/// [`DiskError`] of the first that cannot be had.
pub fn open(specs: &[DiskSpec]) -> Result<Vec<Image>, DiskError> {
    specs.iter().map(Image::open).collect()
}

/// Looks whether the file at `path` can be a disk, without opening it: that alone waits for ever on a FIFO, and moves a tape.
fn kind(path: &Path) -> Result<(), DiskError> {
    use std::os::unix::fs::FileTypeExt;
    let there = std::fs::metadata(path).map_err(|source| DiskError::Open { path: path.into(), source })?;
    let kind = there.file_type();
    let what = match () {
        () if kind.is_file() || kind.is_block_device() => return Ok(()),
        () if kind.is_dir() => "a folder",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a character device",
    };
    Err(DiskError::Kind { path: path.into(), what })
}
