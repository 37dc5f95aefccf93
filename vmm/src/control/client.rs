//! The user's end of the control socket.

use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::{Answer, REQUEST_MAX, Request};

/// How long a session may take to answer: others may be before us, and a guest's registers may be asked for meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);

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
    let mut line = serde_json::to_vec(request).expect("names and numbers are JSON");
    line.push(b'\n');
    if line.len() > REQUEST_MAX {
        return Err(AskError::TooLong(line.len()));
    }
    let nobody = |source| match std::fs::metadata(path) {
        Ok(there) if !there.file_type().is_socket() => AskError::NoSocket(path.into()),
        _ => AskError::Nobody { path: path.into(), source },
    };
    let advice = match request {
        // It changes nothing.
        Request::Guests => "ask again",
        _ => "it may do it yet: look at its guests, and ask again",
    };
    let silence = |source| AskError::Silence { path: path.into(), source, advice };
    let mut stream = UnixStream::connect(path).map_err(nobody)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(silence)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(silence)?;
    stream.write_all(&line).map_err(silence)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).map_err(silence)?;
    match serde_json::from_slice(&text).map_err(|error| silence(error.into()))? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(why) => Err(AskError::Refused(why)),
    }
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
}
