//! A description's text: read whole, if it is one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::FileRole;

/// Most bytes of a description: some thousand guests.
const MOST: u64 = 4 << 20;

/// Reads the text at `path`.
///
/// # Errors
/// Why it is none, and what to do.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    read.map_err(|error| cannot(path, &error))?;
    if bytes.len() as u64 > MOST {
        return Err(format!(
            "it has more than {} MiB, which no description of guests has: give a TOML file",
            MOST >> 20
        ));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("its text is UTF-16: save it as UTF-8".into());
    }
    String::from_utf8(bytes).map_err(|_| "it is no text: give a TOML file, or a kernel by --kernel".into())
}

fn cannot(path: &Path, error: &io::Error) -> String {
    format!("cannot be read: {}", FileRole::Description.trouble(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(content: &[u8]) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, content).unwrap();
        read(&path).unwrap_err()
    }

    #[test]
    fn files_when_they_are_no_text_are_told_apart() {
        assert!(refused(b"\x7fELF\xff").contains("or a kernel by --kernel"));
        assert!(refused(b"\xff\xfe[\0").contains("save it as UTF-8"));
        assert!(refused(&vec![b'#'; MOST as usize + 1]).contains("more than 4 MiB"));
        assert!(read(Path::new("/tmp")).unwrap_err().contains("folder: give the path of a TOML file"));
    }

    #[test]
    fn endless_files_are_not_read_to_their_end() {
        assert!(read(Path::new("/dev/zero")).unwrap_err().contains("more than 4 MiB"));
    }
}
