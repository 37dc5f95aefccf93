//! The session's end of the control socket: one thread, one connection at a time, each for a limited time.

use std::fs::{DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::{Answer, REQUEST_MAX, Request};

/// How long a connection may take, from its beginning to the last byte of the answer, beside what the session needs. Others wait
/// so long behind one that stalls; nobody else does.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rest after the host could not give a connection, which it may need to come to itself.
const REST: Duration = Duration::from_millis(100);
/// Most folders of [`private_folder`] that may be there already.
const FOLDERS: u32 = 100;
/// The longest path of a socket in such a folder: Linux numbers processes to 2^22.
const LONGEST: &str = ".tmem-4194304-99/s";

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Something else has that name.
    #[error("{}: there is a file of that name, and it is no socket; remove it or choose another name", .0.display())]
    Taken(PathBuf),
    /// Somebody answers there.
    #[error("{}: another `tmem run` listens there; choose another name", .0.display())]
    InUse(PathBuf),
    /// Nobody could connect to it.
    #[error("{}: too long for a socket; choose a path of at most 107 bytes, its folder of at most 88", .0.display())]
    TooLong(PathBuf),
    /// The host refused.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Host {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
}

/// A control socket that is listened to. Dropping it removes it.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    /// Device and inode of the socket: another may have been given the path meanwhile.
    made: (u64, u64),
    over: Arc<AtomicBool>,
    listener: UnixListener,
}

impl Server {
    /// Listens at `path`, as a file that only its owner may use; `answer` does what is asked, one request at a time.
    ///
    /// # Errors
    /// [`ServerError`], which names the path.
    pub fn start(
        path: &Path,
        answer: impl Fn(Request) -> Result<serde_json::Value, String> + Send + 'static,
    ) -> Result<Self, ServerError> {
        Self::with_patience(path, PATIENCE, answer)
    }

    fn with_patience(
        path: &Path,
        patience: Duration,
        answer: impl Fn(Request) -> Result<serde_json::Value, String> + Send + 'static,
    ) -> Result<Self, ServerError> {
        let server = listen(path)?;
        let host = |doing| move |source| ServerError::Host { path: path.into(), doing, source };
        let (stop, accept) = (server.over.clone(), server.listener.try_clone().map_err(host("listen"))?);
        let serve = move || {
            while !stop.load(Ordering::Acquire) {
                match accept.accept() {
                    // What goes wrong with a connection is its client's business.
                    Ok((stream, _)) => drop(Timed::new(&stream, patience).serve(&answer)),
                    Err(_) => std::thread::sleep(REST),
                }
            }
        };
        Builder::new().name("control".into()).spawn(serve).map_err(host("start a thread"))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the thread that waits for a connection: for Linux a listening socket is like any other here.
        if let Ok(listener) = self.listener.try_clone() {
            let _ = UnixStream::from(OwnedFd::from(listener)).shutdown(std::net::Shutdown::Both);
        }
        if std::fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.made) {
            let _ = std::fs::remove_file(&self.path);
        }
        // The thread is not waited for: whom it serves may be slow, and what it asks may be what is ending.
    }
}

/// A socket at `path`, whose connections nobody accepts yet. At no time does a file with other permissions have that name: it is
/// made in a folder that only its owner may enter, and linked to its name, which replaces nothing.
fn listen(path: &Path) -> Result<Server, ServerError> {
    let host = |doing| move |source| ServerError::Host { path: path.into(), doing, source };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if [path, &parent.join(LONGEST)].into_iter().any(|path| SocketAddr::from_pathname(path).is_err()) {
        return Err(ServerError::TooLong(path.into()));
    }
    let left = match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(ServerError::Taken(path.into())),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(ServerError::InUse(path.into())),
            // Left by a session that was killed.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => true,
            Err(error) => return Err(host("replace the socket that is there")(error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(host("look there")(error)),
    };
    let private = private_folder(parent).map_err(host("make a folder beside it"))?;
    let inside = private.join("s");
    let made = UnixListener::bind(&inside).and_then(|listener| {
        std::fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        let here = std::fs::symlink_metadata(&inside)?;
        if left {
            std::fs::remove_file(path)?;
        }
        std::fs::hard_link(&inside, path)?;
        let over = Arc::new(AtomicBool::new(false));
        Ok(Server { path: path.into(), made: (here.dev(), here.ino()), over, listener })
    });
    let _ = std::fs::remove_file(&inside);
    let _ = std::fs::remove_dir(&private);
    made.map_err(|error| match error.kind() {
        // Since it was looked for above.
        io::ErrorKind::AlreadyExists => ServerError::InUse(path.into()),
        _ => host("make the socket")(error),
    })
}

/// A new folder in `parent` that only its owner may enter. One of the same name may have been left by a process that was killed, or
/// belong to one in another container, where processes have the same numbers.
fn private_folder(parent: &Path) -> io::Result<PathBuf> {
    let mut taken = 0;
    loop {
        let folder = parent.join(format!(".tmem-{}-{taken}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && taken + 1 < FOLDERS => taken += 1,
            made => return made.map(|()| folder),
        }
    }
}

/// A connection that ends in time, however slowly the other side reads and writes.
struct Timed<'a> {
    stream: &'a UnixStream,
    left: Duration,
}

impl<'a> Timed<'a> {
    fn new(stream: &'a UnixStream, patience: Duration) -> Self {
        Self { stream, left: patience }
    }

    fn serve(&mut self, answer: &impl Fn(Request) -> Result<serde_json::Value, String>) -> io::Result<()> {
        let answered = match self.request() {
            Ok(request) => answer(request),
            Err(Unreadable::Wrong(why)) => Err(why),
            Err(Unreadable::Gone(error)) => return Err(error),
        };
        let mut text = serde_json::to_vec(&match answered {
            Ok(value) => Answer::Ok(value),
            Err(why) => Answer::Error(why),
        })?;
        text.push(b'\n');
        self.write_all(&text)
    }

    /// Reads a line, and no more than [`REQUEST_MAX`] bytes.
    fn request(&mut self) -> Result<Request, Unreadable> {
        let mut line = Vec::new();
        let mut part = [0; 512];
        while !line.contains(&b'\n') {
            let read = self.read(&mut part).map_err(Unreadable::Gone)?;
            line.extend(part.iter().take(read));
            if line.len() > REQUEST_MAX {
                return Err(Unreadable::Wrong(format!("a request is a line of at most {REQUEST_MAX} bytes")));
            }
            if read == 0 {
                break;
            }
        }
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        serde_json::from_slice(line).map_err(|error| {
            Unreadable::Wrong(format!(
                "not a request: {error}; write a line such as {{\"do\":\"balloon\",\"guest\":\"NAME\",\"bytes\":16777216}}"
            ))
        })
    }

    /// Does one read or write, and takes its time off what is left; without any left it does none.
    fn timed<T>(&mut self, step: impl FnOnce(&UnixStream) -> io::Result<T>) -> io::Result<T> {
        let started = Instant::now();
        if self.left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(self.left))?;
        self.stream.set_write_timeout(Some(self.left))?;
        let done = step(self.stream);
        self.left = self.left.saturating_sub(started.elapsed());
        done
    }
}

