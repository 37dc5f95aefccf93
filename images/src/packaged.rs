//! Programs of Debian for guests: the files of packages that the manifest keeps, with the libraries that they need.
//!
//! The packages are unpacked, not installed: nothing of them runs here, and what this machine has installed plays no part.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::apt::{self, Package};
use crate::cache::{self, Cache, Recipe};
use crate::command::Progress;
use crate::error::{Error, Result};
use crate::manifest::ProgramsSpec;
use crate::unpacked::Unpacked;

/// Changes with what this file, `unpacked` and `elf` do.
const RECIPE: u32 = 1;

/// The folder, in the artifact, that has the files at the paths that they have in the packages.
const ROOT: &str = "root";

/// The file, in the artifact, that lists the packages of which something was kept.
const PACKAGES: &str = "packages.json";

/// A folder in the cache with what `spec` keeps of `packages`, and the packages that it came from.
pub(crate) fn folder(
    progress: &Progress,
    cache: &Cache,
    spec: &ProgramsSpec,
    packages: &[Package],
) -> Result<(PathBuf, Vec<Package>)> {
    let mut recipe = Recipe::new("programs", RECIPE).with("keep", spec.keep.join(" "));
    for package in packages {
        recipe = recipe.with("package", package.to_string()).with("sha256", &package.sha256);
    }
    let dir = cache.artifact(progress, &recipe, |work| {
        apt::fetch_all(progress, cache, packages)?;
        progress.say(&format!("unpacking {} packages...", packages.len()));
        let mut unpacked = Unpacked::new(work.join("unpacked"));
        for (number, package) in packages.iter().enumerate() {
            unpacked.add(number, &apt::place(cache, package))?;
        }
        let from = keep(&unpacked, &spec.keep, &work.join(ROOT))?;
        let from: Vec<&Package> = from.into_iter().filter_map(|number| packages.get(number)).collect();
        let list = serde_json::to_string_pretty(&from).unwrap_or_default();
        cache::write(&work.join(PACKAGES), list.as_bytes())?;
        unpacked.remove()
    })?;
    let list = dir.join(PACKAGES);
    let from = serde_json::from_str(&cache::read_text(&list)?)
        .map_err(|error| Error::Manifest { path: list, message: error.to_string() })?;
    Ok((dir.join(ROOT), from))
}

/// Copies these files and folders, and the libraries of all programs among them, into folder `to`. Which packages they came from.
fn keep(unpacked: &Unpacked, paths: &[String], to: &Path) -> Result<BTreeSet<usize>> {
    let (mut kept, mut from, mut todo) = (BTreeSet::new(), BTreeSet::new(), paths.to_vec());
    while let Some(path) = todo.pop() {
        if !kept.insert(path.clone()) {
            continue;
        }
        let file = unpacked.resolve(&path)?;
        if file.is_dir() {
            todo.extend(unpacked.inside(&path, &file)?);
            continue;
        }
        todo.extend(unpacked.libraries(&path, &file)?);
        from.extend(unpacked.package_of(&path));
        let copy = to.join(path.trim_start_matches('/'));
        cache::make_dir(copy.parent().unwrap_or(to))?;
        fs::copy(&file, &copy).map_err(Error::io("copy", &file))?;
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_kept_with_its_libraries_and_a_folder_with_its_files() {
        let here = tempfile::tempdir().unwrap();
        let dir = here.path().join("unpacked");
        let put = |path: &str, from: &Path| {
            fs::create_dir_all(dir.join(path).parent().unwrap()).unwrap();
            fs::copy(from, dir.join(path)).unwrap();
        };
        put("usr/bin/true", Path::new("/bin/true"));
        put("lib/x86_64-linux-gnu/libc.so.6", Path::new("/lib/x86_64-linux-gnu/libc.so.6"));
        put("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", Path::new("/lib64/ld-linux-x86-64.so.2"));
        fs::create_dir_all(dir.join("usr/share/x/deep")).unwrap();
        fs::write(dir.join("usr/share/x/deep/file"), "x").unwrap();
        let unpacked = Unpacked::new(dir);
        let to = here.path().join("to");

        keep(&unpacked, &["/usr/bin/true".to_owned(), "/usr/share/x".to_owned()], &to).unwrap();

        assert!(to.join("usr/bin/true").exists() && to.join("usr/share/x/deep/file").exists());
        assert!(to.join("lib/x86_64-linux-gnu/libc.so.6").exists());
        assert!(to.join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").exists());
    }

    #[test]
    fn a_program_without_its_library_is_an_error_that_names_both() {
        let here = tempfile::tempdir().unwrap();
        fs::copy("/bin/true", here.path().join("true")).unwrap();
        let unpacked = Unpacked::new(here.path().to_path_buf());

        let error = keep(&unpacked, &["/true".to_owned()], &here.path().join("to")).unwrap_err().to_string();

        assert!(error.contains("libc.so.6") && error.contains("/true"), "{error}");
    }
}
