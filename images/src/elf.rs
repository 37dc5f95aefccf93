//! What a program needs from the dynamic linker, by binutils' readelf: nothing is run, as ldd would.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use crate::command;
use crate::error::{Error, Result};

/// How every ELF file begins (System V ABI, "ELF Identification").
const MAGIC: [u8; 4] = *b"\x7fELF";

/// The part of a program's dynamic section that names libraries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dynamic {
    /// Names of libraries.
    pub(crate) needed: Vec<String>,
    /// Folders to look in before the usual ones; `$ORIGIN` is the program's own.
    pub(crate) folders: Vec<String>,
}

/// What `file` needs: nothing if it is static or no program at all.
pub(crate) fn dynamic(file: &Path) -> Result<Dynamic> {
    let mut head = [0; MAGIC.len()];
    let mut open = File::open(file).map_err(Error::io("read", file))?;
    if open.read_exact(&mut head).is_err() || head != MAGIC {
        return Ok(Dynamic::default());
    }
    Ok(parse(&command::output(Command::new("readelf").args(["--dynamic", "--wide"]).arg(file))?))
}

/// Lines such as ` 0x1 (NEEDED)  Shared library: [libc.so.6]` and ` 0x1d (RUNPATH)  Library runpath: [/a:/b]`.
fn parse(text: &str) -> Dynamic {
    let mut dynamic = Dynamic::default();
    for line in text.lines() {
        let Some((head, value)) = line.trim_end().trim_end_matches(']').split_once('[') else { continue };
        if head.contains("(NEEDED)") {
            dynamic.needed.push(value.to_owned());
        } else if head.contains("(RUNPATH)") || head.contains("(RPATH)") {
            dynamic.folders.extend(value.split(':').map(str::to_owned));
        }
    }
    dynamic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_their_folders_are_read() {
        let text = "\nDynamic section at offset 0x2d98 contains 28 entries:\n  Tag        Type   Name/Value\n \
            0x0000000000000001 (NEEDED)             Shared library: [libceph-common.so.2]\n \
            0x000000000000001d (RUNPATH)            Library runpath: [/usr/lib/ceph:$ORIGIN/x]\n \
            0x000000000000000e (SONAME)             Library soname: [librados.so.2]\n";

        let dynamic = parse(text);

        assert_eq!(dynamic.needed, ["libceph-common.so.2"]);
        assert_eq!(dynamic.folders, ["/usr/lib/ceph", "$ORIGIN/x"]);
    }

    #[test]
    fn a_program_of_this_machine_needs_the_c_library_and_a_script_nothing() {
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), "#!/bin/sh\n").unwrap();

        assert!(dynamic(Path::new("/bin/true")).unwrap().needed.contains(&"libc.so.6".to_owned()));
        assert_eq!(dynamic(script.path()).unwrap(), Dynamic::default());
    }
}
