//! A connection that ends in time, whoever is at the other end: one that takes no connections, never answers, or a byte at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as start, socket_with};

/// Most bytes that are written at once. Of a long text the host waits for room again and again, each time so long as it may.
const PART: usize = 4096;

/// Connects to the socket at `path`. Whoever listens there may take no connections, so that those before it fill its queue: without
/// `patience` that is told at once, as [`ErrorKind::WouldBlock`].
pub(super) fn connect(path: &Path, patience: Option<Duration>) -> io::Result<UnixStream> {
    let flags = match patience {
        Some(_) => SocketFlags::CLOEXEC,
        None => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Linux waits for a place in the queue as long as for room to send.
    set_socket_timeout(&socket, Timeout::Send, patience)?;
    start(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// A connection and what is left of its time.
pub(super) struct Timed<'a> {
    stream: &'a UnixStream,
    left: Duration,
}

impl<'a> Timed<'a> {
    pub(super) fn new(stream: &'a UnixStream, patience: Duration) -> Self {
        Self { stream, left: patience }
    }

    /// Does one read or write, and takes its time off what is left; without any left it does none.
    fn timed<T>(&mut self, step: impl FnOnce(&UnixStream) -> io::Result<T>) -> io::Result<T> {
        let started = Instant::now();
        if self.left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(self.left))?;
        self.stream.set_write_timeout(Some(self.left))?;
        let done = step(self.stream);
        self.left = self.left.saturating_sub(started.elapsed());
        done
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.timed(|mut stream| stream.read(bytes))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.chunks(PART).next().unwrap_or_default();
        self.timed(|mut stream| stream.write(part))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A socket at `path` that takes no connections, and those that wait for it.
    pub(in super::super) fn full(path: &Path) -> (UnixListener, Vec<UnixStream>) {
        let listener = UnixListener::bind(path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut waiting = Vec::new();
        loop {
            match connect(path, None) {
                Ok(stream) => waiting.push(stream),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return (listener, waiting);
                }
            }
        }
    }

    #[test]
    fn connection_when_its_time_is_over_is_neither_read_nor_written() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        let mut timed = Timed::new(&ours, Duration::ZERO);
        assert_eq!(timed.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(timed.write(b"x").unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn connection_when_nobody_takes_it_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let _busy = full(&path);
        let error = connect(&path, Some(Duration::from_millis(10))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}
