//! Rules that hold between guests, wherever they were described.

use std::collections::HashMap;
use std::path::Path;

use super::{Claims, RunConfig, Use};

/// Which guest breaks a rule, by which key, and how.
pub type Violation = (usize, &'static str, String);

/// Finds the first guest that cannot run beside those before it, or beside the file that describes them; else tells which files they
/// use.
///
/// # Errors
/// The violation.
pub fn check(config: &RunConfig, description: Option<&Path>) -> Result<Claims, Violation> {
    names(config)?;
    disk_ids(config)?;
    files(config, description)
}

fn names(config: &RunConfig) -> Result<(), Violation> {
    let mut names = HashMap::new();
    for (index, guest) in config.guests.iter().enumerate() {
        let name = &guest.spec.name;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            let why = format!("`{name}` is not a name: use letters, digits, `-`, `_` and `.`");
            return Err((index, "name", why));
        }
        if names.insert(name.clone(), index).is_some() {
            return Err((index, "name", format!("another guest is named `{name}` already")));
        }
    }
    Ok(())
}

/// A guest tells its disks apart by these.
fn disk_ids(config: &RunConfig) -> Result<(), Violation> {
    for (index, guest) in config.guests.iter().enumerate() {
        let mut ids = HashMap::new();
        for disk in 0..guest.spec.disks.len() {
            let id = guest.spec.disk_id(disk);
            if let Some(other) = ids.insert(id.clone(), disk) {
                let why = format!(
                    "disks {other} and {disk} both have the serial number `{id}`: give one another `id=`"
                );
                return Err((index, "disks", why));
            }
        }
    }
    Ok(())
}

/// What is read comes first, so that it is what is written that is at fault.
fn files(config: &RunConfig, description: Option<&Path>) -> Result<Claims, Violation> {
    let mut claims = Claims::default();
    if let Some(path) = description {
        claims.add(path, Use::Input, "the description of the guests").map_err(|why| (0, "name", why))?;
    }
    for (index, guest) in config.guests.iter().enumerate() {
        let (name, image) = (&guest.spec.name, &guest.spec.image);
        let mut input = |path: &Path, key, what| {
            let who = format!("{what} of `{name}`");
            claims.add(path, Use::Input, &who).map_err(|why| (index, key, why))
        };
        input(&image.kernel, "kernel", "the kernel")?;
        if let Some(initrd) = &image.initrd {
            input(initrd, "initrd", "the initial ramdisk")?;
        }
        for disk in &guest.spec.disks {
            let of = if disk.read_only { Use::ReadOnlyDisk } else { Use::Disk };
            let who = format!("a disk of `{name}`");
            claims.add(&disk.path, of, &who).map_err(|why| (index, "disks", why))?;
        }
    }
    for (index, guest) in config.guests.iter().enumerate() {
        if let Some(path) = &guest.console {
            let who = format!("the console's file of `{}`", guest.spec.name);
            claims.add(path, Use::Output, &who).map_err(|why| (index, "console", why))?;
        }
    }
    Ok(claims)
}
