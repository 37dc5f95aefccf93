//! Packages unpacked into one folder, looked at as if it were the root of a machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::apt;
use crate::elf;
use crate::error::{Error, Result};

/// Where the dynamic linker looks by itself (ld.so(8), Debian's multiarch folders).
const LIBRARIES: [&str; 2] = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"];

/// Symbolic links followed for one path: as many as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// The folder. Paths in it are absolute, as its files name each other.
#[derive(Debug)]
pub(crate) struct Unpacked {
    dir: PathBuf,
    /// The number of the package that brought a path.
    packages: BTreeMap<String, usize>,
}

impl Unpacked {
    /// One that is empty, or a folder with files of no package.
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir, packages: BTreeMap::new() }
    }

    /// Unpacks one more package, which is known by its number.
    pub(crate) fn add(&mut self, number: usize, deb: &Path) -> Result<()> {
        let paths = apt::unpack(deb, &self.dir)?;
        self.packages.extend(paths.into_iter().map(|path| (path, number)));
        Ok(())
    }

    /// Removes the folder.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.dir).map_err(Error::io("remove", &self.dir))
    }

    /// Which package brought `path`.
    pub(crate) fn package_of(&self, path: &str) -> Option<usize> {
        self.packages.get(path).copied()
    }

    /// The file or folder of this machine that is at `path` in there, links followed inside of it.
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf> {
        let missing =
            || Error::Layout { what: format!("{path} of Debian's packages"), path: self.dir.clone() };
        let mut at = PathBuf::from(path);
        for _ in 0..LINKS {
            let here = self.dir.join(at.strip_prefix("/").unwrap_or(&at));
            let Ok(target) = fs::read_link(&here) else {
                let real = here.canonicalize().map_err(|_| missing())?;
                let inside = self.dir.canonicalize().is_ok_and(|dir| real.starts_with(dir));
                return if inside { Ok(real) } else { Err(missing()) };
            };
            // Joining an absolute path replaces all before it.
            at = at.parent().unwrap_or(Path::new("/")).join(target);
        }
        Err(missing())
    }

    /// The paths of what is in `folder`, which is at `path`; without links that lead nowhere.
    pub(crate) fn inside(&self, path: &str, folder: &Path) -> Result<Vec<String>> {
        let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.map(|name| format!("{path}/{name}")).filter(|path| self.resolve(path).is_ok()).collect())
    }

    /// The paths of the libraries that `file`, which is at `path`, needs by itself; none if it is no program.
    pub(crate) fn libraries(&self, path: &str, file: &Path) -> Result<Vec<String>> {
        let dynamic = elf::dynamic(file)?;
        let origin = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folders: Vec<String> =
            dynamic.folders.iter().map(|folder| folder.replace("$ORIGIN", origin)).collect();
        let find = |name: &String| {
            let folders = folders.iter().map(String::as_str).chain(LIBRARIES);
            let places = folders.map(|folder| format!("{folder}/{name}"));
            places.into_iter().find(|place| self.resolve(place).is_ok()).ok_or_else(|| Error::Layout {
                what: format!("library {name}, which {path} needs,"),
                path: self.dir.clone(),
            })
        };
        dynamic.needed.iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_inside_and_never_out() {
        let here = tempfile::tempdir().unwrap();
        let dir = here.path().join("root");
        fs::create_dir_all(dir.join("lib/deep")).unwrap();
        fs::write(dir.join("lib/deep/a.so"), "x").unwrap();
        fs::write(here.path().join("secret"), "x").unwrap();
        symlink("/lib/deep/a.so", dir.join("absolute")).unwrap();
        symlink("deep/a.so", dir.join("lib/relative")).unwrap();
        symlink("/etc/hostname", dir.join("out")).unwrap();
        symlink("../secret", dir.join("up")).unwrap();
        symlink("round", dir.join("round")).unwrap();
        let unpacked = Unpacked::new(dir.clone());

        let file = dir.join("lib/deep/a.so").canonicalize().unwrap();
        assert_eq!(unpacked.resolve("/absolute").unwrap(), file);
        assert_eq!(unpacked.resolve("/lib/relative").unwrap(), file);
        for path in ["/out", "/up", "/round", "/none"] {
            assert!(unpacked.resolve(path).is_err(), "{path}");
        }
        assert_eq!(unpacked.inside("/lib", &dir.join("lib")).unwrap().len(), 2);
    }
}
