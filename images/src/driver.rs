//! The tmem driver as a module for one kernel, and its relatives for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, Cache, Recipe};
use crate::command::{self, Progress};
use crate::error::{Error, Result};
use crate::kernel::BuildTree;
use crate::modules::Module;

/// Changes with what this file does.
const RECIPE: u32 = 1;

/// What to build from the driver's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverKind {
    /// `tmem.ko` as users have it.
    Real,
    /// `tmem.ko` with a host inside that can be made to misbehave (guest-driver/linux/test/selfhost.c).
    TestHost,
    /// `fakestore.ko`, a back end for tmem-aware kernels (guest-driver/linux/patches/test/fakestore.c).
    FakeStore,
    /// `canary.ko`, which does what a kernel with lockdep and KASAN has to notice (guest-driver/linux/patches/test/canary.c).
    Canary,
}

impl DriverKind {
    /// The module's name.
    const fn name(self) -> &'static str {
        match self {
            Self::Real | Self::TestHost => "tmem",
            Self::FakeStore => "fakestore",
            Self::Canary => "canary",
        }
    }

    /// What it is called in the cache and in messages.
    const fn title(self) -> &'static str {
        match self {
            Self::Real => "driver",
            Self::TestHost => "driver-with-test-host",
            Self::FakeStore => "fakestore",
            Self::Canary => "canary",
        }
    }

    /// The folder with its Kbuild, relative to the repository.
    const fn folder(self) -> &'static str {
        match self {
            Self::Real | Self::TestHost => "guest-driver/linux",
            Self::FakeStore | Self::Canary => "guest-driver/linux/patches/test",
        }
    }
}

/// The folders that make up the driver, relative to the repository: its source, and the generated header of the ABI.
const FOLDERS: [&str; 2] = ["guest-driver/linux", "guest-driver/abi"];

/// What kbuild reads. Anything else in the folders, build products above all, does not count.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    matches!(name, "Makefile" | "Kbuild")
        || (matches!(extension, "c" | "h" | "S") && !name.ends_with(".mod.c"))
}

/// A module for the kernel of `tree`, built from a copy of the sources so that the repository stays clean.
pub(crate) fn module(
    progress: &Progress,
    cache: &Cache,
    repo: &Path,
    tree: &BuildTree,
    kind: DriverKind,
) -> Result<Module> {
    let sources = sources(repo)?;
    let home = Path::new("guest-driver/linux");
    if !["Makefile", "Kbuild"].iter().any(|name| sources.contains(&home.join(name))) {
        return Err(Error::NoDriver { path: repo.join(home) });
    }
    let mut recipe = Recipe::new(&format!("{}-{}", kind.title(), tree.id), RECIPE).with("tree", &tree.key);
    for source in &sources {
        recipe = recipe.with_file(source.to_string_lossy(), &repo.join(source))?;
    }
    let dir = cache.artifact(progress, &recipe, |work| build(progress, repo, tree, kind, &sources, work))?;
    let name = kind.name();
    Ok(Module { name: name.to_owned(), path: dir.join(format!("{name}.ko")), needs: Vec::new() })
}

fn build(
    progress: &Progress,
    repo: &Path,
    tree: &BuildTree,
    kind: DriverKind,
    sources: &[PathBuf],
    work: &Path,
) -> Result<()> {
    let copy = work.join("copy");
    for source in sources {
        let to = copy.join(source);
        cache::make_dir(to.parent().unwrap_or(&copy))?;
        fs::copy(repo.join(source), &to).map_err(Error::io("copy", &to))?;
    }
    let module = copy.join(kind.folder());
    let mut make = Command::new("make");
    make.arg("-C").arg(&tree.dir).arg(format!("M={}", module.display()));
    // Type information needs pahole and the kernel's own; the driver does without.
    make.args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]);
    if kind == DriverKind::TestHost {
        make.arg("TMEM_TEST_HOST=1");
    }
    let what = format!("building the {} for {} ({})", kind.title(), tree.id, tree.release);
    command::long(progress, &what, &mut make, &work.join("build.log"))?;

    let file = format!("{}.ko", kind.name());
    let built = module.join(&file);
    if !built.exists() {
        return Err(Error::Layout { what: format!("{file} after a build without errors"), path: module });
    }
    let stripped = work.join(&file);
    command::output(Command::new("strip").arg("--strip-debug").arg("-o").arg(&stripped).arg(&built))?;
    fs::remove_dir_all(&copy).map_err(Error::io("remove", &copy))
}

/// All source files, relative to the repository, sorted.
fn sources(repo: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        collect(repo, Path::new(folder), &mut found)?;
    }
    found.sort();
    Ok(found)
}

fn collect(repo: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let dir = repo.join(folder);
    for entry in fs::read_dir(&dir).map_err(Error::io("list", &dir))? {
        let entry = entry.map_err(Error::io("list", &dir))?;
        let path = folder.join(entry.file_name());
        let kind = entry.file_type().map_err(Error::io("look at", &dir))?;
        if kind.is_dir() {
            collect(repo, &path, found)?;
        } else if kind.is_file() && is_source(&path) {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_and_build_products_do_not() {
        for (name, counts) in [
            ("Makefile", true),
            ("a.c", true),
            ("a.h", true),
            ("a.mod.c", false),
            ("a.o", false),
            ("README.md", false),
        ] {
            assert_eq!(is_source(Path::new(name)), counts, "{name}");
        }
    }

    #[test]
    fn a_repository_without_a_driver_says_where_it_should_be() {
        let repo = tempfile::tempdir().unwrap();
        for folder in FOLDERS {
            fs::create_dir_all(repo.path().join(folder)).unwrap();
        }
        let cache = Cache::at(&repo.path().join("cache")).unwrap();
        let tree = BuildTree {
            id: crate::KernelId::Small,
            release: "6.12".to_owned(),
            dir: PathBuf::new(),
            key: String::new(),
        };

        let error = module(&Progress::new(|_| ()), &cache, repo.path(), &tree, DriverKind::Real)
            .unwrap_err()
            .to_string();

        assert!(error.contains("guest-driver/linux"), "{error}");
    }
}
