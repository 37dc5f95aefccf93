//! One open image.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;
use vm_memory::VolatileSlice;

use super::lock::LockError;
use super::{DiskError, DiskSpec, Medium, SECTOR, format, kind, lock, transfer};

/// Bytes that are zeroed in one call, after which it is looked whether somebody wants an end.
const STEP: u64 = 64 << 20;
/// Bytes of zeros that are written in one call where the host has no other way.
const ZEROS: usize = 64 << 10;

/// A file or block device of the host that nobody else writes. Its offsets are bytes. Several threads may use it at once.
#[derive(Debug)]
pub struct Image {
    path: PathBuf,
    file: File,
    read_only: bool,
}

impl Image {
    /// Opens what `spec` names, takes its lock, and looks that it is raw.
    ///
    /// # Errors
    /// [`DiskError`] naming the file.
    pub fn open(spec: &DiskSpec) -> Result<Self, DiskError> {
        let path = || spec.path.clone();
        let cannot = |source| DiskError::Open { path: path(), source };
        kind(&spec.path)?;
        let mut options = OpenOptions::new();
        // Another file may have been given the name meanwhile.
        options.read(true).write(!spec.read_only).custom_flags(libc::O_NONBLOCK);
        let file = options.open(&spec.path).map_err(cannot)?;
        match lock::lock(&file, spec.read_only) {
            Ok(()) => {}
            Err(LockError::Taken) => {
                return Err(DiskError::Used { path: path(), read_only: spec.read_only });
            }
            Err(LockError::Host(error)) => {
                tracing::warn!(disk = %spec.path.display(), %error, "not locked: nothing keeps another writer from it");
            }
        }
        let image = Self { path: path(), file, read_only: spec.read_only };
        let size = image.size().map_err(cannot)?;
        // Before its size is looked at, which for a compressed file is any number.
        if !spec.raw
            && let Some(format) = format::recognise(&image.file, size).map_err(cannot)?
        {
            return Err(DiskError::Format { path: path(), format });
        }
        match size {
            0 => Err(DiskError::Empty(path())),
            size if !size.is_multiple_of(SECTOR) => Err(DiskError::Odd { path: path(), size }),
            _ => Ok(image),
        }
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn deallocate(&self, how: FallocateFlags, at: u64, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
        in_steps(at, bytes, STEP, stop, |at, bytes| {
            Ok(rustix::fs::fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, at, bytes)?)
        })
    }
}

impl Medium for Image {
    fn read_only(&self) -> bool {
        self.read_only
    }

    fn size(&self) -> io::Result<u64> {
        // Other than its metadata, the end of a block device tells its size.
        (&self.file).seek(SeekFrom::End(0))
    }

