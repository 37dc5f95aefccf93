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
    image[68] = 5; // read, execute
    image[72] = 120;
    image[88..96].copy_from_slice(&addr.to_le_bytes());
    image[96..104].copy_from_slice(&filesz.to_le_bytes());
    image[104..112].copy_from_slice(&memsz.to_le_bytes());
    image.resize(120 + filesz as usize, 0x90);
    image
}

/// An ELF with a segment of notes and one of code, both at 2 MiB and from `0x200` on in the file; PVH enters it at `entry`.
fn pvh(entry: u32) -> Vec<u8> {
    let mut image = elf(2 * MIB, 64, 4096);
    image.truncate(120);
    image[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    image[56] = 2;
    image[72..74].copy_from_slice(&0x200u16.to_le_bytes());
    image.resize(0x200, 0);
    image[120] = 4;
    image[128..130].copy_from_slice(&0x210u16.to_le_bytes());
    image[152] = 20;
    image[160] = 20;
    image.extend([0x90; 16]);
    image.extend([&[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0][..], b"Xen\0", &entry.to_le_bytes()].concat());
    image.resize(0x240, 0x90);
    image
}

/// The same for 32-bit processors, with the notes behind the code.
fn pvh_32(entry: u32) -> Vec<u8> {
    let mut image = vec![0u8; 0x200];
    image[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    (image[16], image[18], image[28], image[42], image[44]) = (2, 3, 52, 32, 2);
    let mut header = |at: usize, words: [u32; 8]| {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        image[at..at + 32].copy_from_slice(&bytes);
    };
    let addr = 2 * MIB as u32;
    header(52, [1, 0x200, addr, addr, 64, 4096, 5, 0]);
    header(84, [4, 0x210, 0, 0, 20, 20, 4, 4]);
    image.extend(&pvh(entry)[0x200..]);
    image
}

fn boot(memory: u64, kernel: PathBuf, initrd: Option<PathBuf>) -> Result<(GuestRam, Entry), LoadError> {
    let layout = RamLayout::new(memory).unwrap();
    let ram = GuestRam::new(&layout).unwrap();
    let image = LinuxImage { kernel, initrd, cmdline: "quiet".into() };
    let entry = load_kernel(&ram, &layout, &image, &AcpiConfig { vcpus: 1, virtio_devices: 0 })?;
    Ok((ram, entry))
}

fn refused(memory: u64, kernel: PathBuf, initrd: Option<PathBuf>) -> LoadError {
    boot(memory, kernel, initrd).map(|(_, entry)| entry).unwrap_err()
}

#[test]
fn bzimage_when_whole_is_loaded_at_one_mib_and_entered_at_0x200() {
    let dir = dir();
    let (ram, entry) = boot(32 * MIB, file(&dir, "k", &bzimage(4096)), None).unwrap();
    assert_eq!(entry, Entry::Linux64(0x10_0200));
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
    assert_eq!(entry, Entry::Linux64(16 * MIB));
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
    for len in [4, 63, 119, 121, whole.len() - 1] {
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
    assert!(matches!(error, LoadError::TooLow { addr: 0x7000, .. }), "{error}");
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
fn initrd_when_larger_than_memory_says_how_much_would_do() {
    let dir = dir();
    let initrd = dir.path().join("i");
    std::fs::File::create(&initrd).unwrap().set_len(40 * MIB).unwrap();
    let error = refused(32 * MIB, file(&dir, "k", &bzimage(64)), Some(initrd.clone()));
    assert!(
        error.to_string().contains(
            "of 40 MiB does not fit beside the kernel in a guest of 32 MiB: give it at least 64 MiB"
        ),
        "{error}"
    );
    assert!(boot(64 * MIB, file(&dir, "k", &bzimage(64)), Some(initrd)).is_ok());
}

#[test]
fn initrd_when_no_memory_helps_says_what_is_the_most() {
    let dir = dir();
    let initrd = dir.path().join("i");
    std::fs::File::create(&initrd).unwrap().set_len(3 << 30).unwrap();
    let error = refused(16 << 30, file(&dir, "k", &pvh(2 * MIB as u32)), Some(initrd));
    assert!(error.to_string().contains("takes one of at most 3069 MiB, however much memory"), "{error}");
}

#[test]
fn pvh_kernel_when_whole_is_entered_there_and_finds_its_start_info() {
    let dir = dir();
    let entry = 2 * MIB as u32 + 4;
    for (name, image) in [("64", pvh(entry)), ("32", pvh_32(entry))] {
        let (ram, at) = boot(32 * MIB, file(&dir, name, &image), None).unwrap();
        assert_eq!(at, Entry::Pvh(entry), "{name}");
        let mut magic = [0; 4];
        ram.read(&mut magic, layout::START_INFO_START).unwrap();
        assert_eq!(u32::from_le_bytes(magic), 0x336e_c578);
        let mut code = [0; 1];
        ram.read(&mut code, 2 * MIB).unwrap();
        assert_eq!(code, [0x90]);
    }
}

#[test]
fn elf_when_its_entry_is_in_no_segment_is_refused_with_the_address() {
    let dir = dir();
    let mut plain = elf(16 * MIB, 64, 4096);
    plain[24..32].copy_from_slice(&(16 * MIB + 64).to_le_bytes());
    for (image, entry) in [(plain, 16 * MIB + 64), (pvh(0x20_0040), 0x20_0040), (pvh_32(4), 4)] {
        let error = refused(32 * MIB, file(&dir, "e", &image), None);
        assert!(matches!(error, LoadError::EntryOutside { entry: at, .. } if at == entry), "{error}");
    }
}

#[test]
fn elf_when_a_program_an_object_or_for_another_machine_is_refused_as_that() {
    let dir = dir();
    let program = refused(64 * MIB, std::env::current_exe().unwrap(), None);
    assert!(program.to_string().contains("a program that runs under Linux"), "{program}");
    let mut thread_local = elf(16 * MIB, 64, 4096);
    thread_local[56] = 2;
    thread_local.splice(120..120, [7, 0, 0, 0].into_iter().chain([0; 52]));
    let error = refused(64 * MIB, file(&dir, "static", &thread_local), None);
    assert!(matches!(error, LoadError::Program { .. }), "{error}");
    let mut object = elf(16 * MIB, 64, 4096);
    object[16] = 1;
    let error = refused(64 * MIB, file(&dir, "module.ko", &object), None);
    assert!(matches!(error, LoadError::Object { .. }), "{error}");
    let mut arm = elf(16 * MIB, 64, 4096);
    arm[18] = 183;
    let error = refused(64 * MIB, file(&dir, "arm", &arm), None);
    assert!(error.to_string().contains("is for arm64"), "{error}");
}

#[test]
fn kernel_when_compressed_says_how_to_unpack_it() {
    let dir = dir();
    let error = refused(64 * MIB, file(&dir, "vmlinux.zst", b"\x28\xb5\x2f\xfd and more"), None);
    assert!(
        error.to_string().ends_with("compressed with zstd: unpack it first: zstd -dc < FILE > kernel"),
        "{error}"
    );
}

#[test]
fn kernel_when_built_for_above_three_gib_is_not_told_to_take_more_memory() {
    let dir = dir();
    let error = refused(16 << 30, file(&dir, "high", &elf(3 << 30, 64, 64)), None);
    assert!(error.to_string().contains("no guest has any from 3072 to 4096 MiB"), "{error}");
}

#[test]
fn command_line_when_acpi_is_off_names_the_devices_of_the_machine() {
    let dir = dir();
    let layout = RamLayout::new(32 * MIB).unwrap();
    let ram = GuestRam::new(&layout).unwrap();
    let kernel = file(&dir, "k", &bzimage(64));
    let image = LinuxImage { kernel, initrd: None, cmdline: "acpi=off".into() };
    load_kernel(&ram, &layout, &image, &AcpiConfig { vcpus: 2, virtio_devices: 1 }).unwrap();
    let mut cmdline = [1u8; 46];
    ram.read(&mut cmdline, layout::CMDLINE_START).unwrap();
    assert_eq!(&cmdline, b"acpi=off virtio_mmio.device=4096@0xd0000000:5\0");
    let mut table = [0; 4];
    ram.read(&mut table, layout::MP_TABLE_START).unwrap();
    assert_eq!(&table, b"_MP_");
}

#[test]
fn seed_when_two_guests_are_loaded_differs() {
    let dir = dir();
    let kernel = file(&dir, "k", &bzimage(64));
    let [first, second] = [(); 2].map(|()| {
        let (ram, _) = boot(32 * MIB, kernel.clone(), None).unwrap();
        let mut data = [0u8; 48];
        ram.read(&mut data, layout::SETUP_DATA_START).unwrap();
        assert_eq!(data[..16], [0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 32, 0, 0, 0]);
        data
    });
    assert_ne!(first, second);
}

#[test]
fn initrd_when_missing_is_named() {
    let dir = dir();
    let error = refused(32 * MIB, file(&dir, "k", &bzimage(64)), Some("/no/initrd".into()));
    assert!(error.to_string().contains("/no/initrd"), "{error}");
}
