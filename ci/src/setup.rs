//! `cargo xtask setup`: says which Debian packages are missing and what each is for, and installs them.

use std::process::Command;

use serde::Serialize;
use tmem_images::Requirement;

use crate::command::{self, CommandError};

/// What `cargo xtask torture` needs beside everything else: programs that its guests run.
const TORTURE: [Requirement; 5] = [
    Requirement { package: "fio", why: "verified I/O in the guests of the torture" },
    Requirement { package: "stress-ng", why: "pressure on the memory of the guests of the torture" },
    Requirement {
        package: "xfsprogs",
        why: "makes, checks and defragments XFS in the guests of the torture",
    },
    Requirement { package: "dmsetup", why: "disks that fail in the guests of the torture" },
    Requirement { package: "bindfs", why: "a file system with a daemon in the guests of the torture" },
];

/// Why the machine could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// Something is missing and was not to be installed.
    #[error("missing: {0}; `cargo xtask setup` installs it")]
    Missing(String),
    /// Nobody here may install packages.
    #[error("cannot install {0}: this needs root, and sudo is not here; run `apt-get install {0}` as root")]
    NotRoot(String),
    /// No apt on this machine.
    #[error(
        "cannot install {0}: there is no apt-get here; install the programs of these Debian packages by hand"
    )]
    NoApt(String),
    /// apt-get failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// One package and its state, for `--json`.
#[derive(Debug, Serialize)]
struct State {
    package: &'static str,
    why: &'static str,
    installed: bool,
}

/// Shows every requirement, with `torture` also its own, and with `install` gets the missing ones.
pub(crate) fn show(install: bool, torture: bool, json: bool) -> Result<(), SetupError> {
    let more: &[Requirement] = if torture { &TORTURE } else { &[] };
    let needs = [tmem_images::REQUIREMENTS, more].concat();
    let states: Vec<State> = needs
        .iter()
        .map(|need| State { package: need.package, why: need.why, installed: is_installed(need.package) })
        .collect();
    if json {
        // A list of plain strings and booleans always serialises.
        println!("{}", serde_json::to_string_pretty(&states).unwrap_or_default());
    } else {
        let rows: Vec<Vec<String>> = states
            .iter()
            .map(|state| {
                let installed = if state.installed { "yes" } else { "MISSING" };
                vec![state.package.into(), installed.into(), state.why.into()]
            })
            .collect();
        print!("{}", crate::table::render(&["package", "installed", "what for"], &rows));
    }
    if install { ensure_all(&needs) } else { missing_is_an_error(&needs) }
}

/// Installs what is missing of what everything needs; silent when nothing is.
pub(crate) fn ensure() -> Result<(), SetupError> {
    ensure_all(tmem_images::REQUIREMENTS)
}

fn ensure_all(needs: &[Requirement]) -> Result<(), SetupError> {
    let missing = missing(needs, is_installed);
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("setup: {} is missing: {}", need.package, need.why);
    }
    let names: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if command::find_program("apt-get").is_none() {
        return Err(SetupError::NoApt(names.join(" ")));
    }
    let sudo = !is_root();
    if sudo && command::find_program("sudo").is_none() {
        return Err(SetupError::NotRoot(names.join(" ")));
    }
    eprintln!("setup: installing {} with apt-get", names.join(" "));
    command::run(apt_get(sudo).args(["update", "-q"]))?;
    command::run(apt_get(sudo).args(["install", "-q", "-y", "--no-install-recommends"]).args(&names))?;
    missing_is_an_error(needs)
}

fn missing_is_an_error(needs: &[Requirement]) -> Result<(), SetupError> {
    let missing = missing(needs, is_installed);
    let names: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if names.is_empty() { Ok(()) } else { Err(SetupError::Missing(names.join(" "))) }
}

fn missing(needs: &[Requirement], is_installed: impl Fn(&str) -> bool) -> Vec<Requirement> {
    needs.iter().filter(|need| !is_installed(need.package)).copied().collect()
}

fn is_installed(package: &str) -> bool {
    command::stdout_of(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn is_root() -> bool {
    command::stdout_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// apt-get that asks nothing, through sudo if need be. `env` sets the variable on the far side of sudo.
fn apt_get(sudo: bool) -> Command {
    let words: &[&str] = if sudo { &["sudo", "env"] } else { &["env"] };
    let mut words = words.iter();
    let mut command = Command::new(words.next().unwrap_or(&"env"));
    command.args(words).args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: [Requirement; 2] =
        [Requirement { package: "a", why: "does this" }, Requirement { package: "b", why: "does that" }];

    #[test]
    fn only_what_is_not_installed_is_missing() {
        assert_eq!(missing(&NEEDS, |package| package == "a"), [NEEDS[1]]);
        assert_eq!(missing(&NEEDS, |_| true), []);
    }

    #[test]
    fn apt_get_asks_nothing_and_goes_through_sudo_only_if_need_be() {
        let line = |sudo| command::line_of(&apt_get(sudo));
        assert_eq!(line(false), "env DEBIAN_FRONTEND=noninteractive apt-get");
        assert_eq!(line(true), "sudo env DEBIAN_FRONTEND=noninteractive apt-get");
    }
}
