//! Files written in the test; every mistake must name file, line and key.

use super::*;

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["vmlinuz", "initrd", "disk.img"] {
        std::fs::write(dir.path().join(name), [0u8; 512]).unwrap();
    }
    dir
}

fn read(text: &str) -> Result<RunConfig, ConfigError> {
    let dir = folder();
    let path = dir.path().join("guests.toml");
    std::fs::write(&path, text).unwrap();
    load(&path)
}

/// The error's text without the folder, which differs from run to run.
fn refused(text: &str) -> String {
    let error = read(text).unwrap_err();
    let folder = error.file.as_ref().unwrap().parent().unwrap().display().to_string();
    error.to_string().replace(&format!("{folder}/"), "")
}

const MINIMAL: &str = "[[guest]]\nname = \"a\"\nkernel = \"vmlinuz\"\n";

#[test]
fn file_when_minimal_has_the_defaults() {
    let config = read(MINIMAL).unwrap();
    assert_eq!(config.store, StoreSettings::default());
    let guest = &config.guests[0];
    assert_eq!((guest.spec.vcpus, guest.spec.memory.size()), (1, DEFAULT_MEMORY.0));
    assert_eq!(guest.spec.image.cmdline, DEFAULT_CMDLINE);
    assert_eq!(guest.tmem, Some(TmemConfig::default()));
    assert!(guest.spec.image.kernel.ends_with("vmlinuz") && guest.spec.image.kernel.is_absolute());
}

#[test]
fn file_when_full_says_everything() {
    let config = read(
        r#"
[store]
size = "512M"
committed = "64M"
codec = "auto"
eviction = "lirs"
lending = "persistent"
verify = true

[[guest]]
name = "a"
kernel = "vmlinuz"
initrd = "initrd"
cmdline = "quiet"
memory = "64M"
vcpus = 2
disks = ["disk.img,ro"]
balloon = "16M"
start-delay = 1.5
console = "a.log"
transport = "port"
tmem = { cap = "32M", reservation = "8M", weight = 300, pools = ["persistent"], shared = ["00000000-0000-0001-0000-000000000002"] }

[[guest]]
name = "b"
kernel = "vmlinuz"
disks = ["disk.img,ro"]
tmem = { enabled = false }
"#,
    )
    .unwrap();
    let [a, b] = config.guests.as_slice() else { panic!("two guests") };
    let store = StoreSettings {
        size: Size(512 << 20),
        committed: Size(64 << 20),
        codec: CodecChoice::Auto,
        eviction: tmem_core::Eviction::Lirs,
        lending: LendingChoice::Persistent,
        verify: true,
    };
    assert_eq!(config.store, store);
    assert_eq!(
        (a.spec.memory.size(), a.spec.vcpus, a.start_delay),
        (64 << 20, 2, Duration::from_millis(1500))
    );
    assert!(a.spec.disks[0].read_only);
    assert_eq!((a.spec.balloon, b.spec.balloon), (Some(16 << 20), None));
    assert_eq!(a.transport, TransportChoice::Port);
    let tmem = a.tmem.as_ref().unwrap();
    assert_eq!(
        (tmem.cap, &tmem.pools[..], &tmem.shared[..]),
        (Some(Size(32 << 20)), &[PoolKind::Persistent][..], &[[1, 2]][..])
    );
    assert_eq!((tmem.reservation, tmem.weight), (Size(8 << 20), 300));
    assert_eq!(b.tmem, None);
}

#[test]
fn key_when_unknown_is_named_with_file_and_line() {
    let text = refused(&format!("{MINIMAL}memmory = \"64M\"\n"));
    assert!(text.starts_with("guests.toml:4: unknown field `memmory`"), "{text}");
    let text = refused(&format!("[store]\nsise = \"1G\"\n{MINIMAL}"));
    assert!(text.starts_with("guests.toml:2: unknown field `sise`"), "{text}");
}

#[test]
fn share_when_it_cannot_be_is_refused_with_its_key() {
    let text = refused(&format!("{MINIMAL}tmem = {{ weight = 0 }}\n"));
    assert!(text.starts_with("guests.toml:4: weight: a weight is 1 to 10000"), "{text}");
    let text = refused(&format!("{MINIMAL}tmem = {{ cap = \"1M\", reservation = \"2M\" }}\n"));
    assert!(
        text.starts_with("guests.toml:4: reservation: a guest cannot hold more than its cap of 1M"),
        "{text}"
    );
}

#[test]
fn name_when_given_twice_is_named() {
    let text = refused(&format!("{MINIMAL}\n{MINIMAL}"));
    assert_eq!(text, "guests.toml:6: name: another guest is named `a` already");
}

