//! The TOML file of `tmem serve FILE.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::file::{RawStore, RawTmem, Reader, read};
use super::{ConfigError, FileRole, Size, StoreSettings, TmemConfig};
use crate::devices::virtio::block::QUEUES_MAX;
use crate::disk::DiskSpec;
use crate::serve::LARGEST;

/// Queues of a disk that says nothing else.
const DEFAULT_QUEUES: u16 = 4;
/// What a size is a multiple of: a page.
const BLOCK: u64 = 4096;

/// A store and who is served out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeConfig {
    /// The store.
    pub store: StoreSettings,
    /// Guests, at least one; no two have one name.
    pub guests: Vec<ServedGuest>,
}

/// A guest of another virtual machine monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedGuest {
    /// Its name in reports.
    pub name: String,
    /// Its rights.
    pub tmem: TmemConfig,
    /// Its disks, at least one.
    pub disks: Vec<ServedDisk>,
}

/// A disk to swap to.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedDisk {
    /// Where its front end connects.
    pub socket: PathBuf,
    /// Bytes that the guest sees.
    pub size: Size,
    /// Where blocks go that the store refuses.
    pub backing: Option<DiskSpec>,
    /// Most queues that a front end may use.
    pub queues: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawServe {
    #[serde(default)]
    store: RawStore,
    #[serde(default)]
    guest: Vec<RawServed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawServed {
    name: Spanned<String>,
    tmem: Option<RawTmem>,
    #[serde(default)]
    disk: Vec<RawDisk>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawDisk {
    socket: Spanned<PathBuf>,
    size: Spanned<Size>,
    backing: Option<Spanned<PathBuf>>,
    queues: Option<Spanned<u16>>,
}

/// Reads a configuration. Relative paths in it count from the file's own folder.
///
/// # Errors
/// [`ConfigError`] naming file, line and key.
pub fn load(path: &Path) -> Result<ServeConfig, ConfigError> {
    let text = read(path)?;
    let reader = Reader { path, text: &text };
    let raw: RawServe = reader.parse()?;
    if raw.guest.is_empty() {
        return Err(reader.error(None, Some("guest"), "nobody is served: add a [[guest]] table"));
    }
    let store = reader.store(raw.store)?;
    let mut config = ServeConfig { store, guests: Vec::new() };
    for raw in raw.guest {
        let guest = guest(&reader, &config, raw)?;
        config.guests.push(guest);
    }
    Ok(config)
}

fn guest(reader: &Reader<'_>, before: &ServeConfig, raw: RawServed) -> Result<ServedGuest, ConfigError> {
    let (at, name) = (raw.name.span(), raw.name.into_inner());
    if before.guests.iter().any(|other| other.name == name) {
        let why = format!("there is another guest `{name}`: give each a name of its own");
        return Err(reader.error(Some(at), Some("name"), why));
    }
    if raw.disk.is_empty() {
        return Err(reader.error(Some(at), Some("disk"), "it has no disk: add a [[guest.disk]] table"));
    }
    let Some(tmem) = reader.tmem(raw.tmem.unwrap_or_default())? else {
        return Err(reader.error(
            Some(at),
            Some("enabled"),
            "a guest that is served has tmem: leave it out, or the guest",
        ));
    };
    let mut guest = ServedGuest { name, tmem, disks: Vec::new() };
    for raw in raw.disk {
        let socket = reader.resolve(raw.socket.get_ref());
        let others = before.guests.iter().chain([&guest]).flat_map(|guest| &guest.disks);
        if others.into_iter().any(|other| other.socket == socket) {
            let why = "another disk has this socket: give each one of its own";
            return Err(reader.error(Some(raw.socket.span()), Some("socket"), why));
        }
        let size = *raw.size.get_ref();
        if size.0 == 0 || !size.0.is_multiple_of(BLOCK) || size.0 > LARGEST {
            let why =
                format!("a disk has whole pages of 4 KiB and at most {}: such as \"4G\"", Size(LARGEST));
            return Err(reader.error(Some(raw.size.span()), Some("size"), why));
        }
        let queues = match raw.queues {
            Some(n) if !(1..=QUEUES_MAX).contains(n.get_ref()) => {
                let why = format!("a disk has 1 to {QUEUES_MAX} queues");
                return Err(reader.error(Some(n.span()), Some("queues"), why));
            }
            Some(n) => n.into_inner(),
            None => DEFAULT_QUEUES,
        };
        let backing = raw.backing.map(|path| reader.file("backing", FileRole::Disk, &path)).transpose()?;
        guest.disks.push(ServedDisk { socket, size, backing: backing.map(DiskSpec::new), queues });
    }
    Ok(guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.toml");
        std::fs::write(&path, text).unwrap();
        load(&path).unwrap_err().to_string()
    }

    const DISK: &str = "[[guest]]\nname = \"a\"\n[[guest.disk]]\nsocket = \"a.sock\"\nsize = ";

    #[test]
    fn file_when_right_is_read_with_paths_from_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serve.toml");
        std::fs::write(dir.path().join("b.img"), [0; 4096]).unwrap();
        std::fs::write(
            &path,
            format!("[store]\nsize = \"64M\"\n{DISK}\"4K\"\nbacking = \"b.img\"\nqueues = 2\n"),
        )
        .unwrap();
        let config = load(&path).unwrap();
        let [guest] = config.guests.as_slice() else { panic!("{config:?}") };
        let [disk] = guest.disks.as_slice() else { panic!("{guest:?}") };
        assert_eq!((disk.socket.clone(), disk.size, disk.queues), (dir.path().join("a.sock"), Size(4096), 2));
        assert_eq!(disk.backing.as_ref().unwrap().path, dir.path().join("b.img"));
    }

    #[test]
    fn file_when_wrong_is_told_with_line_and_key() {
        for (text, line, words) in [
            (String::new(), "serve.toml", "nobody is served"),
            (format!("{DISK}\"5000\""), "serve.toml:5", "whole pages"),
            (format!("{DISK}\"2T\""), "serve.toml:5", "at most"),
            (format!("{DISK}\"1M\"\nqueues = 99"), "serve.toml:6", "1 to 16 queues"),
            (format!("{DISK}\"1M\"\nbacking = \"no.img\""), "serve.toml:6", "no.img"),
            (format!("{DISK}\"1M\"\n{DISK}\"1M\""), "serve.toml:7", "another guest `a`"),
            ("[[guest]]\nname = \"a\"".into(), "serve.toml:2", "no disk"),
            (
                format!("{DISK}\"1M\"").replace("[[guest.disk]]", "[guest.disk]"),
                "serve.toml:3",
                "write [[guest.disk]]",
            ),
        ] {
            let told = refusal(&text);
            assert!(told.contains(line) && told.contains(words), "{told}");
        }
    }
}
