//! Files that cannot be used: why, and what to do about it.

use std::io::{Error, ErrorKind};
use std::path::Path;

use crate::disk::shell_word;

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// It describes the guests.
    Description,
    /// It is booted.
    Kernel,
    /// It is the first root.
    Initrd,
    /// It is a guest's disk.
    Disk,
    /// It is made by `tmem`.
    Output,
}

impl FileRole {
    /// The host's answer about the file at `path`, and what to do.
    pub fn trouble(self, path: &Path, error: &Error) -> String {
        let advice = match (self, error.kind()) {
            (Self::Description, ErrorKind::NotFound) => {
                "give the path of a TOML file; the end of `tmem run --help`, or of `tmem serve --help`, shows one".into()
            }
            (Self::Description, ErrorKind::IsADirectory) => {
                "it is a folder: give the path of a TOML file".into()
            }
            (Self::Kernel, ErrorKind::NotFound) => {
                "give the path of a bzImage or a vmlinux, such as one of /boot/vmlinuz-*".into()
            }
            (Self::Initrd, ErrorKind::NotFound) => "give the path of an initial ramdisk, or none".into(),
            (Self::Disk, ErrorKind::NotFound) => format!(
                "make it (truncate -s 512M {}), or give the path of a raw image or a block device",
                shell_word(path)
            ),
            (Self::Output, ErrorKind::NotFound) => {
                format!("make its folder (mkdir -p {}), or choose another path", shell_word(folder(path)))
            }
            (Self::Output, ErrorKind::IsADirectory) => "it is a folder: give the name of a file in it".into(),
            // What a FIFO without a reader answers, and a socket always.
            (Self::Output, _) if error.raw_os_error() == Some(libc::ENXIO) => {
                "nobody reads it: start its reader first, or choose a file".into()
            }
            (Self::Output, ErrorKind::PermissionDenied) => "choose a path where you may write".into(),
            (_, ErrorKind::PermissionDenied) => "have its owner let you read it".into(),
            _ => return error.to_string(),
        };
        format!("{error}; {advice}")
    }
}

/// The folder that a file is in.
pub fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_when_there_is_something_to_do_says_it() {
        let said = |role: FileRole, kind: ErrorKind| role.trouble(Path::new("d/f"), &kind.into());
        for (role, advice) in [
            (FileRole::Description, "; give the path of a TOML file"),
            (FileRole::Kernel, "/boot/vmlinuz-*"),
            (FileRole::Initrd, "or none"),
            (FileRole::Disk, "(truncate -s 512M d/f)"),
            (FileRole::Output, "(mkdir -p d)"),
        ] {
            let text = said(role, ErrorKind::NotFound);
            assert!(text.contains(advice), "{role:?}: {text}");
            assert!(said(role, ErrorKind::PermissionDenied).contains("; "), "{role:?}");
        }
        assert_eq!(said(FileRole::Disk, ErrorKind::Interrupted), "operation interrupted");
    }

    #[test]
    fn folder_when_a_path_has_none_is_the_one_we_are_in() {
        assert_eq!((folder(Path::new("f")), folder(Path::new("/d/f"))), (Path::new("."), Path::new("/d")));
    }
}