#[test]
fn name_when_it_could_not_be_a_file_name_is_refused() {
    let text = refused("[[guest]]\nname = \"../a\"\nkernel = \"vmlinuz\"\n");
    assert!(text.starts_with("guests.toml:2: name: `../a` is not a name"), "{text}");
}

#[test]
fn file_when_missing_is_named_with_its_key() {
    let text = refused("[[guest]]\nname = \"a\"\nkernel = \"no-such\"\n");
    assert!(text.starts_with("guests.toml:3: kernel: no-such: No such file or directory"), "{text}");
    assert!(text.contains("; give the path of a bzImage"), "{text}");
    let text = refused(&format!("{MINIMAL}initrd = \"nope\"\n"));
    assert!(text.starts_with("guests.toml:4: initrd: nope: No such file"), "{text}");
    let text = refused(&format!("{MINIMAL}disks = [\n  \"disk.img\",\n  \"gone.img,ro\",\n]\n"));
    assert!(text.starts_with("guests.toml:6: disks: gone.img: No such file"), "{text}");
}

#[test]
fn memory_when_zero_or_odd_is_named() {
    for (value, why) in
        [("0", "too small"), ("\"64\"", "too small"), ("67108865", "whole number of 4 KiB pages")]
    {
        let text = refused(&format!("{MINIMAL}memory = {value}\n"));
        assert!(text.starts_with("guests.toml:4: memory: ") && text.contains(why), "{text}");
    }
    let text = refused(&format!("{MINIMAL}memory = \"64Q\"\n"));
    assert!(text.starts_with("guests.toml:4: memory: `64Q` is not a size"), "{text}");
}

#[test]
fn vcpus_and_delays_when_impossible_are_named() {
    for (line, key) in [
        ("vcpus = 0", "vcpus"),
        ("vcpus = 255", "vcpus"),
        ("start-delay = -1.0", "start-delay"),
        ("start-delay = nan", "start-delay"),
    ] {
        let text = refused(&format!("{MINIMAL}{line}\n"));
        assert!(text.starts_with(&format!("guests.toml:4: {key}: ")), "{text}");
    }
}

#[test]
fn balloon_when_wanted_is_there_and_when_impossible_is_named() {
    let balloon = |value: &str| {
        read(&format!("{MINIMAL}balloon = {value}\n")).map(|config| config.guests[0].spec.balloon)
    };
    assert_eq!((balloon("true").unwrap(), balloon("false").unwrap()), (Some(0), None));
    for (value, why) in
        [("\"241M\"", "at most 240M"), ("1", "whole pages"), ("\"a\"", "neither true, false, nor a size")]
    {
        let text = refused(&format!("{MINIMAL}balloon = {value}\n"));
        assert!(text.starts_with("guests.toml:4: balloon: ") && text.contains(why), "{text}");
    }
}

#[test]
fn disk_when_two_guests_write_it_is_refused() {
    let text = refused(
        "[[guest]]\nname = \"a\"\nkernel = \"vmlinuz\"\ndisks = [\"disk.img,ro\"]\n\
         [[guest]]\nname = \"b\"\nkernel = \"vmlinuz\"\ndisks = [\"disk.img\"]\n",
    );
    assert!(text.starts_with("guests.toml:8: disks: ") && text.contains("also a disk of `a`"), "{text}");
}

#[test]
fn console_when_it_would_overwrite_a_disk_or_another_console_is_refused() {
    let text = refused(&format!("{MINIMAL}disks = [\"disk.img\"]\nconsole = \"disk.img\"\n"));
    assert!(text.starts_with("guests.toml:5: console: disk.img is also a disk of `a`"), "{text}");
    let text = refused(&format!("{MINIMAL}console = \"vmlinuz\"\n"));
    assert!(text.starts_with("guests.toml:4: console: vmlinuz is also the kernel of `a`"), "{text}");
    let two = "[[guest]]\nname = \"b\"\nkernel = \"vmlinuz\"\nconsole = \"log\"\n";
    let text = refused(&format!("{MINIMAL}console = \"log\"\n{two}"));
    assert!(text.starts_with("guests.toml:8: console: log is also the console's file of `a`"), "{text}");
}

#[test]
fn value_when_of_the_wrong_type_is_named_by_its_key() {
    let text = refused(&format!("{MINIMAL}vcpus = \"2\"\n"));
    assert!(text.starts_with("guests.toml:4: vcpus: "), "{text}");
    let text = refused(&format!("{MINIMAL}tmem = {{ cap = \"1M\", weight = \"x\" }}\n"));
    assert!(text.starts_with("guests.toml:4: weight: "), "{text}");
}

