//! A disk as people write it: `FILE`, and words behind commas.

use std::path::PathBuf;

use crate::devices::virtio::block::{ID_LEN, QUEUES_MAX};
use crate::disk::DiskSpec;

/// How a disk is written, for people.
pub const DISK_SYNTAX: &str = "FILE[,ro|,rw][,id=SERIAL][,format=raw][,queues=N]";

/// Reads a disk. A file's name may have commas in it if at least one of the words stands behind it.
///
/// # Errors
/// When the file's name is missing, or a word is none of those that there are.
pub fn parse_disk(text: &str) -> Result<DiskSpec, String> {
    let mut disk = DiskSpec::new("");
    let mut rest = text;
    while let Some((before, word)) = rest.rsplit_once(',') {
        match set(&mut disk, word)? {
            true => rest = before,
            false if rest == text => {
                return Err(format!(
                    "`{word}` behind the comma is no part of {DISK_SYNTAX} (a file with a comma in its name needs one of these \
                     words behind it)"
                ));
            }
            false => break,
        }
    }
    if rest.is_empty() {
        return Err(format!("a disk needs a file: {DISK_SYNTAX}"));
    }
    if let Some((key @ ("file" | "path"), file)) = rest.split_once('=')
        && !std::path::Path::new(rest).exists()
    {
        return Err(format!("the file's name stands alone here: leave out `{key}=` before {file}"));
    }
    Ok(DiskSpec { path: PathBuf::from(rest), ..disk })
}

/// Takes one word; false when it is none.
fn set(disk: &mut DiskSpec, word: &str) -> Result<bool, String> {
    match word.split_once('=') {
        None if word == "ro" => disk.read_only = true,
        None if word == "rw" => disk.read_only = false,
        Some(("format", "raw")) => disk.raw = true,
        Some(("format", other)) => {
            return Err(format!(
                "format={other}: disks are raw here; make a raw image (qemu-img convert -O raw), and leave `format` out"
            ));
        }
        Some(("id" | "serial", id)) => disk.id = Some(check_id(id)?),
        Some(("queues", queues)) => {
            let queues = queues.parse().ok().filter(|queues| (1..=QUEUES_MAX).contains(queues));
            disk.queues =
                Some(queues.ok_or_else(|| format!("queues={}: a disk has 1 to {QUEUES_MAX}", after(word)))?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn after(word: &str) -> &str {
    word.split_once('=').map_or("", |(_, value)| value)
}

/// Looks whether a guest can have a file of this name in /dev/disk/by-id.
fn check_id(id: &str) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if id.is_empty() || id.len() > ID_LEN || !id.bytes().all(good) {
        return Err(format!("id={id}: a serial number has 1 to {ID_LEN} letters, digits, `-`, `_` or `.`"));
    }
    Ok(id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_when_written_with_words_have_what_they_say() {
        let disk = DiskSpec::new;
        assert_eq!(parse_disk("a.img"), Ok(disk("a.img")));
        assert_eq!(parse_disk("a.img,ro"), Ok(DiskSpec { read_only: true, ..disk("a.img") }));
        assert_eq!(parse_disk("a,b.img,rw"), Ok(disk("a,b.img")));
        let all =
            DiskSpec { read_only: true, raw: true, id: Some("root-1".into()), queues: Some(4), ..disk("a") };
        assert_eq!(parse_disk("a,ro,id=root-1,format=raw,queues=4"), Ok(all.clone()));
        assert_eq!(parse_disk("a,queues=4,format=raw,serial=root-1,ro"), Ok(all));
    }

    #[test]
    fn disks_when_written_wrongly_are_told_how() {
        for (text, why) in [
            ("a.img,rx", "`rx` behind the comma is no part of FILE[,ro|,rw]"),
            (",ro", "a disk needs a file"),
            ("", "a disk needs a file"),
            ("a,format=qcow2", "disks are raw here"),
            ("a,queues=0", "a disk has 1 to 16"),
            ("a,queues=x", "a disk has 1 to 16"),
            ("a,id=", "1 to 20 letters"),
            ("a,id=a b", "1 to 20 letters"),
            ("a,id=123456789012345678901", "1 to 20 letters"),
            ("file=a.img,format=raw", "leave out `file=` before a.img"),
            ("path=a.img", "leave out `path=` before a.img"),
        ] {
            let error = parse_disk(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
