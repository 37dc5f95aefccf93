//! The "newc" form of a cpio archive, which the kernel unpacks as its first root file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};

/// What an entry is: the file type bits of `st_mode`, and what comes with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Directory,
    File(&'a [u8]),
    Symlink(&'a str),
    CharDevice { major: u32, minor: u32 },
}

/// `S_IFDIR`, `S_IFREG`, `S_IFLNK` and `S_IFCHR` of inode(7).
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// Writes one entry after the other. The same entries always give the same bytes: no times, no owners but root.
pub(crate) struct Writer<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Writer<W> {
    pub(crate) const fn new(to: W) -> Self {
        Self { to, inode: 0 }
    }

    /// Appends `path` (no leading slash) with permission bits `mode`.
    pub(crate) fn append(&mut self, path: &str, mode: u32, kind: Kind<'_>) -> io::Result<()> {
        self.inode += 1;
        let (file_type, data, device) = match kind {
            Kind::Directory => (S_IFDIR, &[][..], (0, 0)),
            Kind::File(bytes) => (S_IFREG, bytes, (0, 0)),
            Kind::Symlink(target) => (S_IFLNK, target.as_bytes(), (0, 0)),
            Kind::CharDevice { major, minor } => (S_IFCHR, &[][..], (major, minor)),
        };
        let links = if file_type == S_IFDIR { 2 } else { 1 };
        self.entry(path, file_type | mode, links, data, device)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.entry(TRAILER, 0, 1, &[], (0, 0))?;
        Ok(self.to)
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        links: u32,
        data: &[u8],
        device: (u32, u32),
    ) -> io::Result<()> {
        let too_big =
            |what| io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: {what} beyond 32 bits"));
        let size = u32::try_from(data.len()).map_err(|_| too_big("size"))?;
        let name_size = u32::try_from(path.len() + 1).map_err(|_| too_big("length of the name"))?;
        let inode = self.inode;
        let (major, minor) = device;
        // magic, ino, mode, uid, gid, nlink, mtime, filesize, dev, rdev, namesize, check
        write!(
            self.to,
            "070701{inode:08X}{mode:08X}{0:08X}{0:08X}{links:08X}{0:08X}{size:08X}{0:08X}{0:08X}{major:08X}{minor:08X}\
             {name_size:08X}{0:08X}",
            0
        )?;
        self.to.write_all(path.as_bytes())?;
        self.to.write_all(&[0])?;
        self.pad(110 + path.len() + 1)?;
        self.to.write_all(data)?;
        self.pad(data.len())
    }

    /// Header with name, and data, each end at a multiple of four bytes.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        let zeros = [0; 3];
        let missing = written.next_multiple_of(4) - written;
        self.to.write_all(zeros.get(..missing).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_the_documented_bytes() {
        let mut writer = Writer::new(Vec::new());

        writer.append("a", 0o644, Kind::File(b"hello")).unwrap();
        let bytes = writer.finish().unwrap();

        let header = "07070100000001000081A400000000000000000000000100000000000000050000000000000000\
                      00000000000000000000000200000000";
        assert_eq!(std::str::from_utf8(&bytes[..110]).unwrap(), header);
        assert_eq!(&bytes[110..120], b"a\0hello\0\0\0");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes[120..].windows(TRAILER.len()).any(|window| window == TRAILER.as_bytes()));
    }

    #[test]
    fn a_device_node_carries_its_numbers() {
        let mut writer = Writer::new(Vec::new());

        writer.append("dev/console", 0o600, Kind::CharDevice { major: 5, minor: 1 }).unwrap();
        let bytes = writer.finish().unwrap();

        let text = std::str::from_utf8(&bytes[..110]).unwrap();
        assert_eq!(&text[14..22], "00002180");
        assert_eq!(&text[78..94], "0000000500000001");
    }
}
