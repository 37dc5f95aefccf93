//! The user's end of the control socket.

use std::io::{self, Read, Write};
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
    /// The request is too long.
    #[error("a request has at most {REQUEST_MAX} bytes, and this one has {0}: no guest has such a name")]
    TooLong(usize),
    /// The session went away, or is busy.
    #[error("{}: the session did not answer: {source}; it may do it yet: look at its guests, and ask again", path.display())]
    Silence {
        /// The socket.
        path: PathBuf,
        /// What was read instead.
        #[source]
        source: io::Error,
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
    let nobody = |source| AskError::Nobody { path: path.into(), source };
    let silence = |source| AskError::Silence { path: path.into(), source };
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
