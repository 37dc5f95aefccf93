//! Packages with all that they depend on, as apt would install them on a machine that has nothing yet.

use std::collections::BTreeMap;
use std::process::Command;

use crate::apt::{self, Package};
use crate::command;
use crate::error::{Error, Result};

/// `names` and all that they depend on, without what is only recommended, in the newest available versions.
pub(crate) fn of(names: &[String]) -> Result<Vec<Package>> {
    let mut simulate = Command::new("apt-get");
    // No state: nothing counts as installed, whatever this machine has.
    simulate.args(["-q", "-s", "-o", "Dir::State::status=/dev/null", "-o", "APT::Install-Recommends=0"]);
    let simulated = match command::output(simulate.arg("install").args(names)) {
        Err(Error::Failed { .. }) => return Err(Error::NoPackage { name: names.join(", or one below ") }),
        other => other?,
    };
    let versions: BTreeMap<&str, &str> = simulated.lines().filter_map(installed).collect();
    let shown = command::output(Command::new("apt-cache").arg("show").args(versions.keys()))?;
    let described: BTreeMap<(String, String), Package> = apt::records(&shown)
        .map(|package| ((package.name.clone(), package.version.clone()), package))
        .collect();
    let package = |(name, version): (&&str, &&str)| {
        let key = ((*name).to_owned(), (*version).to_owned());
        described.get(&key).cloned().ok_or_else(|| Error::NoPackage { name: format!("{name} {version}") })
    };
    versions.iter().map(package).collect()
}

/// Name and version in a line of apt-get's simulation: `Inst libc6 (2.36-9 Debian:12.0/stable [amd64])`.
fn installed(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    // An update would name the old version in brackets first.
    let name = name.split([' ', ':']).next()?;
    Some((name, rest.split([' ', ')']).next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_installation_names_package_and_version() {
        let line = "Inst libc6 (2.36-9+deb12u14 Debian:12.15/oldstable, Debian-Security:12 [amd64]) []";

        assert_eq!(installed(line), Some(("libc6", "2.36-9+deb12u14")));
        assert_eq!(
            installed("Inst zlib1g:amd64 [1:1.2] (1:1.3 Debian:12 [amd64])"),
            Some(("zlib1g", "1:1.3"))
        );
        assert_eq!(installed("Conf libc6 (2.36-9 Debian:12 [amd64])"), None);
    }
}
