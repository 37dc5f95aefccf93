//! What a console's output is written to by its thread: a file, a FIFO, a device.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use thiserror::Error;

use super::CappedFile;

/// Why a path cannot be written to.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The host does not open it.
    #[error(transparent)]
    Host(#[from] io::Error),
    /// It is of a kind that takes no output.
    #[error("it is a {0}; give a file, a FIFO or a terminal")]
    Kind(&'static str),
}

/// An open descriptor, whether or not somebody has made it one that does not block.
#[derive(Debug)]
pub struct Descriptor(OwnedFd);

/// A FIFO, whose readers come and go.
#[derive(Debug)]
struct Fifo {
    path: PathBuf,
    reader: Option<Descriptor>,
    unread: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Kind {
    File(CappedFile),
    Device(Descriptor),
    Fifo(Fifo),
}

/// Something with a path that output is written to. To open it never waits for anybody; to write may.
#[derive(Debug)]
pub struct Target {
    kind: Kind,
    unread: Arc<AtomicBool>,
}

impl Target {
    /// Opens `path`, or makes a new file there. The beginning and the end of a file are kept (see [`CappedFile`]).
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let unread = Arc::new(AtomicBool::new(false));
        let kind = match path.metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Kind::File(CappedFile::create(path)?),
            Err(error) => return Err(error.into()),
            Ok(meta) if meta.is_file() => Kind::File(CappedFile::create(path)?),
            Ok(meta) if meta.is_dir() => return Err(OpenError::Kind("folder")),
            Ok(meta) if meta.file_type().is_fifo() => {
                Kind::Fifo(Fifo { path: path.into(), reader: None, unread: unread.clone() })
            }
            Ok(meta) if meta.file_type().is_char_device() => {
                // A terminal would wait for its modem, and become the one that controls this process.
                let device = OpenOptions::new()
                    .write(true)
                    .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                    .open(path)?;
                Kind::Device(Descriptor(device.into()))
            }
            Ok(meta) if meta.file_type().is_socket() => return Err(OpenError::Kind("socket")),
            Ok(_) => return Err(OpenError::Kind("block device")),
        };
        Ok(Self { kind, unread })
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        matches!(&self.kind, Kind::Device(device) if device.is_terminal())
    }

    /// Whether whoever writes waits for somebody to open the other end.
    pub fn unread(&self) -> Arc<AtomicBool> {
        self.unread.clone()
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::File(file) => file.write(bytes),
            Kind::Device(device) => device.write(bytes),
            Kind::Fifo(fifo) => fifo.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Descriptor {
    /// Another descriptor for what is open behind `fd`.
    ///
    /// # Errors
    /// When the host has none left.
    pub fn dup(fd: impl AsFd) -> io::Result<Self> {
        fd.as_fd().try_clone_to_owned().map(Self)
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(&self.0, bytes) {
                // Others share what is open, and may have changed how it behaves.
                Err(rustix::io::Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                done => return Ok(done?),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fifo {
    /// Waits for a reader.
    fn open(&self) -> io::Result<Descriptor> {
        self.unread.store(true, Ordering::Release);
        let opened = File::options().write(true).custom_flags(libc::O_NOCTTY).open(&self.path)?;
        self.unread.store(false, Ordering::Release);
        Ok(Descriptor(opened.into()))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let mut reader = match self.reader.take() {
                Some(reader) => reader,
                None => self.open()?,
            };
            match reader.write(bytes) {
                // It has gone; there may be another.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                done => {
                    self.reader = Some(reader);
                    return done;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use std::io::Read;

    #[test]
    fn fifo_when_nobody_reads_is_opened_at_once_and_readers_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        let mut target = Target::open(&path).unwrap();
        let unread = target.unread();
        let (next, go) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            target.write_all(b"one").unwrap();
            go.recv().unwrap();
            target.write_all(b"two").unwrap();
        });
        while !unread.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let mut text = [0; 3];
        File::open(&path).unwrap().read_exact(&mut text).unwrap();
        assert_eq!(&text, b"one");
        // That reader has gone.
        next.send(()).unwrap();
        File::open(&path).unwrap().read_exact(&mut text).unwrap();
        assert_eq!(&text, b"two");
        thread.join().unwrap();
    }

    #[test]
    fn descriptor_when_it_does_not_block_waits_for_room() {
        let (mut read, write) = io::pipe().unwrap();
        fcntl_setfl(&write, fcntl_getfl(&write).unwrap() | OFlags::NONBLOCK).unwrap();
        let mut descriptor = Descriptor::dup(&write).unwrap();
        drop(write);
        let writer = std::thread::spawn(move || descriptor.write_all(&[7; 1 << 20]).unwrap());
        let mut bytes = Vec::new();
        read.read_to_end(&mut bytes).unwrap();
        writer.join().unwrap();
        assert_eq!(bytes.len(), 1 << 20);
    }

    #[test]
    fn open_when_it_is_nothing_for_output_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, kind) in [(socket.as_path(), "socket"), (dir.path(), "folder")] {
            let error = Target::open(path).unwrap_err().to_string();
            assert_eq!(error, format!("it is a {kind}; give a file, a FIFO or a terminal"));
        }
        let gone = Target::open(&dir.path().join("gone/file")).unwrap_err();
        assert!(matches!(gone, OpenError::Host(error) if error.kind() == ErrorKind::NotFound));
    }

    #[test]
    fn device_when_it_is_full_is_an_error_and_no_end() {
        let mut full = Target::open(Path::new("/dev/full")).unwrap();
        assert_eq!(full.write(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(!full.is_terminal());
    }
}
