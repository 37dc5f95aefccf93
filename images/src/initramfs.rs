//! The tree of files that a kernel starts with, put together without root.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache;
use crate::cpio::{Kind, Writer};
use crate::error::{Error, Result};

/// An initramfs being put together. Paths are absolute in it; the folders above a path come by themselves.
///
/// ```
/// let mut root = tmem_images::Initramfs::new();
/// root.file("/init", 0o755, "#!/bin/sh\n")?.symlink("/bin/sh", "busybox")?;
/// let archive = root.to_bytes()?;
/// assert!(archive.starts_with(b"070701"));
/// # Ok::<(), tmem_images::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
enum Entry {
    Directory { mode: u32 },
    Bytes { mode: u32, bytes: Vec<u8> },
    HostFile { mode: u32, path: PathBuf },
    Symlink { target: String },
    CharDevice { mode: u32, major: u32, minor: u32 },
}

impl Initramfs {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder with these permission bits.
    ///
    /// # Errors
    /// As for every method that adds: a path that is not absolute, has empty parts or `..`, or is below a file.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<&mut Self> {
        self.insert(path, Entry::Directory { mode })
    }

    /// Adds a file with this content.
    ///
    /// # Errors
    /// See [`directory`](Self::directory).
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Result<&mut Self> {
        self.insert(path, Entry::Bytes { mode, bytes: content.into() })
    }

    /// Adds a copy of a file of this machine, with its permissions. It is read when the archive is written.
    ///
    /// # Errors
    /// If it is not a readable file; see [`directory`](Self::directory).
    pub fn host_file(&mut self, path: &str, from: &Path) -> Result<&mut Self> {
        let meta = fs::metadata(from).map_err(Error::io("read", from))?;
        if !meta.is_file() {
            return Err(Error::Initramfs(format!("{} is not a file", from.display())));
        }
        let mode = meta.permissions().mode() & 0o777;
        self.insert(path, Entry::HostFile { mode, path: from.to_path_buf() })
    }

    /// Adds a program of this machine and, if it is linked dynamically, the libraries it needs, at the paths they have
    /// here.
    ///
    /// # Errors
    /// If it or a library is not found.
    pub fn program(&mut self, path: &str, from: &Path) -> Result<&mut Self> {
        self.host_file(path, from)?;
        for library in libraries(from)? {
            self.host_file(&library, Path::new(&library))?;
        }
        Ok(self)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// See [`directory`](Self::directory).
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<&mut Self> {
        self.insert(path, Entry::Symlink { target: target.to_owned() })
    }

    /// Adds a character device node.
    ///
    /// # Errors
    /// See [`directory`](Self::directory).
    pub fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> Result<&mut Self> {
        self.insert(path, Entry::CharDevice { mode, major, minor })
    }

    /// Whether something is at this path.
    pub fn contains(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_start_matches('/'))
    }

    /// The archive, in memory.
    ///
    /// # Errors
    /// If a host file to be copied into it cannot be read.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the archive to a file, uncompressed: a guest unpacks it sooner, and loaders do not care.
    ///
    /// # Errors
    /// If the file, or a host file to be copied into it, cannot be used.
    pub fn write_file(&self, path: &Path) -> Result<()> {
        let file = File::create(path).map_err(Error::io("create", path))?;
        let mut buffered = BufWriter::new(file);
        self.write_to(&mut buffered)?;
        buffered.flush().map_err(Error::io("write", path))
    }

    /// Writes the tree itself into a new folder, without device files, which only root could make.
    pub(crate) fn write_folder(&self, folder: &Path) -> Result<()> {
        cache::make_dir(folder)?;
        for (path, entry) in &self.entries {
            let to = folder.join(path);
            match entry {
                Entry::Directory { .. } => cache::make_dir(&to)?,
                Entry::Bytes { mode, bytes } => {
                    cache::write(&to, bytes)?;
                    let mode = fs::Permissions::from_mode(*mode);
                    fs::set_permissions(&to, mode).map_err(Error::io("change the mode of", &to))?;
                }
                Entry::HostFile { path: from, .. } => {
                    fs::copy(from, &to).map_err(Error::io("copy", from))?;
                }
                Entry::Symlink { target } => {
                    symlink(target, &to).map_err(Error::io("link", &to))?;
                }
                Entry::CharDevice { .. } => {}
            }
        }
        Ok(())
    }

    /// Writes the archive.
    fn write_to(&self, to: &mut impl Write) -> Result<()> {
        let mut writer = Writer::new(to);
        for (path, entry) in &self.entries {
            append(&mut writer, path, entry).map_err(|error| match error {
                Failure::Read(error) => error,
                Failure::Write(source) => Error::Io { action: "write", path: PathBuf::from(path), source },
            })?;
        }
        writer.finish().map(|_| ()).map_err(Error::io("finish", "the initramfs"))
    }

    fn insert(&mut self, path: &str, entry: Entry) -> Result<&mut Self> {
        let wrong = |why: &str| Error::Initramfs(format!("{path}: {why}"));
        let inner = path.strip_prefix('/').ok_or_else(|| wrong("not an absolute path"))?;
        if inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(wrong("empty parts, `.` and `..` are not allowed"));
        }
        for (at, _) in inner.match_indices('/') {
            let above = inner.get(..at).unwrap_or_default();
            match self.entries.entry(above.to_owned()).or_insert(Entry::Directory { mode: 0o755 }) {
                Entry::Directory { .. } => {}
                _ => return Err(wrong(&format!("/{above} is not a folder"))),
            }
        }
        self.entries.insert(inner.to_owned(), entry);
        Ok(self)
    }
}