#[test]
fn list_when_written_without_brackets_is_shown_with_them() {
    let text = refused(&format!("{MINIMAL}disks = \"disk.img\"\n"));
    assert!(text.starts_with("guests.toml:4: disks: "), "{text}");
    assert!(text.ends_with(": write disks = [\"disk.img\"]"), "{text}");
    let text = refused(&format!("{MINIMAL}tmem = {{ weight = 1, pools = \"persistent\" }}\n"));
    assert!(text.ends_with(": write pools = [\"persistent\"]"), "{text}");
}

#[test]
fn tables_when_they_have_too_many_brackets_or_too_few_are_told_how_many() {
    for (text, why) in [
        (
            MINIMAL.replace("[[guest]]", "[guest]"),
            "guests.toml:1: there may be several guests: write [[guest]]",
        ),
        (format!("[[store]]\nsize = \"1G\"\n{MINIMAL}"), "guests.toml:1: there is one store: write [store]"),
        (
            format!("{MINIMAL}[[guest.tmem]]\ncap = \"1M\"\n"),
            "guests.toml:4: a guest has it once: write [guest.tmem]",
        ),
        (format!("{MINIMAL}tmem = true\n"), "guests.toml:4: tmem: "),
        (format!("{MINIMAL}[guest.disks]\na = 1\n"), "expected a sequence"),
        (format!("{MINIMAL}memory = 1.5\n"), "guests.toml:4: memory: 1.5 is not a whole number of bytes"),
        (
            format!("{MINIMAL}memory = \"1.5G\"\n"),
            "guests.toml:4: memory: `1.5G` is not a whole number: write 1536M",
        ),
        (format!("{MINIMAL}memory = 512\n"), "write 512M for MiB"),
        ("guest = 3\n".into(), "guests.toml:1: guest: "),
    ] {
        let said = refused(&text);
        assert!(said.contains(why) && !said.contains("Raw"), "{said}");
    }
}

#[test]
fn file_when_of_an_editor_with_carriage_returns_and_a_byte_order_mark_is_read() {
    let text = format!("\u{feff}{}", MINIMAL.replace('\n', "\r\n"));
    assert_eq!(read(&text).unwrap().guests.len(), 1);
    assert!(refused(&format!("{text}memmory = 1\r\n")).starts_with("guests.toml:4: unknown field `memmory`"));
}

#[test]
fn disks_when_written_with_words_have_them_and_their_serial_numbers_differ() {
    let disks = |list: &str| read(&format!("{MINIMAL}disks = [{list}]\n"));
    let config = disks(r#""disk.img,ro,id=root,queues=2", "initrd,ro""#).unwrap();
    let spec = &config.guests[0].spec;
    assert_eq!([spec.disk_id(0), spec.disk_id(1)], ["root", "disk1"]);
    assert_eq!([spec.disk_queues(0), spec.disk_queues(1)], [2, 1]);
    let text = refused(&format!("{MINIMAL}disks = [\"disk.img,ro,id=disk1\", \"initrd,ro\"]\n"));
    assert!(
        text.starts_with("guests.toml:4: disks: disks 0 and 1 both have the serial number `disk1`"),
        "{text}"
    );
}

#[test]
fn file_when_no_guest_or_no_toml_or_absent_is_refused() {
    assert!(refused("[store]\nsize = \"1G\"\n").contains("no guest is described"));
    assert!(refused("[[guest\n").starts_with("guests.toml:1: "));
    let error = load(Path::new("/no/such.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/no/such.toml: cannot be read"), "{error}");
}

#[test]
fn store_when_it_cannot_be_is_refused_with_its_key() {
    assert_eq!(
        refused(&format!("[store]\nsize = \"1M\"\ncommitted = \"2M\"\n{MINIMAL}")),
        "guests.toml:3: committed: no more than the store's size can be committed"
    );
    assert_eq!(
        refused(&format!("[store]\neviction = \"mru\"\n{MINIMAL}")),
        "guests.toml:2: eviction: there is no eviction policy \"mru\": use lru, lirs, s3-fifo, w-tinylfu or adaptive"
    );
    assert!(refused(&format!("[store]\ncodec = \"lzo\"\n{MINIMAL}")).starts_with("guests.toml:2: codec: "));
    assert!(refused(&format!("[store]\nsize = 0\n{MINIMAL}")).starts_with("guests.toml:2: size: "));
}
