//! Files that are no raw images: what they are, and what makes a raw image of them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How a raw image is made of a file that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// `qemu-img convert`, with its name of the format.
    QemuImg(&'static str),
    /// A program that writes to standard output what it unpacks.
    Unpack(&'static str),
    /// It is an archive: the images are in it.
    Archive(&'static str),
    /// `simg2img`.
    Simg2Img,
}

/// A format that is served as what it is, and not as what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// As people call it, with its article.
    name: &'static str,
    tool: Tool,
}

/// A magic number at a place in the file, from its beginning or from the last sector's.
struct Magic {
    at: At,
    bytes: &'static [u8],
    format: Format,
}

#[derive(Clone, Copy)]
enum At {
    Start(usize),
    LastSector(usize),
}

const fn magic(at: At, bytes: &'static [u8], name: &'static str, tool: Tool) -> Magic {
    Magic { at, bytes, format: Format { name, tool } }
}

/// What is looked at of a file's beginning and of its end (bytes).
const SECTOR: usize = 512;

/// The formats of QEMU's `block/*.c`, and those in which images are handed on.
#[rustfmt::skip]
const MAGICS: &[Magic] = &[
    magic(At::Start(0), b"QFI\xfb\0\0\0\x01", "a qcow image", Tool::QemuImg("qcow")),
    magic(At::Start(0), b"QFI\xfb", "a qcow2 image", Tool::QemuImg("qcow2")),
    magic(At::Start(0), b"QED\0", "a QED image", Tool::QemuImg("qed")),
    magic(At::Start(0), b"KDMV", "a VMDK image", Tool::QemuImg("vmdk")),
    magic(At::Start(0), b"COWD", "a VMDK image", Tool::QemuImg("vmdk")),
    magic(At::Start(0), b"# Disk DescriptorFile", "the description of a VMDK image", Tool::QemuImg("vmdk")),
    magic(At::Start(0), b"vhdxfile", "a VHDX image", Tool::QemuImg("vhdx")),
    magic(At::Start(0), b"conectix", "a VHD image", Tool::QemuImg("vpc")),
    magic(At::LastSector(0), b"conectix", "a VHD image of fixed size", Tool::QemuImg("vpc")),
    magic(At::Start(0x40), b"\x7f\x10\xda\xbe", "a VDI image", Tool::QemuImg("vdi")),
    magic(At::Start(0), b"WithoutFreeSpace", "a Parallels image", Tool::QemuImg("parallels")),
    magic(At::Start(0), b"WithouFreSpacExt", "a Parallels image", Tool::QemuImg("parallels")),
    magic(At::Start(0), b"Bochs Virtual HD Image", "a Bochs image", Tool::QemuImg("bochs")),
    magic(At::LastSector(0), b"koly", "an Apple disk image", Tool::QemuImg("dmg")),
    magic(At::Start(0), b"\x3a\xff\x26\xed", "an Android sparse image", Tool::Simg2Img),
    magic(At::Start(0), b"\x1f\x8b\x08", "compressed with gzip", Tool::Unpack("gzip -dc")),
    magic(At::Start(0), b"\xfd7zXZ\0", "compressed with xz", Tool::Unpack("xz -dc")),
    magic(At::Start(0), b"\x28\xb5\x2f\xfd", "compressed with zstd", Tool::Unpack("zstd -dc")),
    magic(At::Start(0), b"\x04\x22\x4d\x18", "compressed with LZ4", Tool::Unpack("lz4 -dc")),
    magic(At::Start(0), b"LZIP", "compressed with lzip", Tool::Unpack("lzip -dc")),
    magic(At::Start(4), b"1AY&SY", "compressed with bzip2", Tool::Unpack("bzip2 -dc")),
    magic(At::Start(0), b"PK\x03\x04", "a ZIP archive", Tool::Archive("unzip")),
    magic(At::Start(0), b"7z\xbc\xaf\x27\x1c", "a 7z archive", Tool::Archive("7z x")),
];

/// A tar archive's magic, and where it is.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// What the file of `size` bytes is, if it is known not to be a raw image. A file system of its own (ISO 9660, squashfs, a partition
/// table) is raw, and so is a tar archive, which guests read from a disk as from a tape; but not one that begins as an appliance
/// (OVA) does.
pub(super) fn recognise(file: &File, size: u64) -> io::Result<Option<Format>> {
    let start = sector(file, 0)?;
    let last = sector(file, size.saturating_sub(SECTOR as u64))?;
    let found = MAGICS.iter().find(|magic| {
        let (sector, at) = match magic.at {
            At::Start(at) => (&start, at),
            At::LastSector(at) => (&last, at),
        };
        has(sector, at, magic.bytes)
    });
    let appliance = || {
        let name = start.split(|byte| *byte == 0).next().unwrap_or_default();
        (has(&start, TAR.0, TAR.1) && name.ends_with(b".ovf"))
            .then_some(Format { name: "an OVA appliance", tool: Tool::Archive("tar xf") })
    };
    Ok(found.map(|magic| magic.format).or_else(appliance))
}

fn has(sector: &[u8], at: usize, bytes: &[u8]) -> bool {
    sector.get(at..).is_some_and(|rest| rest.starts_with(bytes))
}

/// A sector's bytes, fewer at the file's end.
fn sector(file: &File, at: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SECTOR];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

impl Format {
    /// What it is, with its article, or in which way it is compressed.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// The command that makes a raw image of the file at `path`.
    pub fn convert(self, path: &Path) -> String {
        let raw = shell_word(&beside(path));
        let path = shell_word(path);
        match self.tool {
            Tool::QemuImg(format) => format!("qemu-img convert -f {format} -O raw {path} {raw}"),
            Tool::Unpack(program) => format!("{program} {path} > {raw}"),
            Tool::Archive(program) => {
                format!("{program} {path}, and give or convert the image that is in it")
            }
            Tool::Simg2Img => format!("simg2img {path} {raw}"),
        }
    }
}

/// Where the raw image goes: another name than the file's, or the shell would empty it.
fn beside(path: &Path) -> std::path::PathBuf {
    let raw = path.with_extension("raw");
    if raw == path { path.with_extension("raw.img") } else { raw }
}

/// A path as a shell reads it.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    match text.chars().all(plain) && !text.starts_with('-') && !text.is_empty() {
        true => text,
        false if text.starts_with('-') => format!("'./{}'", text.replace('\'', r"'\''")),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn of(content: &[u8]) -> Option<Format> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        recognise(&file, content.len() as u64).unwrap()
    }

    /// A megabyte with `bytes` at `at`.
    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut content = vec![0; 1 << 20];
        content[at..at + bytes.len()].copy_from_slice(bytes);
        content
    }

    #[test]
    fn images_of_other_programs_are_told_by_their_names_and_converted() {
        for (at, bytes, name, command) in [
            (0, &b"QFI\xfb\0\0\0\x03"[..], "a qcow2 image", "qemu-img convert -f qcow2 -O raw d.x d.raw"),
            (0, b"QFI\xfb\0\0\0\x02", "a qcow2 image", "qemu-img convert -f qcow2 -O raw d.x d.raw"),
            (0, b"QFI\xfb\0\0\0\x01", "a qcow image", "qemu-img convert -f qcow -O raw d.x d.raw"),
            (0, b"KDMV", "a VMDK image", "qemu-img convert -f vmdk -O raw d.x d.raw"),
            (0, b"vhdxfile", "a VHDX image", "qemu-img convert -f vhdx -O raw d.x d.raw"),
            (0, b"conectix", "a VHD image", "qemu-img convert -f vpc -O raw d.x d.raw"),
            (0x40, b"\x7f\x10\xda\xbe", "a VDI image", "qemu-img convert -f vdi -O raw d.x d.raw"),
            (
                (1 << 20) - 512,
                b"conectix",
                "a VHD image of fixed size",
                "qemu-img convert -f vpc -O raw d.x d.raw",
            ),
            (0, b"\x1f\x8b\x08", "compressed with gzip", "gzip -dc d.x > d.raw"),
            (0, b"\xfd7zXZ\0", "compressed with xz", "xz -dc d.x > d.raw"),
            (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", "zstd -dc d.x > d.raw"),
        ] {
            let format = of(&with(at, bytes)).unwrap();
            assert_eq!((format.name(), format.convert(Path::new("d.x"))), (name, command.to_owned()));
        }
    }

    #[test]
    fn raw_images_and_file_systems_are_not_recognised() {
        let mut tar = with(257, b"ustar");
        tar[..8].copy_from_slice(b"etc/motd");
        for content in [
            vec![0; 512],
            with(510, b"\x55\xaa"),
            with(512, b"EFI PART"),
            with(0x438, b"\x53\xef"),
            with(0x8001, b"CD001"),
            with(0, b"hsqs"),
            with(0, b"XFSB"),
            with(0, b"LUKS\xba\xbe"),
            with(1, b"QFI\xfb"),
            tar,
        ] {
            assert_eq!(of(&content), None, "{:?}", &content[..8]);
        }
    }

    #[test]
    fn appliance_when_it_is_a_tar_archive_with_a_description_first_is_told() {
        let mut ova = with(257, b"ustar");
        ova[..8].copy_from_slice(b"vm01.ovf");
        assert_eq!(of(&ova).unwrap().name(), "an OVA appliance");
    }

    #[test]
    fn command_when_the_path_is_unusual_can_be_pasted_into_a_shell() {
        let format = of(&with(0, b"QFI\xfb\0\0\0\x03")).unwrap();
        for (path, command) in [
            ("my disk.qcow2", "qemu-img convert -f qcow2 -O raw 'my disk.qcow2' 'my disk.raw'"),
            ("it's", r"qemu-img convert -f qcow2 -O raw 'it'\''s' 'it'\''s.raw'"),
            ("-x", "qemu-img convert -f qcow2 -O raw './-x' './-x.raw'"),
            ("d.raw", "qemu-img convert -f qcow2 -O raw d.raw d.raw.img"),
        ] {
            assert_eq!(format.convert(Path::new(path)), command);
        }
    }
}
