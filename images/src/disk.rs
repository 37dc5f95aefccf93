//! Disks with an ext4 file system of programs, from which a guest runs what would not fit into its memory with an initramfs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, Cache, Recipe};
use crate::command::{self, Progress};
use crate::error::{Error, Result};
use crate::guest;
use crate::initramfs::Initramfs;

/// Changes with what this file does.
const RECIPE: u32 = 1;

/// Name of the image in its artifact.
const IMAGE: &str = "disk.img";

/// Where a guest's init mounts things when it runs programs in a root of their own (images/guest/init).
const MOUNT_POINTS: [&str; 3] = ["/mnt", "/data", "/opt"];

/// What is on a disk of programs, beside busybox with all its names and the workload.
#[derive(Debug, Clone, Default)]
pub struct DiskSpec {
    /// What it is called in the cache.
    pub name: String,
    /// Size of a block in bytes: 4096 lets a tmem-aware kernel offer its pages, 1024 keeps them out.
    pub block_bytes: u32,
    /// Programs and other files, with the libraries that they need: path in the guest, file of this machine.
    pub files: Vec<(String, PathBuf)>,
    /// Folders with all that is in them: path in the guest, folder of this machine.
    pub folders: Vec<(String, PathBuf)>,
}

/// The tree of files that `spec` describes.
pub(crate) fn tree(spec: &DiskSpec, busybox: &Path, workload: &Path) -> Result<Initramfs> {
    let mut root = guest::base(busybox, &[])?;
    for place in MOUNT_POINTS {
        root.directory(place, 0o755)?;
    }
    for applet in command::output(Command::new(busybox).arg("--list"))?.lines() {
        if !matches!(applet, "busybox" | "sh") {
            root.symlink(&format!("/bin/{applet}"), "busybox")?;
        }
    }
    root.host_file("/bin/tmem-workload", workload)?;
    for (path, file) in &spec.files {
        root.program(path, file)?;
    }
    for (path, folder) in &spec.folders {
        add_folder(&mut root, path, folder)?;
    }
    Ok(root)
}

fn add_folder(root: &mut Initramfs, path: &str, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let from = entry.map_err(Error::io("list", folder))?.path();
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let to = format!("{path}/{name}");
        // A link that leads nowhere on this machine has nothing to bring.
        match fs::metadata(&from) {
            Ok(meta) if meta.is_dir() => add_folder(root, &to, &from)?,
            Ok(meta) if meta.is_file() => _ = root.host_file(&to, &from)?,
            _ => {}
        }
    }
    Ok(())
}

/// The image of an ext4 file system with `root` in it, in the cache; to be used read-only.
pub(crate) fn image(
    progress: &Progress,
    cache: &Cache,
    spec: &DiskSpec,
    root: &Initramfs,
) -> Result<PathBuf> {
    let archive = root.to_bytes()?;
    let recipe = Recipe::new(&format!("disk-{}", spec.name), RECIPE)
        .with("content", cache::sha256(&archive))
        .with("block", spec.block_bytes.to_string());
    // Blocks, inodes and room to spare; a guest never writes to it.
    let kib = archive.len() / 1024 * 5 / 4 + 8192;
    let dir = cache.artifact(progress, &recipe, |work| {
        let staging = work.join("root");
        root.write_folder(&staging)?;
        let mut mkfs = Command::new("mkfs.ext4");
        mkfs.args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-b", &spec.block_bytes.to_string(), "-d"]);
        mkfs.arg(&staging).arg(work.join(IMAGE)).arg(format!("{kib}k"));
        command::output(&mut mkfs)?;
        fs::remove_dir_all(&staging).map_err(Error::io("remove", &staging))
    })?;
    Ok(dir.join(IMAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_with_all_that_is_in_it() {
        let here = tempfile::tempdir().unwrap();
        fs::create_dir(here.path().join("deep")).unwrap();
        fs::write(here.path().join("deep/file"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", here.path().join("dangling")).unwrap();

        let mut root = Initramfs::new();
        add_folder(&mut root, "/usr/include", here.path()).unwrap();

        assert!(root.contains("/usr/include/deep/file"));
        assert!(!root.contains("/usr/include/dangling"));
    }
}
