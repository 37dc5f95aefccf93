//! Rules that hold between guests, wherever they were described.

use std::collections::HashMap;
use std::path::PathBuf;

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
            let path = disk.path.canonicalize().unwrap_or_else(|_| disk.path.clone());
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
    Ok(())
}
