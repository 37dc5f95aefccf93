//! Every file of a run, by what it is and not by what it is called: none is written that somebody reads, or by two.

use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::folder;

/// Symbolic links that are followed to a file that is not there, as many as Linux follows.
const LINKS_MAX: usize = 40;

/// What a file is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is read.
    Input,
    /// A guest reads it.
    ReadOnlyDisk,
    /// A guest reads and writes it.
    Disk,
    /// It is written anew.
    Output,
    /// It is open already, as a standard stream.
    Stream,
}

/// The same for all names of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    /// Device and inode.
    File(u64, u64),
    /// A block device's number: several nodes may have it.
    BlockDevice(u64),
    /// Nothing yet: device and inode of the folder, and the name in it.
    New(u64, u64, OsString),
}

#[derive(Debug)]
struct Claim {
    identity: Identity,
    of: Use,
    who: String,
}

/// Who uses which file.
#[derive(Debug, Default)]
pub struct Claims(Vec<Claim>);

impl Claims {
    /// Uses the file at `path`, whether it is there yet or not; `who` says what it is, such as "the kernel of `a`".
    ///
    /// # Errors
    /// Why it cannot be used so beside what it is already used for.
    pub fn add(&mut self, path: &Path, of: Use, who: &str) -> Result<(), String> {
        let Some(identity) = identity(path, of) else { return Ok(()) };
        let clash = self.0.iter().find(|other| other.identity == identity && !together(other.of, of));
        if let Some(other) = clash {
            return Err(refusal(path, of, other));
        }
        self.0.push(Claim { identity, of, who: who.into() });
        Ok(())
    }
}

fn together(one: Use, other: Use) -> bool {
    let reads = |of| matches!(of, Use::Input | Use::ReadOnlyDisk);
    (reads(one) && reads(other)) || (one == Use::Stream && other == Use::Stream)
}

fn refusal(path: &Path, of: Use, other: &Claim) -> String {
    let (path, who) = (path.display(), &other.who);
    match (of, other.of) {
        (Use::Disk | Use::ReadOnlyDisk, Use::Disk | Use::ReadOnlyDisk) => {
            format!("{path} is also {who}, and one of them may write: add `,ro` to both, or copy it")
        }
        (Use::Disk, Use::Input) | (Use::Input, Use::Disk) => {
            format!(
                "{path} is also {who}, and the guest may write to its disk: add `,ro` to the disk, or copy it"
            )
        }
        _ => format!("{path} is also {who}, and would be overwritten: choose another file"),
    }
}

/// What a path leads to. Nothing for what may be used by many: character devices, such as a terminal or /dev/null, and standard streams
/// that are pipes.
fn identity(path: &Path, of: Use) -> Option<Identity> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Ok(there) = std::fs::metadata(&path) {
            return existing(&there, of);
        }
        match std::fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => {
                let parent = std::fs::metadata(folder(&path)).ok()?;
                return Some(Identity::New(parent.dev(), parent.ino(), path.file_name()?.into()));
            }
        }
    }
    None
}

fn existing(there: &Metadata, of: Use) -> Option<Identity> {
    let kind = there.file_type();
    if kind.is_block_device() {
        return Some(Identity::BlockDevice(there.rdev()));
    }
    let shared = kind.is_char_device() || (of == Use::Stream && !kind.is_file());
    (!shared).then(|| Identity::File(there.dev(), there.ino()))
}

/// Where a new file at `path` would be: behind the symbolic links that lead nowhere yet, too.
pub fn destination(path: &Path) -> PathBuf {
    let mut path = path.canonicalize().unwrap_or_else(|_| path.into());
    for _ in 0..LINKS_MAX {
        match std::fs::read_link(&path) {
            Ok(target) => path = folder(&path).join(target),
            Err(_) => break,
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk.img");
        std::fs::write(&file, [7; 512]).unwrap();
        (dir, file)
    }

    #[test]
    fn output_when_an_input_has_another_name_is_refused() {
        let (dir, file) = folder();
        let at = |name: &str| dir.path().join(name);
        symlink(&file, at("soft")).unwrap();
        symlink("soft", at("softer")).unwrap();
        symlink(dir.path(), at("d")).unwrap();
        std::fs::hard_link(&file, at("hard")).unwrap();
        let open = std::fs::File::open(&file).unwrap();
        let descriptor = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open)));
        let names = ["soft", "softer", "hard", "d/disk.img", "./disk.img", "d/./d/soft"].map(at);
        for name in names.iter().chain([&descriptor]) {
            for of in [Use::Input, Use::ReadOnlyDisk, Use::Disk, Use::Output, Use::Stream] {
                let mut claims = Claims::default();
                claims.add(&file, of, "a disk of `a`").unwrap();
                let why = claims.add(name, Use::Output, "--report").unwrap_err();
                assert!(why.contains("is also a disk of `a`, and would be overwritten"), "{why}");
            }
        }
    }

    #[test]
    fn output_when_another_will_be_made_there_is_refused() {
        let (dir, _) = folder();
        let at = |name: &str| dir.path().join(name);
        symlink(dir.path(), at("d")).unwrap();
        symlink("new", at("dangling")).unwrap();
        symlink("dangling", at("more")).unwrap();
        symlink(at("new"), at("absolute")).unwrap();
        for name in ["new", "./new", "d/new", "dangling", "more", "absolute"] {
            let mut claims = Claims::default();
            claims.add(&at("new"), Use::Output, "--stats").unwrap();
            assert!(claims.add(&at(name), Use::Output, "--report").is_err(), "{name}");
            assert!(claims.add(&at("newer"), Use::Output, "--report").is_ok());
        }
    }

    #[test]
    fn files_when_only_read_and_devices_of_characters_are_for_all() {
        let (_dir, file) = folder();
        let mut claims = Claims::default();
        for of in [Use::Input, Use::ReadOnlyDisk, Use::Input, Use::ReadOnlyDisk] {
            claims.add(&file, of, "one of many").unwrap();
        }
        assert!(claims.add(&file, Use::Disk, "a disk").unwrap_err().contains("add `,ro`"));
        for of in [Use::Input, Use::Output, Use::Output, Use::Stream] {
            claims.add(Path::new("/dev/null"), of, "nothing").unwrap();
        }
    }

    #[test]
    fn streams_when_files_belong_to_both_of_them_and_to_nobody_else() {
        let (_dir, file) = folder();
        let mut claims = Claims::default();
        claims.add(&file, Use::Stream, "standard output").unwrap();
        claims.add(&file, Use::Stream, "standard error").unwrap();
        for of in [Use::Input, Use::Disk, Use::Output] {
            let why = claims.add(&file, of, "x").unwrap_err();
            assert!(why.contains("is also standard output, and would be overwritten"), "{why}");
        }
    }

    #[test]
    fn links_when_they_go_in_a_circle_are_nobody_s() {
        let (dir, _) = folder();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        symlink(&one, &other).unwrap();
        symlink(&other, &one).unwrap();
        let mut claims = Claims::default();
        claims.add(&one, Use::Output, "x").unwrap();
        claims.add(&one, Use::Output, "whoever opens it says what is wrong").unwrap();
    }

    #[test]
    fn destination_when_links_lead_to_it_is_behind_them() {
        let (dir, file) = folder();
        let real = dir.path().canonicalize().unwrap();
        symlink("new", dir.path().join("dangling")).unwrap();
        symlink(&file, dir.path().join("soft")).unwrap();
        assert_eq!(destination(&dir.path().join("dangling")).file_name().unwrap(), "new");
        assert_eq!(destination(&dir.path().join("soft")), real.join("disk.img"));
    }
}
