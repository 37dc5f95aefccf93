//! Rules that hold between guests, wherever they were described.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::RunConfig;

/// Which guest breaks a rule, by which key, and how.
type Violation = (usize, &'static str, String);

/// Finds the first guest that cannot run beside those before it.
///
/// # Errors
/// The violation.
pub fn check(config: &RunConfig) -> Result<(), Violation> {
    let mut names = HashMap::new();
    let mut files: HashMap<PathBuf, (bool, String)> = HashMap::new();
    for (index, guest) in config.guests.iter().enumerate() {
        let name = &guest.spec.name;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            let why = format!("`{name}` is not a name: use letters, digits, `-`, `_` and `.`");
            return Err((index, "name", why));
        }
        if names.insert(name.clone(), index).is_some() {
            return Err((index, "name", format!("another guest is named `{name}` already")));
        }
        for disk in &guest.spec.disks {
            let path = real(&disk.path);
            if let Some((read_only, other)) = files.get(&path)
                && !(*read_only && disk.read_only)
            {
                let why = format!(
                    "{} is also a disk of `{other}`, and one of them may write: add `,ro` to both, or copy it",
                    disk.path.display()
                );
                return Err((index, "disks", why));
            }
            files.insert(path, (disk.read_only, name.clone()));
        }
    }
    // A console's file is made new, so it must be nothing that anybody reads.
    for guest in &config.guests {
        let image = &guest.spec.image;
        for path in image.initrd.iter().chain([&image.kernel]) {
            files.insert(real(path), (true, guest.spec.name.clone()));
        }
    }
    for (index, guest) in config.guests.iter().enumerate() {
        if let Some(path) = &guest.console
            && let Some((_, other)) = files.insert(real(path), (false, guest.spec.name.clone()))
        {
            let why = format!("{} is already a file of `{other}`", path.display());
            return Err((index, "console", why));
        }
    }
    Ok(())
}

/// What a path leads to, even if the last part of it does not exist yet.
fn real(path: &Path) -> PathBuf {
    let of_parent = || {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Some(parent.unwrap_or(Path::new(".")).canonicalize().ok()?.join(path.file_name()?))
    };
    path.canonicalize().ok().or_else(of_parent).unwrap_or_else(|| path.into())
}
