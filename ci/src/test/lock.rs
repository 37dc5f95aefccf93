//! One version of each rust-vmm crate: two of them mean two incompatible `GuestMemory` traits or two sets of ioctl structs,
//! which the compiler reports far from the cause. (Cloud Hypervisor has such a check; so do we.)

use std::collections::BTreeMap;

/// The crates of which Cargo.lock may hold one version.
pub(super) const SINGLE: [&str; 9] = [
    "kvm-ioctls",
    "kvm-bindings",
    "vm-memory",
    "vmm-sys-util",
    "linux-loader",
    "vm-superio",
    "virtio-queue",
    "virtio-bindings",
    "acpi_tables",
];

/// A crate of [`SINGLE`] that is locked other than once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LockError {
    /// Several versions.
    #[error("Cargo.lock holds {} versions of {name} ({}); `cargo tree -i {name}` says who asks for each", .versions.len(), .versions.join(", "))]
    Several {
        /// The crate.
        name: &'static str,
        /// Its versions.
        versions: Vec<String>,
    },
}

/// Checks the text of a Cargo.lock; returns the versions found, or the first crate that is there more than once.
pub(super) fn check(text: &str) -> Result<BTreeMap<&'static str, String>, LockError> {
    let packages = packages(text);
    let mut found = BTreeMap::new();
    for name in SINGLE {
        let versions: Vec<String> = packages
            .iter()
            .filter(|(package, _)| *package == name)
            .map(|(_, version)| (*version).into())
            .collect();
        match versions.as_slice() {
            [] => {}
            [version] => drop(found.insert(name, version.clone())),
            _ => return Err(LockError::Several { name, versions }),
        }
    }
    Ok(found)
}

/// Names and versions, in order. Cargo writes `name` and `version` as the first two keys of every `[[package]]`.
fn packages(text: &str) -> Vec<(&str, &str)> {
    let value = |line: &'static str, block: &str| -> Option<(usize, usize)> {
        let start = block.find(line)? + line.len();
        let length = block.get(start..)?.find('"')?;
        Some((start, start + length))
    };
    text.split("[[package]]")
        .skip(1)
        .filter_map(|block| {
            let (name_start, name_end) = value("\nname = \"", block)?;
            let (version_start, version_end) = value("\nversion = \"", block)?;
            Some((block.get(name_start..name_end)?, block.get(version_start..version_end)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(entries: &[(&str, &str)]) -> String {
        entries
            .iter()
            .map(|(name, version)| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n"))
            .collect()
    }

    #[test]
    fn one_version_each_passes() {
        let text = lock(&[("vm-memory", "0.18.0"), ("serde", "1.0.0"), ("serde", "0.9.0")]);
        assert_eq!(check(&text).unwrap(), BTreeMap::from([("vm-memory", "0.18.0".to_owned())]));
    }

    #[test]
    fn two_versions_of_a_rust_vmm_crate_are_named() {
        let text = lock(&[("vm-memory", "0.16.1"), ("kvm-ioctls", "0.25.1"), ("vm-memory", "0.18.0")]);
        let error = check(&text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Cargo.lock holds 2 versions of vm-memory (0.16.1, 0.18.0); `cargo tree -i vm-memory` says who asks for each"
        );
    }
}
