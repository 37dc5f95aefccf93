//! The cache: what was made once is found again by the hash of everything that it was made from.
//!
//! ```text
//! $TMEM_CACHE, or $XDG_CACHE_HOME/tmem, or ~/.cache/tmem
//!   packages/NAME_VERSION_ARCH.deb      downloads, verified
//!   artifacts/KIND-KEY/                 finished, with artifact.json saying what it was made from
//!   work/KIND-KEY/                      being made, or what a failed build left behind
//!   locks/KIND-KEY                      one maker at a time
//! ```

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::command::Progress;
use crate::error::{Error, Result};

/// Where images are kept between runs.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache that the environment names: `$TMEM_CACHE`, `$XDG_CACHE_HOME/tmem` or `~/.cache/tmem`.
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("TMEM_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("tmem")))
            .or_else(|| set("HOME").map(|dir| dir.join(".cache/tmem")))
            .unwrap_or_else(|| PathBuf::from("/var/cache/tmem"));
        Self::at(&root)
    }

    /// The cache in folder `root`, which is made if missing.
    pub fn at(root: &Path) -> Result<Self> {
        let failed = |source| Error::Cache { root: root.into(), source };
        for part in ["packages", "artifacts", "work", "locks"] {
            fs::create_dir_all(root.join(part)).map_err(failed)?;
        }
        Ok(Self { root: root.canonicalize().map_err(failed)? })
    }

    /// The folder that holds it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where downloaded packages are kept.
    pub(crate) fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    /// Whether the artifact that `recipe` describes is there.
    pub(crate) fn has(&self, recipe: &Recipe) -> bool {
        self.root.join("artifacts").join(recipe.name()).is_dir()
    }

    /// The folder of the artifact that `recipe` describes, made by `make` in a fresh folder if it is not there yet.
    /// Two processes that want the same artifact make it once. What a failed `make` left is kept for inspection.
    pub(crate) fn artifact(
        &self,
        progress: &Progress,
        recipe: &Recipe,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let name = recipe.name();
        let finished = self.root.join("artifacts").join(&name);
        if finished.is_dir() {
            return Ok(finished);
        }
        let _only_us = self.lock(progress, &name)?;
        if finished.is_dir() {
            return Ok(finished);
        }
        let work = self.root.join("work").join(&name);
        if work.exists() {
            fs::remove_dir_all(&work).map_err(Error::io("remove", &work))?;
        }
        make_dir(&work)?;
        make(&work)?;
        let note = serde_json::to_string_pretty(recipe).unwrap_or_default();
        write(&work.join("artifact.json"), note.as_bytes())?;
        fs::rename(&work, &finished).map_err(Error::io("move into place", &finished))?;
        Ok(finished)
    }

    /// Waits until no other process makes `name`; held until the file is dropped.
    pub(crate) fn lock(&self, progress: &Progress, name: &str) -> Result<File> {
        let path = self.root.join("locks").join(name);
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress.say(&format!("another process is making {name}; waiting for it"));
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { action: "lock", path, source }),
        }
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(file)
    }
}

/// Everything that an artifact is made from. Its hash is the artifact's key.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Recipe {
    kind: String,
    inputs: Vec<(String, String)>,
}

impl Recipe {
    /// A recipe for artifacts of this kind; `version` counts changes of the code that makes them.
    pub(crate) fn new(kind: &str, version: u32) -> Self {
        Self { kind: kind.to_owned(), inputs: vec![("recipe".to_owned(), version.to_string())] }
    }

    /// With one more thing that the artifact depends on.
    pub(crate) fn with(mut self, what: impl Into<String>, value: impl Into<String>) -> Self {
        self.inputs.push((what.into(), value.into()));
        self
    }

    /// With the content of a file, under the name `what`.
    pub(crate) fn with_file(self, what: impl Into<String>, path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        Ok(self.with(what, sha256(&bytes)))
    }

    /// The hash over all inputs: 16 hexadecimal digits are plenty for the handful of artifacts on one machine.
    pub(crate) fn key(&self) -> String {
        let mut hash = Sha256::new();
        for (what, value) in &self.inputs {
            // Lengths first, so that no two lists of inputs look the same.
            hash.update((what.len() as u64).to_le_bytes());
            hash.update(what);
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
        hex(&hash.finalize()).chars().take(16).collect()
    }

    fn name(&self) -> String {
        format!("{}-{}", self.kind, self.key())
    }
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(Error::io("read", path))
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(Error::io("write", path))
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_cannot_be_made_says_how_to_have_another() {
        let error = Cache::at(Path::new("/dev/null/cache")).unwrap_err().to_string();
        assert!(error.starts_with("cannot use /dev/null/cache as a cache: "), "{error}");
        assert!(error.contains("TMEM_CACHE"), "{error}");
    }

    fn quiet() -> Progress {
        Progress::new(|_| ())
    }

    #[test]
    fn an_artifact_is_made_once_and_found_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        let recipe = Recipe::new("thing", 1).with("input", "a");

        let made = cache.artifact(&quiet(), &recipe, |work| write(&work.join("x"), b"1")).unwrap();
        let found = cache.artifact(&quiet(), &recipe, |_| panic!("made twice")).unwrap();

        assert_eq!(made, found);
        assert_eq!(fs::read(found.join("x")).unwrap(), b"1");
        assert!(fs::read_to_string(found.join("artifact.json")).unwrap().contains("\"input\""));
    }

    #[test]
    fn a_failed_build_is_not_taken_for_an_artifact() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::at(dir.path()).unwrap();
        let recipe = Recipe::new("thing", 1);

        let failed = cache.artifact(&quiet(), &recipe, |work| {
            write(&work.join("half"), b"")?;
            Err(Error::Initramfs("no".to_owned()))
        });
        let made = cache.artifact(&quiet(), &recipe, |work| write(&work.join("whole"), b"")).unwrap();

        assert!(failed.is_err());
        assert!(made.join("whole").exists() && !made.join("half").exists());
    }

    #[test]
    fn the_key_depends_on_every_input_and_on_where_one_ends() {
        let base = Recipe::new("k", 1).with("ab", "c");

        assert_ne!(base.key(), Recipe::new("k", 2).with("ab", "c").key());
        assert_ne!(base.key(), Recipe::new("k", 1).with("a", "bc").key());
        assert_eq!(base.key(), base.clone().key());
    }

    #[test]
    fn sha256_matches_the_published_vector() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
