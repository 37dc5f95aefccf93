//! Kernels made in the test: the smallest files that each rule can be shown with.

use super::*;

const MIB: u64 = 1 << 20;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A bzImage of one setup sector and `code` bytes of 0xcc.
fn bzimage(code: usize) -> Vec<u8> {
    let mut image = vec![0u8; 1024];
    image[0x1f1] = 1;
    image[0x1f4..0x1f8].copy_from_slice(&((code / 16) as u32).to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    image[0x211] = 1; // LOADED_HIGH
    image[0x214..0x218].copy_from_slice(&0x10_0000u32.to_le_bytes());
    image[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    image[0x236] = 1; // XLF_KERNEL_64
    image[0x258..0x260].copy_from_slice(&(16 * MIB).to_le_bytes());
    image[0x260..0x264].copy_from_slice(&(8 * MIB as u32).to_le_bytes());
    image.resize(1024 + code, 0xcc);
    image
}

/// An ELF with one segment of `filesz` bytes at `addr`.
fn elf(addr: u64, filesz: u64, memsz: u64) -> Vec<u8> {
    let mut image = vec![0u8; 120];
    image[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    image[16] = 2;
    image[18] = 62;
    image[20] = 1;
    image[24..32].copy_from_slice(&addr.to_le_bytes());
    image[32] = 64;
    image[52] = 64;
    image[54] = 56;
    image[56] = 1;
    image[64] = 1;
    image[72] = 120;
    image[88..96].copy_from_slice(&addr.to_le_bytes());
    image[96..104].copy_from_slice(&filesz.to_le_bytes());
    image[104..112].copy_from_slice(&memsz.to_le_bytes());
    image.resize(120 + filesz as usize, 0x90);
    image
}

fn boot(memory: u64, kernel: PathBuf, initrd: Option<PathBuf>) -> Result<(GuestRam, u64), LoadError> {
    let layout = RamLayout::new(memory).unwrap();
    let ram = GuestRam::new(&layout).unwrap();
    let image = LinuxImage { kernel, initrd, cmdline: "quiet".into() };
    let entry = load_linux(&ram, &layout, &image, &AcpiConfig { vcpus: 1, virtio_devices: 0 })?;
    Ok((ram, entry))
}

fn refused(memory: u64, kernel: PathBuf, initrd: Option<PathBuf>) -> LoadError {
    boot(memory, kernel, initrd).map(|(_, entry)| entry).unwrap_err()
}

#[test]
fn bzimage_when_whole_is_loaded_at_one_mib_and_entered_at_0x200() {
    let dir = dir();
    let (ram, entry) = boot(32 * MIB, file(&dir, "k", &bzimage(4096)), None).unwrap();
    assert_eq!(entry, 0x10_0200);
    let mut code = [0u8; 4];
    ram.read(&mut code, 0x10_0000).unwrap();
    assert_eq!(code, [0xcc; 4]);
    let mut cmdline = [1u8; 6];
    ram.read(&mut cmdline, layout::CMDLINE_START).unwrap();
    assert_eq!(&cmdline, b"quiet\0");
}

#[test]
fn elf_when_whole_is_loaded_where_it_says() {
    let dir = dir();
    let (ram, entry) = boot(32 * MIB, file(&dir, "k", &elf(16 * MIB, 64, 4096)), None).unwrap();
    assert_eq!(entry, 16 * MIB);
    let mut code = [0u8; 1];
    ram.read(&mut code, 16 * MIB + 63).unwrap();
    assert_eq!(code, [0x90]);
}

#[test]
fn kernel_when_missing_is_named() {
    let error = refused(32 * MIB, "/no/such/vmlinuz".into(), None);
    assert!(error.to_string().starts_with("cannot open /no/such/vmlinuz: "), "{error}");
}

#[test]
fn kernel_when_a_directory_is_refused() {
    let dir = dir();
    let error = refused(32 * MIB, dir.path().into(), None);
    assert!(matches!(error, LoadError::NotAFile { .. }), "{error}");
}

#[test]
fn kernel_when_not_one_is_refused() {
    let dir = dir();
    for (name, bytes) in [("empty", &b""[..]), ("text", &b"#!/bin/sh\n"[..]), ("zeros", &[0u8; 4096][..])] {
        let error = refused(32 * MIB, file(&dir, name, bytes), None);
        assert!(matches!(error, LoadError::NotAKernel { .. }), "{name}: {error}");
    }
}

#[test]
fn kernel_when_truncated_anywhere_is_refused() {
    let dir = dir();
    let whole = bzimage(4096);
    for len in [0x206, 0x267, 1024, whole.len() - 16] {
        let error = refused(32 * MIB, file(&dir, "bz", &whole[..len]), None);
        assert!(matches!(error, LoadError::Truncated { .. }), "bzImage cut to {len}: {error}");
    }
    let whole = elf(16 * MIB, 64, 64);
    for len in [4, 63, 119, whole.len() - 1] {
        let error = refused(32 * MIB, file(&dir, "elf", &whole[..len]), None);
        assert!(matches!(error, LoadError::Truncated { .. }), "ELF cut to {len}: {error}");
    }
}

#[test]
fn kernel_when_32_bit_is_refused() {
    let dir = dir();
    let mut bz = bzimage(64);
    bz[0x236] = 0;
    let mut small = elf(16 * MIB, 64, 64);
    small[4] = 1;
    for bytes in [bz, small] {
        let error = refused(32 * MIB, file(&dir, "k", &bytes), None);
        assert!(matches!(error, LoadError::No64BitEntry { .. }), "{error}");
    }
}

#[test]
fn kernel_when_larger_than_memory_says_how_much_it_needs() {
    let dir = dir();
    let error = refused(16 * MIB, file(&dir, "k", &bzimage(64)), None);
    assert!(error.to_string().contains("up to 24 MiB to start, the guest has 16 MiB"), "{error}");
    let error = refused(16 * MIB, file(&dir, "e", &elf(4 * MIB, 64, 20 * MIB)), None);
    assert!(matches!(error, LoadError::KernelTooLarge { .. }), "{error}");
}

#[test]
fn elf_when_over_the_boot_tables_or_beyond_all_numbers_is_refused() {
    let dir = dir();
    let error = refused(16 * MIB, file(&dir, "low", &elf(0x7000, 64, 64)), None);
    assert!(matches!(error, LoadError::NotAKernel { .. }), "{error}");
    let error = refused(16 * MIB, file(&dir, "high", &elf(u64::MAX - 10, 64, 64)), None);
    assert!(matches!(error, LoadError::Truncated { .. }), "{error}");
}

#[test]
fn initrd_when_it_fits_ends_at_the_top_of_memory() {
    let dir = dir();
    let initrd = file(&dir, "i", &[7; 5000]);
    let (ram, _) = boot(32 * MIB, file(&dir, "k", &bzimage(64)), Some(initrd)).unwrap();
    let mut head = [0u8; 2];
    ram.read(&mut head, 32 * MIB - 8192).unwrap();
    assert_eq!(head, [7, 7]);
}

#[test]
fn initrd_when_larger_than_memory_says_what_is_free() {
    let dir = dir();
    let initrd = dir.path().join("i");
    std::fs::File::create(&initrd).unwrap().set_len(40 * MIB).unwrap();
    let error = refused(32 * MIB, file(&dir, "k", &bzimage(64)), Some(initrd));
    let text = error.to_string();
    assert!(text.contains("40960 KiB does not fit: 8192 KiB are free"), "{text}");
}

#[test]
fn initrd_when_missing_is_named() {
    let dir = dir();
    let error = refused(32 * MIB, file(&dir, "k", &bzimage(64)), Some("/no/initrd".into()));
    assert!(error.to_string().contains("/no/initrd"), "{error}");
}
