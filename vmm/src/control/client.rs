//! The user's end of the control socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::timed::{Timed, connect};
use super::{Answer, REQUEST_MAX, Request};

/// How long a session may take to answer: others may be before us, and a guest's registers may be asked for meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes of an answer: some ten thousand guests.
const ANSWER_MAX: u64 = 16 << 20;

/// Why something was not done.
#[derive(Debug, Error)]
pub enum AskError {
    /// There is no session.
    #[error("{}: {source}; is `tmem run --control {}` running, as the same user?", path.display(), path.display())]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// There is something else.
    #[error("{} is no socket: give the one that `tmem run --control SOCKET` was given", .0.display())]
    NoSocket(PathBuf),
    /// The request is too long.
    #[error("a request has at most {REQUEST_MAX} bytes, and this one has {0}: no guest has such a name")]
    TooLong(usize),
    /// The session went away, or is busy.
    #[error("{}: the session did not answer: {source}; {advice}", path.display())]
    Silence {
        /// The socket.
        path: PathBuf,
        /// What was read instead.
        #[source]
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The session refused, in its own words.
    #[error("{0}")]
    Refused(String),
}

/// Asks the session that listens at `path`.
///
/// # Errors
/// [`AskError`]; after [`AskError::Refused`] nothing changed.
pub fn ask(path: &Path, request: &Request) -> Result<serde_json::Value, AskError> {
    ask_within(path, request, PATIENCE)
}

/// Asks, and waits at most for `patience`, whoever listens.
fn ask_within(path: &Path, request: &Request, patience: Duration) -> Result<serde_json::Value, AskError> {
    let mut line = serde_json::to_vec(request).expect("names and numbers are JSON");
    line.push(b'\n');
    if line.len() > REQUEST_MAX {
        return Err(AskError::TooLong(line.len()));
    }
    let silence = |source, advice| AskError::Silence { path: path.into(), source, advice };
    let nobody = |source: io::Error| match std::fs::metadata(path) {
        Ok(there) if !there.file_type().is_socket() => AskError::NoSocket(path.into()),
        _ if source.kind() == ErrorKind::WouldBlock => {
            silence(ErrorKind::TimedOut.into(), "is it a session's socket? if it is, ask again")
        }
        _ => AskError::Nobody { path: path.into(), source },
    };
    let advice = match request {
        // It changes nothing.
        Request::Guests => "ask again",
        _ => "it may do it yet: look at its guests, and ask again",
    };
    let started = Instant::now();
    let stream = connect(path, Some(patience)).map_err(nobody)?;
    let text = exchange(&stream, &line, patience.saturating_sub(started.elapsed()))
        .map_err(|error| silence(error, advice))?;
    match serde_json::from_slice(&text).map_err(|error| silence(error.into(), advice))? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(why) => Err(AskError::Refused(why)),
    }
}

/// Sends a line, and reads until the other side has nothing more to say.
fn exchange(stream: &UnixStream, line: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let mut connection = Timed::new(stream, patience);
    connection.write_all(line)?;
    let mut text = Vec::new();
    if connection.take(ANSWER_MAX + 1).read_to_end(&mut text)? as u64 > ANSWER_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "its answer does not end"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn file_when_it_is_no_socket_is_told_so() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = ask(file.path(), &Request::Guests).unwrap_err().to_string();
        assert!(error.contains("is no socket: give"), "{error}");
    }

    #[test]
    fn session_when_it_hangs_up_may_do_it_yet_unless_there_is_nothing_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let silent = |request: &Request| {
            std::thread::scope(|scope| {
                scope.spawn(|| drop(listener.accept()));
                ask(&path, request).unwrap_err().to_string()
            })
        };
        let error = silent(&Request::Guests);
        assert!(error.ends_with("; ask again"), "{error}");
        let error = silent(&Request::Thaw { guest: "a".into() });
        assert!(error.ends_with("it may do it yet: look at its guests, and ask again"), "{error}");
    }

    #[test]
    fn peer_when_it_takes_no_connections_never_answers_or_never_ends_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let patience = Duration::from_millis(50);
        let (full, silent, slow) =
            (dir.path().join("full"), dir.path().join("silent"), dir.path().join("slow"));
        let _busy = crate::control::timed::tests::full(&full);
        let _silent = UnixListener::bind(&silent).unwrap();
        let listener = UnixListener::bind(&slow).unwrap();
        let endless = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Each byte is in time; they end when nobody wants them any more.
            while stream.write_all(b" ").is_ok() {}
        });
        for path in [&full, &silent, &slow] {
            let error = ask_within(path, &Request::Guests, patience).unwrap_err();
            assert!(matches!(error, AskError::Silence { .. }), "{error}");
        }
        endless.join().unwrap();
    }
}