    fn grow(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn read(&self, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()> {
        transfer::read(&self.file, parts, at)
    }

    fn write(&self, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()> {
        transfer::write(&self.file, parts, at)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn discard(&self, at: u64, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
        self.deallocate(FallocateFlags::PUNCH_HOLE, at, bytes, stop)
    }

    fn write_zeros(&self, at: u64, bytes: u64, unmap: bool, stop: &AtomicBool) -> io::Result<()> {
        let how = if unmap { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        match self.deallocate(how, at, bytes, stop) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                in_steps(at, bytes, ZEROS as u64, stop, |at, bytes| {
                    let zeros = [0; ZEROS];
                    self.file.write_all_at(zeros.get(..bytes as usize).unwrap_or(&zeros), at)
                })
            }
            done => done,
        }
    }
}

/// Does `bytes` from `at` on step by step, until `stop`.
fn in_steps(
    at: u64,
    bytes: u64,
    step: u64,
    stop: &AtomicBool,
    mut work: impl FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes {
        if stop.load(Ordering::Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let part = step.min(bytes - done);
        work(at + done, part)?;
        done += part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    static GO: AtomicBool = AtomicBool::new(false);

    fn image(content: &[u8]) -> (tempfile::NamedTempFile, Image) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let image = Image::open(&DiskSpec::new(file.path())).unwrap();
        (file, image)
    }

    fn refused(spec: &DiskSpec) -> String {
        Image::open(spec).unwrap_err().to_string()
    }

    #[test]
    fn file_when_missing_empty_odd_or_no_file_is_named_with_what_to_do() {
        assert!(refused(&DiskSpec::new("/no/disk.img")).starts_with("cannot open disk /no/disk.img: "));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let spec = DiskSpec::new(file.path());
        assert!(refused(&spec).contains("is empty: give it its size with `truncate -s 512M /"));
        file.write_all(&[0; 513]).unwrap();
        assert!(refused(&spec).contains("has 513 bytes") && refused(&spec).contains("truncate -s %512 /"));
        assert!(refused(&DiskSpec::new("/tmp")).contains("is a folder: give a raw image"));
        assert!(refused(&DiskSpec::new("/dev/zero")).contains("is a character device: give a raw image"));
    }

    #[test]
    fn fifo_when_nobody_writes_to_it_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for read_only in [true, false] {
            assert!(refused(&DiskSpec { read_only, ..DiskSpec::new(&path) }).contains("is a FIFO"));
        }
    }

    #[test]
    fn image_when_of_another_format_is_refused_unless_it_is_said_to_be_raw() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"QFI\xfb\0\0\0\x03").unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let spec = DiskSpec { read_only: true, ..DiskSpec::new(file.path()) };
        let text = refused(&spec);
        let path = file.path().display().to_string();
        assert!(
            text.contains("is a qcow2 image") && text.contains("`qemu-img convert -f qcow2 -O raw "),
            "{text}"
        );
        assert!(text.ends_with(&format!("insist with `{path},format=raw`")), "{text}");
        assert!(Image::open(&DiskSpec { raw: true, ..spec }).is_ok());
    }

    #[test]
    fn image_when_it_has_a_writer_is_refused_under_every_name() {
        let (file, _writer) = image(&[0; 4096]);
        let dir = tempfile::tempdir().unwrap();
        let (hard, soft) = (dir.path().join("hard"), dir.path().join("soft"));
        std::os::unix::fs::symlink(file.path(), &soft).unwrap();
        let hard_linked = std::fs::hard_link(file.path(), &hard).map(|()| hard).ok();
        for path in hard_linked.into_iter().chain([soft, file.path().into()]) {
            for read_only in [true, false] {
                let text = refused(&DiskSpec { read_only, ..DiskSpec::new(&path) });
                assert!(text.contains("is in use") && text.contains("`fuser -v "), "{text}");
            }
        }
    }

    #[test]
    fn discard_and_zeros_when_done_read_as_zeros_and_nothing_else_changes() {
        for how in 0..3 {
            let (file, image) = image(&[7; 64 << 10]);
            match how {
                0 => image.discard(4096, 32 << 10, &GO).unwrap(),
                1 => image.write_zeros(4096, 32 << 10, true, &GO).unwrap(),
                _ => image.write_zeros(4096, 32 << 10, false, &GO).unwrap(),
            }
            let content = std::fs::read(file.path()).unwrap();
            let zeros: Vec<usize> = (0..content.len()).filter(|at| content[*at] == 0).collect();
            assert_eq!((zeros.len(), zeros[0], content.len()), (32 << 10, 4096, 64 << 10));
        }
    }

    #[test]
    fn discard_when_the_file_has_holes_gives_the_room_back() {
        let (file, image) = image(&[7; 1 << 20]);
        image.flush().unwrap();
        let before = file.as_file().metadata().unwrap().blocks();
        image.discard(0, 1 << 20, &GO).unwrap();
        let after = file.as_file().metadata().unwrap().blocks();
        assert!(after < before / 2, "{before} {after}");
    }

    #[test]
    fn zeros_when_told_to_stop_are_left() {
        let (file, image) = image(&[7; 4096]);
        let error = image.write_zeros(0, 4096, false, &AtomicBool::new(true)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert_eq!(std::fs::read(file.path()).unwrap(), [7; 4096]);
    }

    #[test]
    fn steps_when_they_do_not_divide_the_range_end_with_a_smaller_one() {
        let mut seen = Vec::new();
        in_steps(10, 7, 3, &GO, |at, bytes| {
            seen.push((at, bytes));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(10, 3), (13, 3), (16, 1)]);
    }
}