/// Why a request cannot be answered as one.
enum Unreadable {
    /// It can be told what is wrong.
    Wrong(String),
    /// The connection is lost, or its time is over.
    Gone(io::Error),
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.timed(|mut stream| stream.read(bytes))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Of a long answer the host waits for room again and again, each time so long.
        let part = bytes.chunks(REQUEST_MAX).next().unwrap_or_default();
        self.timed(|mut stream| stream.write(part))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ask;

    /// Echoes what it was asked; refuses to thaw.
    fn answer(request: Request) -> Result<serde_json::Value, String> {
        match request {
            Request::Thaw { guest } => Err(format!("no guest `{guest}`")),
            other => Ok(serde_json::to_value(other).unwrap()),
        }
    }

    fn server() -> (tempfile::TempDir, PathBuf, Server) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let server = Server::start(&path, answer).unwrap();
        (dir, path, server)
    }

    fn raw(path: &Path, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        // A server that has read enough does not read the rest.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn request_when_good_or_refused_is_answered() {
        let (_dir, path, _server) = server();
        assert_eq!(ask(&path, &Request::Guests).unwrap()["do"], "guests");
        let error = ask(&path, &Request::Thaw { guest: "b".into() }).unwrap_err().to_string();
        assert_eq!(error, "no guest `b`");
    }

    #[test]
    fn request_when_bad_is_told_what_is_wrong() {
        let (_dir, path, _server) = server();
        assert!(raw(&path, b"hello\n").starts_with("{\"error\":\"not a request: "));
        assert!(raw(&path, b"").starts_with("{\"error\":\"not a request: "));
        assert!(raw(&path, b"{\"do\":\"guests\"}").starts_with("{\"ok\""), "an end is as good as a newline");
        assert!(raw(&path, &vec![b' '; REQUEST_MAX + 1]).contains("at most 4096 bytes"));
    }

    #[test]
    fn client_when_it_stalls_is_dropped_and_the_next_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let _server = Server::with_patience(&path, Duration::from_millis(200), answer).unwrap();
        let stalled: Vec<UnixStream> = (0..3).map(|_| UnixStream::connect(&path).unwrap()).collect();
        assert!(ask(&path, &Request::Guests).is_ok());
        for mut stream in stalled {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0, "closed without an answer");
        }
    }

    #[test]
    fn connection_when_its_time_is_over_is_neither_read_nor_written() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(b"x").unwrap();
        let mut timed = Timed::new(&ours, Duration::ZERO);
        assert_eq!(timed.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(timed.write(b"x").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn socket_when_another_session_was_given_its_path_is_left_to_it() {
        let (_dir, path, first) = server();
        std::fs::remove_file(&path).unwrap();
        let _second = Server::start(&path, answer).unwrap();
        drop(first);
        assert!(ask(&path, &Request::Guests).is_ok());
    }

    #[test]
    fn folder_when_its_name_is_taken_gets_another() {
        let dir = tempfile::tempdir().unwrap();
        let left = private_folder(dir.path()).unwrap();
        let _server = Server::start(&dir.path().join("control"), answer).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "{}", left.display());
    }

    #[test]
    fn path_when_nobody_could_connect_to_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for long in [dir.path().join("s".repeat(120)), dir.path().join("d".repeat(100)).join("s")] {
            let error = Server::start(&long, answer).unwrap_err().to_string();
            assert!(error.contains("at most 107 bytes"), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn socket_when_made_is_its_owner_s_alone_and_goes_with_the_server() {
        let (dir, path, server) = server();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        drop(server);
        assert!(!path.exists());
    }

    #[test]
    fn path_when_taken_is_refused_and_when_left_by_a_dead_session_is_used() {
        let (dir, path, _server) = server();
        let error = Server::start(&path, answer).unwrap_err().to_string();
        assert!(error.contains("another `tmem run` listens there"), "{error}");
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let error = Server::start(&file, answer).unwrap_err().to_string();
        assert!(error.contains("no socket") && file.exists(), "{error}");
        let left = dir.path().join("left");
        drop(UnixListener::bind(&left).unwrap());
        let _again = Server::start(&left, answer).unwrap();
        assert!(ask(&left, &Request::Guests).is_ok());
    }
}
