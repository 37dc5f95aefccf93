//! A series of patches for a kernel's source, and which source it was made for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{self, Recipe};
use crate::command::{self, Progress};
use crate::error::{Error, Result};

/// The file beside the patches that says what they were made for: `sha256sum` of each file that they change.
const TREE: &str = "tree.sha256";

/// The patches of one folder.
#[derive(Debug)]
pub(crate) struct Patches {
    dir: PathBuf,
    /// In the order in which they apply.
    files: Vec<PathBuf>,
    /// Checksum and path of each file as it is before the first patch.
    tree: Vec<(String, PathBuf)>,
}

impl Patches {
    /// Those of `dir` whose names end in `.patch`, in the order of their names.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let path = entry.map_err(Error::io("list", dir))?.path();
            if path.extension().is_some_and(|extension| extension == "patch") {
                files.push(path);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(Error::Layout { what: "a file *.patch".to_owned(), path: dir.to_path_buf() });
        }
        let tree = cache::read_text(&dir.join(TREE))?
            .lines()
            .filter_map(|line| line.split_once("  "))
            .map(|(sum, path)| (sum.to_owned(), PathBuf::from(path)))
            .collect();
        Ok(Self { dir: dir.to_path_buf(), files, tree })
    }

    /// The recipe with their contents.
    pub(crate) fn add_to(&self, mut recipe: Recipe) -> Result<Recipe> {
        for file in &self.files {
            recipe =
                recipe.with_file(file.strip_prefix(&self.dir).unwrap_or(file).to_string_lossy(), file)?;
        }
        Ok(recipe)
    }

    /// Applies all of them to `source`. Every hunk has to fit exactly, but for its line number: in a file that is not
    /// the one that the patches were made for, code that merely looks alike is a trap.
    pub(crate) fn apply(&self, progress: &Progress, source: &Path) -> Result<()> {
        let others = self.other_files(source)?;
        if !others.is_empty() {
            progress.say(&format!(
                "the kernel's source is not the one that the patches were made for; different: {}",
                others.join(", ")
            ));
        }
        for file in &self.files {
            let mut patch = Command::new("patch");
            patch.arg("--directory").arg(source).args(["--strip=1", "--fuzz=0", "--batch", "--forward"]);
            command::output(patch.arg("--input").arg(file))?;
        }
        Ok(())
    }

    /// The files that are not what the patches were made for.
    fn other_files(&self, source: &Path) -> Result<Vec<String>> {
        let mut others = Vec::new();
        for (sum, path) in &self.tree {
            let path_here = source.join(path);
            let bytes = fs::read(&path_here).map_err(Error::io("read", &path_here))?;
            if cache::sha256(&bytes) != *sum {
                others.push(path.display().to_string());
            }
        }
        Ok(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &str = "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";

    fn patches(dir: &Path, tree: &str) -> Patches {
        fs::write(dir.join("0001-number.patch"), PATCH).unwrap();
        fs::write(dir.join(TREE), tree).unwrap();
        Patches::read(dir).unwrap()
    }

    #[test]
    fn a_source_that_the_patches_were_made_for_is_patched_without_a_word() {
        let (dir, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("f"), "one\ntwo\nthree\n").unwrap();
        let patches = patches(dir.path(), &format!("{}  f\n", cache::sha256(b"one\ntwo\nthree\n")));

        patches.apply(&Progress::new(|line| panic!("{line}")), source.path()).unwrap();

        assert_eq!(fs::read_to_string(source.path().join("f")).unwrap(), "one\n2\nthree\n");
    }

    #[test]
    fn another_source_is_named_and_patched_where_every_line_fits() {
        let (dir, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("f"), "zero\none\ntwo\nthree\n").unwrap();
        let (said, heard) = std::sync::mpsc::channel();
        let progress = Progress::new(move |line| said.send(line.to_owned()).unwrap());

        patches(dir.path(), "00  f\n").apply(&progress, source.path()).unwrap();

        assert!(heard.recv().unwrap().ends_with("different: f"));
        assert_eq!(fs::read_to_string(source.path().join("f")).unwrap(), "zero\none\n2\nthree\n");
    }

    #[test]
    fn a_hunk_that_does_not_fit_names_itself() {
        let (dir, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(source.path().join("f"), "one\ntwo and more\nthree\n").unwrap();

        let error =
            patches(dir.path(), "").apply(&Progress::new(|_| ()), source.path()).unwrap_err().to_string();

        assert!(error.contains("0001-number.patch") && error.contains("Hunk #1 FAILED"), "{error}");
    }

    #[test]
    fn a_folder_without_patches_is_an_error() {
        let dir = tempfile::tempdir().unwrap();

        assert!(Patches::read(dir.path()).unwrap_err().to_string().contains("*.patch"));
    }
}
