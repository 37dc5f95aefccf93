//! Debian's archive, through apt's own programs: which packages there are, and getting one without installing it.
//!
//! Trust: apt checks the archive's signature when it fetches the package lists and a package's checksum when it
//! downloads; we compute the checksum again, because the file stays in our cache.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::cache::{self, Cache};
use crate::command::{self, Progress};
use crate::error::{Error, Result};
use crate::manifest::StockSpec;

/// One version of one package, as the archive describes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its full version, with epoch and Debian revision.
    pub version: String,
    /// `amd64` or `all`.
    pub architecture: String,
    /// SHA-256 of the .deb file, in hexadecimal.
    pub sha256: String,
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The packages of one stock kernel, all of one version.
#[derive(Debug, Clone)]
pub(crate) struct StockPackages {
    pub(crate) image: Package,
    /// In the order of the manifest.
    pub(crate) headers: Vec<Package>,
}

/// What apt-cache has said, by its arguments. It takes most of a second to say anything, and images ask for the same packages
/// again and again; a process sees one state of the archive until it refreshes the lists.
static SAID: Mutex<BTreeMap<[String; 2], String>> = Mutex::new(BTreeMap::new());

fn said() -> std::sync::MutexGuard<'static, BTreeMap<[String; 2], String>> {
    // A map is whole after every statement.
    SAID.lock().unwrap_or_else(PoisonError::into_inner)
}

fn apt_cache(command: &str, name: &str) -> Result<String> {
    let arguments = [command.to_owned(), name.to_owned()];
    if let Some(text) = said().get(&arguments) {
        return Ok(text.clone());
    }
    let text = command::output(Command::new("apt-cache").args(&arguments))?;
    said().insert(arguments, text.clone());
    Ok(text)
}

/// The newest available version of package `name`.
pub(crate) fn newest(name: &str) -> Result<Package> {
    let text = match apt_cache("show", name) {
        Ok(text) => text,
        Err(Error::Failed { .. }) => return Err(Error::NoPackage { name: name.to_owned() }),
        Err(error) => return Err(error),
    };
    first_record(&text).ok_or_else(|| Error::NoPackage { name: name.to_owned() })
}

/// The newest kernel of a series of which the image and everything for module builds is there, in one version: a
/// module built against other headers than the image's may not load.
pub(crate) fn newest_stock(spec: &StockSpec) -> Result<StockPackages> {
    let pattern = spec.image.replace("{abi}", &spec.abi);
    let prefix = pattern.split('*').next().unwrap_or_default();
    let names = apt_cache("pkgnames", prefix)?;
    let mut abis: Vec<String> = names
        .lines()
        .filter_map(|name| starred(&pattern, name))
        .map(|star| spec.abi.replace('*', star))
        .collect();
    abis.sort_by_key(|abi| std::cmp::Reverse(numbers(abi)));

    for abi in abis {
        let Ok(image) = newest(&spec.image.replace("{abi}", &abi)) else { continue };
        let headers: Result<Vec<Package>> =
            spec.headers.iter().map(|name| newest(&name.replace("{abi}", &abi))).collect();
        if let Ok(headers) = headers
            && headers.iter().all(|package| package.version == image.version)
        {
            return Ok(StockPackages { image, headers });
        }
    }
    Err(Error::NoPackage { name: format!("{pattern} (with its headers, in one version)") })
}

/// Fetches the lists of packages anew.
pub(crate) fn refresh_lists(progress: &Progress, cache: &Cache) -> Result<()> {
    let mut update = command::as_root("apt-get")?;
    update.args(["-q", "update"]);
    command::long(
        progress,
        "refreshing apt's package lists",
        &mut update,
        &cache.root().join("apt-update.log"),
    )?;
    said().clear();
    Ok(())
}

/// The package's .deb file in the cache, downloaded if it is not there, verified in either case.
pub(crate) fn fetch(progress: &Progress, cache: &Cache, package: &Package) -> Result<PathBuf> {
    fetch_all(progress, cache, std::slice::from_ref(package))?;
    Ok(place(cache, package))
}

/// Brings the .deb files of all `packages` to their places in the cache, with one run of apt-get.
pub(crate) fn fetch_all(progress: &Progress, cache: &Cache, packages: &[Package]) -> Result<()> {
    let _only_us = cache.lock(progress, "download")?;
    let mut missing = Vec::new();
    for package in packages {
        let file = place(cache, package);
        if file.exists() {
            match verify(&file, package) {
                Ok(()) => continue,
                // A download that was cut short by a power failure, say. Fetch it again.
                Err(_) => fs::remove_file(&file).map_err(Error::io("remove", &file))?,
            }
        }
        missing.push(package);
    }
    if missing.is_empty() { Ok(()) } else { download(progress, cache, &missing) }
}

