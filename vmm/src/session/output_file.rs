//! A file that a session writes. What had its name before stays until there is something to take its place.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::NamedTempFile;

use crate::config::destination;

/// Permissions of a new file, less what the process's mask takes away.
const MODE: u32 = 0o666;

/// The file, which nobody sees under its name before [`OutputFile::publish`], unless it is no file with content: a FIFO, a terminal,
/// a device.
#[derive(Debug)]
pub struct OutputFile {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Beside the file that it becomes.
    Beside(NamedTempFile, PathBuf),
    /// Where nothing may be made beside the file: over it, once there is something to write.
    Over(File),
    /// It has its name.
    There(File),
}

impl OutputFile {
    /// Makes sure that a file at `path` can be written. Nothing that is there changes.
    ///
    /// # Errors
    /// When it cannot.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), place: place(path)? })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name; the file that had it is gone. From now on, what is written is seen at once.
    ///
    /// # Errors
    /// When that cannot be done; the earlier file is left.
    pub fn publish(self) -> io::Result<Self> {
        let place = match self.place {
            Place::Beside(file, to) => {
                // A machine that stops now is to find one of both.
                file.as_file().sync_all()?;
                Place::There(match file.persist(&to) {
                    Ok(file) => file,
                    // A file of its own that is mounted there, as in containers.
                    Err(error) if error.error.kind() == ErrorKind::ResourceBusy => copy(error.file, &to)?,
                    Err(error) => return Err(error.error),
                })
            }
            published => published,
        };
        Ok(Self { place, ..self })
    }

    /// Writes all of `bytes`, though whoever reads them may be slow. One that takes nothing for `patience` has gone.
    ///
    /// # Errors
    /// The host's answer.
    pub fn write_all_within(&mut self, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
        let mut until = Instant::now() + patience;
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    until = Instant::now() + patience;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(io::Error::new(ErrorKind::TimedOut, "nobody reads it"));
                    }
                    self.wait(left)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self, patience: Duration) -> io::Result<()> {
        let (Place::Over(file) | Place::There(file)) = &self.place else { return Ok(()) };
        let patience = Timespec::try_from(patience).map_err(|_| ErrorKind::InvalidInput)?;
        match poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes what there is room for. A FIFO or a terminal that has none answers [`ErrorKind::WouldBlock`].
impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Place::Over(file) = &self.place {
            file.set_len(0)?;
            self.place = Place::There(file.try_clone()?);
        }
        match &mut self.place {
            Place::Beside(file, _) => file.write(bytes),
            Place::Over(file) | Place::There(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn place(path: &Path) -> io::Result<Place> {
    let there = match std::fs::metadata(path) {
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut permissions = Permissions::from_mode(MODE);
    if let Some(there) = &there {
        let kind = there.file_type();
        if kind.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        if kind.is_block_device() {
            let why = "it is a block device, and what is on it would be lost: choose a file";
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        if !kind.is_file() {
            return Ok(Place::There(open(path)?));
        }
        // Who must not write to the file must not replace it.
        drop(open(path)?);
        permissions = Permissions::from_mode(there.permissions().mode() & 0o7777);
    }
    let to = destination(path);
    match beside(&to, permissions, there.is_some()) {
        Ok(file) => Ok(Place::Beside(file, to)),
        Err(error) => match (&there, error.kind()) {
            (Some(_), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                Ok(Place::Over(open(path)?))
            }
            _ => Err(error),
        },
    }
}

/// Opens what is there, without waiting for a reader.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

fn beside(to: &Path, permissions: Permissions, exact: bool) -> io::Result<NamedTempFile> {
    let folder = crate::config::folder(to);
    // Of a folder that is not there the host's own words are better than tempfile's.
    std::fs::metadata(folder)?;
    let name = to.file_name().unwrap_or_default().display().to_string();
    let (prefix, suffix) = (format!(".{}.", name.chars().take(100).collect::<String>()), ".new");
    let file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(suffix)
        .permissions(permissions.clone())
        .tempfile_in(folder)
        // Its name says nothing to the user.
        .map_err(|error| io::Error::from(error.kind()))?;
    if exact {
        file.as_file().set_permissions(permissions)?;
    }
    Ok(file)
}

fn copy(mut from: NamedTempFile, to: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(to)?;
    from.seek(SeekFrom::Start(0))?;
    io::copy(&mut from, &mut file)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn old() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        std::fs::write(&path, "old").unwrap();
        (dir, path)
    }

    fn names(dir: &tempfile::TempDir) -> usize {
        std::fs::read_dir(dir.path()).unwrap().count()
    }

    #[test]
    fn file_when_it_is_never_published_leaves_the_earlier_one_and_nothing_else() {
        let (dir, path) = old();
        let mut output = OutputFile::create(&path).unwrap();
        output.write_all_within(b"new", PATIENCE).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(output);
        assert_eq!((std::fs::read(&path).unwrap(), names(&dir)), (b"old".to_vec(), 1));
    }

    #[test]
    fn file_when_published_takes_the_place_and_the_permissions_of_the_earlier_one() {
        let (dir, path) = old();
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        symlink("report.json", &link).unwrap();
        let mut output = OutputFile::create(&link).unwrap();
        output.write_all_within(b"new", PATIENCE).unwrap();
        let mut output = output.publish().unwrap();
        output.write_all_within(b"er", PATIENCE).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"newer");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(&dir), 2);
    }

    #[test]
    fn file_when_nothing_was_there_is_made_behind_a_link_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("new.json", &link).unwrap();
        let mut output = OutputFile::create(&link).unwrap();
        output.write_all_within(b"new", PATIENCE).unwrap();
        output.publish().unwrap();
        assert_eq!(std::fs::read(dir.path().join("new.json")).unwrap(), b"new");
    }

    #[test]
    fn file_when_written_over_is_left_until_there_is_something_to_write() {
        let (_dir, path) = old();
        let mut output = OutputFile { path: path.clone(), place: Place::Over(open(&path).unwrap()) };
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        output.write_all_within(b"n", PATIENCE).unwrap();
        output.publish().unwrap().write_all_within(b"ew", PATIENCE).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn copy_when_a_file_cannot_be_replaced_has_the_content() {
        let (dir, path) = old();
        let mut file = NamedTempFile::new_in(dir.path()).unwrap();
        file.write_all(b"it is new").unwrap();
        copy(file, &path).unwrap().write_all(b"er").unwrap();
        assert_eq!((std::fs::read(&path).unwrap(), names(&dir)), (b"it is newer".to_vec(), 1));
    }

    #[test]
    fn place_when_it_is_no_file_is_refused_or_written_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(OutputFile::create(dir.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let error = OutputFile::create(&fifo).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENXIO), "nobody reads it, and nobody waits for that");
        let mut null = OutputFile::create(Path::new("/dev/null")).unwrap().publish().unwrap();
        null.write_all_within(b"x", PATIENCE).unwrap();
        let mut full = OutputFile::create(Path::new("/dev/full")).unwrap();
        assert_eq!(full.write_all_within(b"x", PATIENCE).unwrap_err().kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn fifo_when_its_reader_takes_nothing_ends_the_patience() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let mut output = OutputFile::create(&path).unwrap();
        let error = output.write_all_within(&[0; 1 << 20], Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}
