//! The session's end of the control socket: one thread, one connection at a time, each for a limited time.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Builder;
use std::time::Duration;

use super::socket::{ServerError, Socket};
use super::timed::Timed;
use super::{Answer, REQUEST_MAX, Request};

/// How long a connection may take, from its beginning to the last byte of the answer, beside what the session needs. Others wait
/// so long behind one that stalls; nobody else does.
const PATIENCE: Duration = Duration::from_secs(2);
/// Rest after the host could not give a connection, which it may need to come to itself.
const REST: Duration = Duration::from_millis(100);
/// A control socket that is listened to. Dropping it removes it.
#[derive(Debug)]
pub struct Server {
    over: Arc<AtomicBool>,
    /// The thread that accepts has another.
    _socket: Socket,
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
        let socket = Socket::listen(path)?;
        let host = |doing| move |source| ServerError::Host { path: path.into(), doing, source };
        let over = Arc::new(AtomicBool::new(false));
        let (stop, accept) = (over.clone(), socket.listener().map_err(host("listen"))?);
        let serve = move || {
            while !stop.load(Ordering::Acquire) {
                match accept.accept() {
                    // What goes wrong with a connection is its client's business.
                    Ok((stream, _)) => drop(serve(&stream, patience, &answer)),
                    Err(_) => std::thread::sleep(REST),
                }
            }
        };
        Builder::new().name("control".into()).spawn(serve).map_err(host("start a thread"))?;
        Ok(Self { over, _socket: socket })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread is not waited for: whom it serves may be slow, and what it asks may be what is ending.
        self.over.store(true, Ordering::Release);
    }
}

/// Answers one request.
fn serve(
    stream: &UnixStream,
    patience: Duration,
    answer: &impl Fn(Request) -> Result<serde_json::Value, String>,
) -> io::Result<()> {
    let mut connection = Timed::new(stream, patience);
    let answered = match request(&mut connection) {
        Ok(request) => answer(request),
        Err(Unreadable::Wrong(why)) => Err(why),
        Err(Unreadable::Gone(error)) => return Err(error),
    };
    let mut text = serde_json::to_vec(&match answered {
        Ok(value) => Answer::Ok(value),
        Err(why) => Answer::Error(why),
    })?;
    text.push(b'\n');
    connection.write_all(&text)
}

/// Reads a line, and no more than [`REQUEST_MAX`] bytes.
fn request(connection: &mut Timed<'_>) -> Result<Request, Unreadable> {
    let mut line = Vec::new();
    let mut part = [0; 512];
    while !line.contains(&b'\n') {
        let read = connection.read(&mut part).map_err(Unreadable::Gone)?;
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

/// Why a request cannot be answered as one.
enum Unreadable {
    /// It can be told what is wrong.
    Wrong(String),
    /// The connection is lost, or its time is over.
    Gone(io::Error),
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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
}
