//! The files that a command left in /out, on their way from the emulated host to ours.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Why files could not be taken out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactsError {
    /// The archive is not what the emulated host sent.
    #[error(
        "the archive of /out arrived damaged: {got_bytes} bytes with SHA-256 {got_sha256}, but the emulated host sent \
         {sent_bytes} bytes with {sent_sha256}; run it again, and keep {path} for a bug report if it repeats"
    )]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// Its length.
        got_bytes: u64,
        /// Its checksum.
        got_sha256: String,
        /// The length that the init announced.
        sent_bytes: u64,
        /// The checksum that the init announced.
        sent_sha256: String,
    },
    /// A tool or the file system failed.
    #[error("cannot unpack the archive of /out {path}: {reason}")]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
}

/// Checks the archive against what the init announced and unpacks it into `to`, which is emptied first.
pub(crate) fn unpack(archive: &Path, bytes: u64, sha256: &str, to: &Path) -> Result<(), ArtifactsError> {
    let failed = |reason: String| ArtifactsError::Unpack { path: archive.into(), reason };
    let got_bytes = std::fs::metadata(archive).map_err(|error| failed(error.to_string()))?.len();
    let got_sha256 = crate::command::stdout_of(Command::new("sha256sum").arg(archive))
        .map_err(|error| failed(error.to_string()))?
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    if (got_bytes, got_sha256.as_str()) != (bytes, sha256) {
        return Err(ArtifactsError::Damaged {
            path: archive.into(),
            got_bytes,
            got_sha256,
            sent_bytes: bytes,
            sent_sha256: sha256.into(),
        });
    }
    match std::fs::remove_dir_all(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error.to_string())),
        _ => {}
    }
    std::fs::create_dir_all(to).map_err(|error| failed(error.to_string()))?;
    crate::command::stdout_of(Command::new("tar").arg("-x").arg("-f").arg(archive).arg("-C").arg(to))
        .map_err(|error| failed(error.to_string()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(dir: &Path) -> (PathBuf, u64, String) {
        std::fs::create_dir(dir.join("out")).unwrap();
        std::fs::write(dir.join("out/report.json"), "{}").unwrap();
        let path = dir.join("out.tar");
        let tar = Command::new("tar")
            .arg("-cf")
            .arg(&path)
            .arg("-C")
            .arg(dir.join("out"))
            .arg(".")
            .status()
            .unwrap();
        assert!(tar.success());
        let sum = crate::command::stdout_of(Command::new("sha256sum").arg(&path)).unwrap();
        let bytes = std::fs::metadata(&path).unwrap().len();
        (path, bytes, sum.split_whitespace().next().unwrap().to_owned())
    }

    #[test]
    fn an_archive_that_matches_is_unpacked_over_older_files() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes, sha256) = archive(dir.path());
        let to = dir.path().join("to");
        std::fs::create_dir(&to).unwrap();
        std::fs::write(to.join("stale"), "").unwrap();
        unpack(&path, bytes, &sha256, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("report.json")).unwrap(), "{}");
        assert!(!to.join("stale").exists());
    }

    #[test]
    fn a_truncated_archive_is_named_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes, sha256) = archive(dir.path());
        std::fs::write(&path, "short").unwrap();
        let error = unpack(&path, bytes, &sha256, &dir.path().join("to")).unwrap_err();
        assert!(matches!(error, ArtifactsError::Damaged { got_bytes: 5, .. }));
    }
}