enum Failure {
    Read(Error),
    Write(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

fn append(writer: &mut Writer<impl Write>, path: &str, entry: &Entry) -> Result<(), Failure> {
    match entry {
        Entry::Directory { mode } => writer.append(path, *mode, Kind::Directory)?,
        Entry::Bytes { mode, bytes } => writer.append(path, *mode, Kind::File(bytes))?,
        Entry::HostFile { mode, path: from } => {
            let bytes = cache::read(from).map_err(Failure::Read)?;
            writer.append(path, *mode, Kind::File(&bytes))?;
        }
        Entry::Symlink { target } => writer.append(path, 0o777, Kind::Symlink(target))?,
        Entry::CharDevice { mode, major, minor } => {
            writer.append(path, *mode, Kind::CharDevice { major: *major, minor: *minor })?;
        }
    }
    Ok(())
}

/// The files that the dynamic linker would load for a program: none if it is static or not a binary.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let listed = Command::new("ldd")
        .arg(program)
        .output()
        .map_err(|source| Error::Start { program: "ldd".to_owned(), source })?;
    if !listed.status.success() {
        // ldd(1) fails for what is not dynamic.
        return Ok(Vec::new());
    }
    let text = String::from_utf8_lossy(&listed.stdout);
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        return Err(Error::Initramfs(format!("{}: {}", program.display(), missing.trim())));
    }
    Ok(text.lines().filter_map(library_path).collect())
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f..)` and `/lib64/ld-linux-x86-64.so.2 (0x7f..)`, not the vdso.
fn library_path(line: &str) -> Option<String> {
    let file = line.split("=>").last()?.split_whitespace().next()?;
    file.starts_with('/').then(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names in an archive, in order, found by walking its headers.
    fn names(archive: &[u8]) -> Vec<String> {
        let number = |at: usize| {
            usize::from_str_radix(std::str::from_utf8(&archive[at..at + 8]).unwrap(), 16).unwrap()
        };
        let mut names = Vec::new();
        let mut at = 0;
        while at < archive.len() {
            let (size, name_size) = (number(at + 54), number(at + 94));
            names.push(String::from_utf8(archive[at + 110..at + 110 + name_size - 1].to_vec()).unwrap());
            at = (at + 110 + name_size).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        names
    }

    #[test]
    fn folders_above_a_file_come_before_it() {
        let mut root = Initramfs::new();

        root.file("/usr/bin/x", 0o755, "x").unwrap();

        assert_eq!(names(&root.to_bytes().unwrap()), ["usr", "usr/bin", "usr/bin/x", "TRAILER!!!"]);
    }

    #[test]
    fn impossible_paths_are_refused() {
        let mut root = Initramfs::new();
        root.file("/file", 0o644, "").unwrap();

        for path in ["relative", "/", "/a//b", "/a/../b", "/file/below"] {
            assert!(root.file(path, 0o644, "").is_err(), "{path}");
        }
    }

    #[test]
    fn the_same_tree_gives_the_same_bytes() {
        let build = || {
            let mut root = Initramfs::new();
            root.file("/b", 0o644, "1").unwrap().symlink("/a", "b").unwrap();
            root.to_bytes().unwrap()
        };

        assert_eq!(build(), build());
    }

    #[test]
    fn a_dynamic_program_brings_its_libraries() {
        let mut root = Initramfs::new();

        root.program("/bin/true", Path::new("/bin/true")).unwrap();

        assert!(names(&root.to_bytes().unwrap()).iter().any(|name| name.contains("libc.so")));
    }

    #[test]
    fn a_tree_in_a_folder_has_its_files_modes_and_links() {
        let folder = tempfile::tempdir().unwrap().path().join("new");
        let mut root = Initramfs::new();
        root.file("/bin/a", 0o755, "1").unwrap().symlink("/bin/b", "a").unwrap();
        root.char_device("/dev/console", 0o600, 5, 1).unwrap();

        root.write_folder(&folder).unwrap();

        assert_eq!(fs::read_to_string(folder.join("bin/b")).unwrap(), "1");
        assert_eq!(fs::metadata(folder.join("bin/a")).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(folder.join("dev").is_dir() && !folder.join("dev/console").exists());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_vdso_is_no_file() {
        assert_eq!(library_path("\tlinux-vdso.so.1 (0x00007ffd)"), None);
        assert_eq!(library_path("\tlibc.so.6 => /lib/libc.so.6 (0x0)").as_deref(), Some("/lib/libc.so.6"));
    }
}
