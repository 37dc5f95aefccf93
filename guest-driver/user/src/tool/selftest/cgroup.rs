//! Memory cgroups to be in: cgroup v2 with the memory controller.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Failure, Outcome, Skip};

const ROOT: &str = "/sys/fs/cgroup";

/// A memory cgroup of our own, removed when this is dropped.
pub(super) struct Group {
    dir: PathBuf,
}

impl Group {
    /// One below the root.
    pub(super) fn new(name: &str) -> Result<Self, Failure> {
        let controllers = fs::read_to_string(format!("{ROOT}/cgroup.controllers")).unwrap_or_default();
        if !controllers.split_whitespace().any(|name| name == "memory") {
            return Err(Skip("there is no cgroup v2 with the memory controller").into());
        }
        Self::in_dir(Path::new(ROOT), name)
    }

    /// One below this one, which then can have no program itself.
    pub(super) fn below(&self, name: &str) -> Result<Self, Failure> {
        Self::in_dir(&self.dir, name)
    }

    fn in_dir(above: &Path, name: &str) -> Result<Self, Failure> {
        write(&above.join("cgroup.subtree_control"), "+memory")?;
        let dir = above.join(name);
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self { dir })
    }

    /// Moves this program there; back again when what it returns is dropped.
    pub(super) fn enter(&self) -> Result<Inside, Failure> {
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let home = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let inside = Inside { home: Path::new(ROOT).join(home) };
        write(&self.dir.join("cgroup.procs"), "0")?;
        Ok(inside)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // If it stays, the next that has its name fails.
        let _ = fs::remove_dir(&self.dir);
    }
}

/// While this lives, the program is in a group.
pub(super) struct Inside {
    home: PathBuf,
}

impl Drop for Inside {
    fn drop(&mut self) {
        // If the program stays, its group cannot be removed, and the next that has its name fails.
        let _ = write(&self.home.join("cgroup.procs"), "0");
    }
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}
