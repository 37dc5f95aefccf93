//! `manifest.toml`: what images are made of; `manifest.lock`: which versions were tested, with their checksums.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::apt::Package;
use crate::cache;
use crate::error::{Error, Result};
use crate::kernel::KernelId;

/// A series of Debian's stock cloud kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// Linux 6.12, from bookworm's backported kernels. Also the emulated host's.
    V6_12,
    /// Linux 6.1, bookworm's own.
    V6_1,
}

impl Series {
    /// All of them, the newest first.
    pub const ALL: [Self; 2] = [Self::V6_12, Self::V6_1];

    /// Its name in the manifest: `6.12`, `6.1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V6_12 => "6.12",
            Self::V6_1 => "6.1",
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The manifest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) small: SmallSpec,
    stock: BTreeMap<String, StockSpec>,
    pub(crate) tools: ToolSpec,
    pub(crate) programs: ProgramsSpec,
}

/// The kernel that is built here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SmallSpec {
    /// The package that holds the source as `/usr/src/NAME.tar.xz`.
    pub(crate) source: String,
    /// The configuration fragment, relative to `images/`.
    pub(crate) config: PathBuf,
    /// The fragments laid over it for each flavour, by name, relative to `images/`.
    pub(crate) flavours: BTreeMap<String, Vec<PathBuf>>,
    /// The folder of the patches, relative to the repository.
    pub(crate) patches: PathBuf,
    /// Modules to keep, by name.
    pub(crate) modules: Vec<String>,
}

impl SmallSpec {
    /// The fragments of a flavour; none for the small kernel itself.
    pub(crate) fn flavour(&self, id: KernelId) -> &[PathBuf] {
        if id == KernelId::Small {
            return &[];
        }
        self.flavours.get(&id.to_string()).expect("`read` has checked that every flavour is there")
    }
}

/// A series of stock kernels.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StockSpec {
    /// The pattern of the ABI name, with one `*`.
    pub(crate) abi: String,
    /// The image package, with `{abi}`.
    pub(crate) image: String,
    /// The packages that a module build needs, with `{abi}`; the first is the one to build in.
    pub(crate) headers: Vec<String>,
    /// Modules to keep, by name; what they depend on is kept too.
    pub(crate) modules: Vec<String>,
}

/// Programs that go into an initramfs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToolSpec {
    pub(crate) busybox: String,
}

/// Programs of Debian for guests that run more than busybox.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProgramsSpec {
    /// The packages; what they depend on comes by itself.
    pub(crate) packages: Vec<String>,
    /// Absolute paths of files and folders to keep; libraries that they need are kept too.
    pub(crate) keep: Vec<String>,
}

impl Manifest {
    /// Reads it from `images/manifest.toml`.
    pub(crate) fn read(images: &Path) -> Result<Self> {
        let path = images.join("manifest.toml");
        let manifest: Self = parse(&path)?;
        for id in KernelId::ALL.into_iter().filter(|id| id.is_tmem_aware() && *id != KernelId::Small) {
            if !manifest.small.flavours.contains_key(&id.to_string()) {
                let message = format!("[small.flavours]: {id} is missing");
                return Err(Error::Manifest { path, message });
            }
        }
        for series in Series::ALL {
            let spec = manifest.stock.get(series.as_str()).ok_or_else(|| Error::Manifest {
                path: path.clone(),
                message: format!("[stock.\"{series}\"] is missing"),
            })?;
            if spec.abi.matches('*').count() != 1 || spec.headers.is_empty() {
                return Err(Error::Manifest {
                    path: path.clone(),
                    message: format!(
                        "[stock.\"{series}\"]: `abi` needs exactly one `*`, and `headers` at least one package"
                    ),
                });
            }
        }
        Ok(manifest)
    }

    /// The entry of a series.
    pub(crate) fn stock(&self, series: Series) -> &StockSpec {
        self.stock.get(series.as_str()).expect("`read` has checked that every series is there")
    }
}

/// The versions last tested.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

impl Lock {
    /// Reads it from `images/manifest.lock`.
    pub(crate) fn read(images: &Path) -> Result<Self> {
        parse(&images.join("manifest.lock"))
    }

    /// Writes `packages` as the tested ones.
    pub(crate) fn write(images: &Path, packages: Vec<Package>) -> Result<()> {
        let path = images.join("manifest.lock");
        let text = toml::to_string(&Self { package: packages })
            .map_err(|error| Error::Manifest { path: path.clone(), message: error.to_string() })?;
        let head =
            "# Written by `cargo xtask images --lock`: the versions last tested, and their checksums.\n\n";
        cache::write(&path, format!("{head}{text}").as_bytes())
    }

    /// Refuses a package of a locked version whose checksum is another one. A version that is not locked is newer or
    /// older than the tested one, which is allowed: apt vouches for it, and reports name it.
    pub(crate) fn check(&self, package: &Package) -> Result<()> {
        let same = |locked: &&Package| {
            (&locked.name, &locked.version, &locked.architecture)
                == (&package.name, &package.version, &package.architecture)
        };
        match self.package.iter().find(same) {
            Some(locked) if locked.sha256 != package.sha256 => Err(Error::Checksum {
                package: package.to_string(),
                found: package.sha256.clone(),
                expected: locked.sha256.clone(),
                source_of_truth: "images/manifest.lock".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    toml::from_str(&cache::read_text(path)?)
        .map_err(|error| Error::Manifest { path: path.to_path_buf(), message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(version: &str, sha256: &str) -> Package {
        Package {
            name: "p".to_owned(),
            version: version.to_owned(),
            architecture: "amd64".to_owned(),
            sha256: sha256.to_owned(),
        }
    }

    #[test]
    fn the_manifest_of_this_repository_is_valid() {
        let manifest = Manifest::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();

        assert!(manifest.stock(Series::V6_12).image.contains("{abi}"));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/manifest.toml")).unwrap();
        std::fs::write(dir.path().join("manifest.toml"), text.replace("source =", "sauce =")).unwrap();

        let error = Manifest::read(dir.path()).unwrap_err().to_string();

        assert!(error.contains("sauce") && error.contains("manifest.toml"), "{error}");
    }

    #[test]
    fn a_locked_version_with_another_checksum_is_refused_and_a_newer_one_is_not() {
        let lock = Lock { package: vec![package("1", "aa")] };

        assert!(lock.check(&package("1", "aa")).is_ok());
        assert!(lock.check(&package("2", "bb")).is_ok());
        assert!(lock.check(&package("1", "bb")).unwrap_err().to_string().contains("manifest.lock"));
    }
}
