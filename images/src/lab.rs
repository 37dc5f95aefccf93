//! The initramfs of the lab's host, the emulated machine with virtualization: the modules of KVM, what the caller
//! adds, and one command to run. What its init prints is described in `images/README.md`.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::guest;
use crate::initramfs::Initramfs;
use crate::manifest::Series;
use crate::modules::Module;

/// The init of the lab's host.
const INIT: &str = include_str!("../lab/init");

/// The kernel that the lab's host runs: KVM_XEN is on in 6.12, off in 6.1.
pub(crate) const SERIES: Series = Series::V6_12;

/// What the lab's host loads before the command runs.
pub(crate) const MODULES: [&str; 1] = ["kvm-amd"];

/// What the lab's host holds and does.
#[derive(Debug, Clone, Default)]
pub struct LabSpec {
    /// Files: path in the lab, file of this machine. Programs bring the libraries that they need.
    pub files: Vec<(String, PathBuf)>,
    /// The program to run and its arguments.
    pub command: Vec<String>,
    /// Environment variables for it.
    pub env: Vec<(String, String)>,
    /// Further kernel modules, from the manifest's list.
    pub modules: Vec<String>,
}

/// Puts it together.
pub(crate) fn initramfs(spec: &LabSpec, busybox: &Path, modules: &[Module]) -> Result<Initramfs> {
    let mut root = guest::base(busybox, modules)?;
    let order: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    root.file("/init", 0o755, INIT)?.file("/modules/order", 0o644, order.join("\n") + "\n")?.file(
        "/lab/command",
        0o755,
        script(spec),
    )?;
    for (path, file) in &spec.files {
        root.program(path, file)?;
    }
    Ok(root)
}

/// The command as a shell script that becomes it.
fn script(spec: &LabSpec) -> String {
    let mut script = "#!/bin/sh\n".to_owned();
    for (name, value) in &spec.env {
        script.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    let words: Vec<String> = spec.command.iter().map(|word| quoted(word)).collect();
    script.push_str(&format!("exec {}\n", words.join(" ")));
    script
}

/// A word that no shell takes apart.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_command_arrives_word_by_word() {
        let words = ["/usr/bin/printf", "%s|", "a b", "it's", "$HOME", ""];
        let spec = LabSpec { command: words.map(str::to_owned).to_vec(), ..LabSpec::default() };

        let out = Command::new("sh").arg("-c").arg(script(&spec)).output().unwrap();

        assert_eq!(String::from_utf8(out.stdout).unwrap(), "a b|it's|$HOME||");
    }

    #[test]
    fn the_environment_is_set_for_it() {
        let spec = LabSpec {
            command: ["sh", "-c", "printf %s \"$X\""].map(str::to_owned).to_vec(),
            env: vec![("X".to_owned(), "a'b".to_owned())],
            ..LabSpec::default()
        };

        let out = Command::new("sh").arg("-c").arg(script(&spec)).output().unwrap();

        assert_eq!(String::from_utf8(out.stdout).unwrap(), "a'b");
    }
}