/// Where a package's .deb file is kept, under the name that apt-get gives it.
pub(crate) fn place(cache: &Cache, package: &Package) -> PathBuf {
    cache.packages().join(format!(
        "{}_{}_{}.deb",
        package.name,
        package.version.replace(':', "%3a"),
        package.architecture
    ))
}

/// Unpacks a .deb file into a folder, beside what is there; nothing of it runs. The paths in it.
pub(crate) fn unpack(deb: &Path, into: &Path) -> Result<Vec<String>> {
    let listed = command::output(Command::new("dpkg-deb").arg("--vextract").arg(deb).arg(into))?;
    Ok(listed
        .lines()
        .filter_map(|line| Some(line.strip_prefix('.')?.trim_end_matches('/').to_owned()))
        .collect())
}

fn download(progress: &Progress, cache: &Cache, packages: &[&Package]) -> Result<()> {
    let dir = cache.root().join("work/download");
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(Error::io("remove", &dir))?;
    }
    cache::make_dir(&dir)?;
    let what = match packages {
        [package] => package.to_string(),
        packages => format!("{} packages", packages.len()),
    };
    let mut get = Command::new("apt-get");
    // Without the option, root's apt tries to write as user _apt into our folder and complains.
    get.args(["-q", "-o", "APT::Sandbox::User=root", "download"]).current_dir(&dir);
    get.args(packages.iter().map(|package| format!("{}={}", package.name, package.version)));
    match command::long(progress, &format!("downloading {what}"), &mut get, &dir.join("log")) {
        Err(Error::Failed { tail, .. }) => return Err(Error::Download { package: what, tail }),
        other => other?,
    }
    for package in packages {
        let file = place(cache, package);
        let deb = file.file_name().map(|name| dir.join(name)).unwrap_or_default();
        if !deb.exists() {
            return Err(Error::Layout { what: format!("the downloaded .deb file of {package}"), path: dir });
        }
        verify(&deb, package)?;
        fs::rename(&deb, &file).map_err(Error::io("move into place", &file))?;
    }
    fs::remove_dir_all(&dir).map_err(Error::io("remove", &dir))
}

fn verify(file: &Path, package: &Package) -> Result<()> {
    let found = cache::sha256(&cache::read(file)?);
    if found == package.sha256 {
        return Ok(());
    }
    Err(Error::Checksum {
        package: package.to_string(),
        found,
        expected: package.sha256.clone(),
        source_of_truth: "the archive's package list".to_owned(),
    })
}

/// The first record in apt-cache's output that can be downloaded. apt lists the newest version first.
fn first_record(text: &str) -> Option<Package> {
    records(text).next()
}

/// The records in apt-cache's output that can be downloaded: a version that is installed but no longer in the archive has no
/// file there and is skipped.
pub(crate) fn records(text: &str) -> impl Iterator<Item = Package> {
    text.split("\n\n").filter_map(|record| {
        let field = |name: &str| {
            record
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        field("Filename")?;
        Some(Package {
            name: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture")?,
            sha256: field("SHA256")?,
        })
    })
}

/// What `*` stands for when `name` matches `pattern`: digits and dots.
fn starred<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let (head, rest) = pattern.split_once('*')?;
    let star = name.strip_prefix(head)?.strip_suffix(rest)?;
    let plain = !star.is_empty() && star.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then_some(star)
}

/// The numbers in a version, for comparing.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_star_takes_digits_and_dots_only() {
        let pattern = "linux-image-6.12.*+deb12-cloud-amd64-unsigned";

        assert_eq!(starred(pattern, "linux-image-6.12.117+deb12-cloud-amd64-unsigned"), Some("117"));
        assert_eq!(starred(pattern, "linux-image-6.12.117+deb12-cloud-amd64"), None);
        assert_eq!(starred(pattern, "linux-image-6.12.+deb12-cloud-amd64-unsigned"), None);
        assert_eq!(starred("a-*-b", "a-rt1-b"), None);
    }

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(numbers("6.12.117+deb12") > numbers("6.12.99+deb12"));
        assert!(numbers("6.1.0-9") < numbers("6.1.0-56"));
    }

    #[test]
    fn an_installed_version_that_left_the_archive_is_skipped() {
        let text = "Package: p\nVersion: 3\nArchitecture: amd64\nStatus: install ok installed\n\n\
                    Package: p\nVersion: 2\nArchitecture: amd64\nFilename: pool/p.deb\nSHA256: ab\n";

        let package = first_record(text).unwrap();

        assert_eq!((package.version.as_str(), package.sha256.as_str()), ("2", "ab"));
    }

    #[test]
    fn a_file_that_is_not_what_the_archive_says_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.deb");
        fs::write(&file, b"not it").unwrap();
        let package = Package {
            name: "p".to_owned(),
            version: "1".to_owned(),
            architecture: "all".to_owned(),
            sha256: "00".to_owned(),
        };

        let error = verify(&file, &package).unwrap_err().to_string();

        assert!(error.contains("p 1") && error.contains("not used"), "{error}");
    }
}
