//! A control socket's file: only its owner may ever connect to it, and none that another session listens at is replaced.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::timed::connect;

/// Most folders of [`private_folder`] that may be there already.
const FOLDERS: u32 = 100;
/// The longest path of a socket in such a folder: Linux numbers processes to 2^22.
const LONGEST: &str = ".tmem-4194304-99/s";

/// Device and inode of a file.
type Identity = (u64, u64);

/// Why there is no control socket.
#[derive(Debug, Error)]
pub enum ServerError {
    /// Something else has that name.
    #[error("{}: there is a file of that name, and it is no socket; remove it or choose another name", .0.display())]
    Taken(PathBuf),
    /// Somebody answers there.
    #[error("{}: a program listens there, such as another `tmem run`; choose another name", .0.display())]
    InUse(PathBuf),
    /// There is nowhere to put it.
    #[error("{}: its folder does not exist; make it, or choose another path", .0.display())]
    NoFolder(PathBuf),
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

/// A socket that has a name. Dropping it takes the name away and ends those who wait for a connection.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    /// Another may have been given the path meanwhile.
    made: Identity,
    listener: UnixListener,
}

impl Socket {
    /// A socket at `path`, whose connections nobody accepts yet. At no time does a file with other permissions have that name: it
    /// is made in a folder that only its owner may enter, and linked to its name, which replaces nothing.
    pub fn listen(path: &Path) -> Result<Self, ServerError> {
        let host = |doing| move |source| ServerError::Host { path: path.into(), doing, source };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if [path, &parent.join(LONGEST)].into_iter().any(|path| SocketAddr::from_pathname(path).is_err()) {
            return Err(ServerError::TooLong(path.into()));
        }
        let stale = match std::fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => return Err(ServerError::Taken(path.into())),
            Ok(there) => match connect(path, None) {
                Ok(_) => return Err(ServerError::InUse(path.into())),
                // It listens, and takes no connections now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(ServerError::InUse(path.into()));
                }
                // Left by a session that was killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Some(identity(&there)),
                Err(error) => return Err(host("replace the socket that is there")(error)),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(host("look there")(error)),
        };
        let private = private_folder(parent).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ServerError::NoFolder(path.into()),
            _ => host("make a folder beside it")(error),
        })?;
        let inside = private.join("s");
        let made = UnixListener::bind(&inside).and_then(|listener| {
            std::fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
            let made = identity(&std::fs::symlink_metadata(&inside)?);
            if let Some(stale) = stale {
                clear(path, stale, &private.join("o"))?;
            }
            std::fs::hard_link(&inside, path)?;
            Ok(Self { path: path.into(), made, listener })
        });
        let _ = std::fs::remove_file(&inside);
        let _ = std::fs::remove_dir(&private);
        made.map_err(|error| match error.kind() {
            // Since it was looked for above.
            io::ErrorKind::AlreadyExists => ServerError::InUse(path.into()),
            _ => host("make the socket")(error),
        })
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where connections are accepted.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // As long as somebody listens nobody takes the name, so it is still ours when it goes.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|there| identity(&there) == self.made) {
            let _ = std::fs::remove_file(&self.path);
        }
        // Wakes who waits for a connection: for Linux a listening socket is like any other here.
        if let Ok(listener) = self.listener.try_clone() {
            let _ = UnixStream::from(OwnedFd::from(listener)).shutdown(std::net::Shutdown::Both);
        }
    }
}

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

/// Takes the name from a socket that nobody listens at, by way of a name of ours. If another session has been faster, the name is its
/// socket's by now and is given back.
fn clear(path: &Path, stale: Identity, ours: &Path) -> io::Result<()> {
    match std::fs::rename(path, ours) {
        // It has been faster, and is about to link its own.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        moved => moved?,
    }
    if identity(&std::fs::symlink_metadata(ours)?) == stale {
        return std::fs::remove_file(ours);
    }
    let back = std::fs::hard_link(ours, path);
    std::fs::remove_file(ours)?;
    back.and(Err(io::ErrorKind::AlreadyExists.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (tempfile::TempDir, PathBuf, Socket) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let socket = Socket::listen(&path).unwrap();
        (dir, path, socket)
    }

    #[test]
    fn socket_when_another_session_was_given_its_path_is_left_to_it() {
        let (_dir, path, first) = socket();
        std::fs::remove_file(&path).unwrap();
        let _second = Socket::listen(&path).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn folder_when_its_name_is_taken_gets_another() {
        let dir = tempfile::tempdir().unwrap();
        let left = private_folder(dir.path()).unwrap();
        let _socket = Socket::listen(&dir.path().join("control")).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "{}", left.display());
    }

    #[test]
    fn path_when_nobody_could_connect_to_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for long in [dir.path().join("s".repeat(120)), dir.path().join("d".repeat(100)).join("s")] {
            let error = Socket::listen(&long).unwrap_err().to_string();
            assert!(error.contains("at most 107 bytes"), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn socket_when_made_is_its_owner_s_alone_and_goes_when_it_is_dropped() {
        let (dir, path, socket) = socket();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn path_when_taken_is_refused_and_when_left_by_a_dead_session_is_used() {
        let (dir, path, _socket) = socket();
        let error = Socket::listen(&path).unwrap_err().to_string();
        assert!(error.contains("such as another `tmem run`"), "{error}");
        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let error = Socket::listen(&file).unwrap_err().to_string();
        assert!(error.contains("no socket") && file.exists(), "{error}");
        let left = dir.path().join("left");
        drop(UnixListener::bind(&left).unwrap());
        let _again = Socket::listen(&left).unwrap();
        assert!(UnixStream::connect(&left).is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
    }

    #[test]
    fn path_when_a_program_listens_there_that_takes_no_connections_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let _busy = crate::control::timed::tests::full(&path);
        assert!(matches!(Socket::listen(&path), Err(ServerError::InUse(_))));
    }

    #[test]
    fn name_when_another_session_took_it_after_the_look_is_given_back() {
        let (dir, path, _faster) = socket();
        let stale = (0, 0);
        let error = clear(&path, stale, &dir.path().join("o")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(UnixStream::connect(&path).is_ok(), "it is there, and listened to");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn folder_when_it_does_not_exist_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Socket::listen(&dir.path().join("none/s")).unwrap_err().to_string();
        assert!(
            error.ends_with("none/s: its folder does not exist; make it, or choose another path"),
            "{error}"
        );
    }
}
