//! Advisory locks on an image: one writer, or any number of readers, among ourselves and among other VMMs.
//!
//! All are locks of the open file description (fcntl(2), `F_OFD_SETLK`): they belong to the file and not to its name, hold between two
//! guests of one process, and go with the last descriptor. Three habits meet on one file:
//!
//! * QEMU (`block/file-posix.c`) marks with shared locks of single bytes what it does (100 + n) and what it lets nobody else do
//!   (200 + n), where n is 0 to read and 1 to write, and then looks whether somebody else's marks forbid it.
//! * Cloud Hypervisor (`block/src/fcntl.rs`) locks the whole file, shared or exclusively.
//! * libvirt's `virtlockd` and we ourselves lock byte 0 so. It lies in Cloud Hypervisor's range and outside of QEMU's.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Locked shared by readers, exclusively by the writer.
const OURS: i64 = 0;
/// QEMU: somebody reads.
const READS: i64 = 100;
/// QEMU: somebody writes.
const WRITES: i64 = 101;
/// QEMU: nobody else may read.
const NO_READERS: i64 = 200;
/// QEMU: nobody else may write.
const NO_WRITERS: i64 = 201;

/// Why an image is not locked.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody else has it.
    Taken,
    /// The host refused.
    Host(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Self::Taken,
            _ => Self::Host(error),
        }
    }
}

/// Takes what a reader or a writer takes, and looks whether anybody's marks forbid it. The marks of who was refused go with the file.
pub(super) fn lock(file: &File, read_only: bool) -> Result<(), LockError> {
    let ours = if read_only { libc::F_RDLCK } else { libc::F_WRLCK };
    set(file, ours, OURS)?;
    let marks: &[i64] = if read_only { &[READS, NO_WRITERS] } else { &[READS, WRITES, NO_WRITERS] };
    for mark in marks {
        set(file, libc::F_RDLCK, *mark)?;
    }
    let forbidding: &[i64] =
        if read_only { &[WRITES, NO_READERS] } else { &[WRITES, NO_READERS, NO_WRITERS] };
    for mark in forbidding {
        match holder(file, *mark)? {
            None => {}
            // Another VMM's reader that locks all of the file: we could not lock byte 0 exclusively beside it, so we read as well.
            Some(whole) if whole.l_start == 0 && i32::from(whole.l_type) == libc::F_RDLCK => {}
            Some(_) => return Err(LockError::Taken),
        }
    }
    Ok(())
}

fn byte(kind: i32, at: i64) -> libc::flock {
    // The kinds are 0, 1 and 2.
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: at, l_len: 1, l_pid: 0 }
}

fn set(file: &File, kind: i32, at: i64) -> io::Result<()> {
    let mut lock = byte(kind, at);
    fcntl(file, libc::F_OFD_SETLK, &mut lock)
}

/// A lock of somebody else's on this byte.
fn holder(file: &File, at: i64) -> io::Result<Option<libc::flock>> {
    let mut lock = byte(libc::F_WRLCK, at);
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok((i32::from(lock.l_type) != libc::F_UNLCK).then_some(lock))
}

fn fcntl(file: &File, command: i32, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: both commands read and write one `flock`, which `lock` is, and nothing else; the descriptor is open.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    struct Files(tempfile::NamedTempFile);

    impl Files {
        fn new() -> Self {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(4096).unwrap();
            Self(file)
        }

        fn open(&self, read_only: bool) -> File {
            OpenOptions::new().read(true).write(!read_only).open(self.0.path()).unwrap()
        }

        /// A file that is locked as a reader or a writer locks it.
        fn locked(&self, read_only: bool) -> Result<File, LockError> {
            let file = self.open(read_only);
            lock(&file, read_only).map(|()| file)
        }

        fn taken(&self, read_only: bool) -> bool {
            matches!(self.locked(read_only), Err(LockError::Taken))
        }
    }

    /// Locks all of a file, as Cloud Hypervisor does.
    fn whole(file: &File, kind: i32) -> io::Result<()> {
        let mut lock = libc::flock { l_len: 0, ..byte(kind, 0) };
        fcntl(file, libc::F_OFD_SETLK, &mut lock)
    }

    /// Marks bytes, as QEMU does: what /proc/locks shows of one that has the file for a virtio-blk.
    fn marks(file: &File, bytes: &[i64]) {
        bytes.iter().for_each(|at| set(file, libc::F_RDLCK, *at).unwrap());
    }

    #[test]
    fn writer_when_it_has_the_file_is_alone_until_it_closes_it() {
        let files = Files::new();
        let writer = files.locked(false).unwrap();
        assert!(files.taken(false) && files.taken(true));
        drop(writer);
        assert!(files.locked(false).is_ok());
    }

    #[test]
    fn readers_when_they_have_the_file_share_it_and_keep_writers_out() {
        let files = Files::new();
        let _readers = [files.locked(true).unwrap(), files.locked(true).unwrap()];
        assert!(files.taken(false));
    }

    #[test]
    fn who_was_refused_leaves_no_marks_behind() {
        let files = Files::new();
        let reader = files.locked(true).unwrap();
        assert!(files.taken(false));
        drop(reader);
        assert!(files.locked(false).is_ok());
    }

    #[test]
    fn qemu_when_it_writes_keeps_all_out_and_when_it_reads_lets_readers_in() {
        let files = Files::new();
        let qemu = files.open(false);
        marks(&qemu, &[100, 101, 201]);
        assert!(files.taken(false) && files.taken(true));
        drop(qemu);
        let qemu = files.open(true);
        marks(&qemu, &[100, 201]);
        assert!(files.taken(false) && !files.taken(true));
    }

    #[test]
    fn cloud_hypervisor_when_it_writes_keeps_all_out_and_when_it_reads_lets_readers_in() {
        let files = Files::new();
        let other = files.open(false);
        whole(&other, libc::F_WRLCK).unwrap();
        assert!(files.taken(false) && files.taken(true));
        whole(&other, libc::F_RDLCK).unwrap();
        assert!(files.taken(false) && !files.taken(true));
    }

    #[test]
    fn cloud_hypervisor_when_we_have_the_file_can_at_most_read_what_we_read() {
        let files = Files::new();
        let (other, ours) = (files.open(false), files.locked(false).unwrap());
        assert!(whole(&other, libc::F_RDLCK).is_err() && whole(&other, libc::F_WRLCK).is_err());
        drop(ours);
        let _ours = files.locked(true).unwrap();
        assert!(whole(&other, libc::F_WRLCK).is_err());
        whole(&other, libc::F_RDLCK).unwrap();
    }
}
