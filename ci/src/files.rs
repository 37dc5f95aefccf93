//! Files of this machine, with errors that name them.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A file or folder that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {source}; look at its permissions and at the space left", path.display())]
pub(crate) struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// For `map_err`: what was being done with which file.
    pub(crate) fn new(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, path: path.into(), source }
    }
}

/// Makes a folder and those above it.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    std::fs::create_dir_all(path).map_err(FileError::new("make the folder", path))
}

/// Writes a file anew.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), FileError> {
    std::fs::write(path, bytes).map_err(FileError::new("write", path))
}

/// Reads a text.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    std::fs::read_to_string(path).map_err(FileError::new("read", path))
}

/// Writes `value` as JSON, making the file's folder.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    if let Some(dir) = path.parent() {
        make_dir(dir)?;
    }
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(io::Error::from).map_err(FileError::new("write", path))?;
    write(path, text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_done_with_which_file_and_what_to_do() {
        let error = write_json(Path::new("/proc/nowhere/report.json"), &1).unwrap_err().to_string();
        assert!(error.starts_with("cannot make the folder /proc/nowhere: "), "{error}");
        let error = read(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nowhere: ") && error.contains("permissions"), "{error}");
    }
}
