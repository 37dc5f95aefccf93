//! `tmem run` given files that it must not write, must not share, or cannot serve: nothing is run, and every file is as it was.
#![allow(clippy::unwrap_used)] // a test may fail loudly

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tmem_vmm::disk::{self, DiskError, DiskSpec};

/// A folder with a kernel, a disk that has other names, too, and a description of a guest that has it.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("kernel"), [0u8; 4096]).unwrap();
    fs::write(at("precious.img"), [7u8; 4096]).unwrap();
    fs::hard_link(at("precious.img"), at("hard")).unwrap();
    symlink("precious.img", at("soft")).unwrap();
    symlink(".", at("here")).unwrap();
    symlink("to-come", at("dangling")).unwrap();
    fs::write(at("report.json"), "the earlier one").unwrap();
    let guest = "[[guest]]\nname = \"a\"\nkernel = \"kernel\"\n";
    fs::write(at("guests.toml"), format!("{guest}disks = [\"precious.img\"]\n")).unwrap();
    dir
}

fn tmem(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tmem"));
    command.arg("run").args(args).current_dir(dir).stdin(Stdio::null());
    command
}

/// Runs what must be refused; what it says.
fn refused(dir: &Path, args: &[&str]) -> String {
    let output = tmem(dir, args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    said
}

/// Everything in the folder, with its content.
fn content(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap_or_default())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn outputs_when_they_are_an_input_by_any_name_are_refused_and_destroy_nothing() {
    let dir = folder();
    let before = content(dir.path());
    let guest = ["--kernel", "kernel", "--disk", "precious.img"];
    for flag in ["--report", "--stats", "--console", "--control"] {
        for name in
            ["precious.img", "./precious.img", "here/precious.img", "hard", "soft", "kernel", "here/kernel"]
        {
            let said = refused(dir.path(), &[&guest[..], &[flag, name]].concat());
            assert!(said.starts_with(&format!("tmem: {flag}: ")), "{said}");
            assert!(said.contains(" of `guest`, and would be overwritten: choose another file"), "{said}");
            assert_eq!(content(dir.path()), before, "{flag} {name}");
        }
    }
}

#[test]
fn outputs_when_two_go_to_one_file_are_refused_even_if_it_is_not_there_yet() {
    let dir = folder();
    let before = content(dir.path());
    let kernel = ["--kernel", "kernel", "--report"];
    for (one, flag, other) in [
        ("new", "--stats", "new"),
        ("new", "--control", "./new"),
        ("new", "--stats", "here/new"),
        ("to-come", "--stats", "dangling"),
        ("dangling", "--stats", "to-come"),
        ("report.json", "--stats", "here/report.json"),
    ] {
        let said = refused(dir.path(), &[&kernel[..], &[one, flag, other]].concat());
        assert!(said.contains("is also that of --report, and would be overwritten"), "{said}");
        assert_eq!(content(dir.path()), before, "{one} {flag} {other}");
    }
    let said = refused(dir.path(), &["--kernel", "kernel", "--report", "new", "--console", "new"]);
    assert!(said.contains("is also the console's file of `guest`"), "{said}");
}

#[test]
fn streams_when_they_are_a_file_are_not_written_by_others() {
    let dir = folder();
    let open = |name: &str| File::options().append(true).open(dir.path().join(name)).unwrap();
    let mut command = tmem(dir.path(), &["--kernel", "kernel", "--report", "report.json"]);
    assert_eq!(command.stdout(open("report.json")).status().unwrap().code(), Some(1));
    let mut command = tmem(dir.path(), &["--kernel", "kernel", "--disk", "precious.img"]);
    assert_eq!(command.stdout(open("precious.img")).status().unwrap().code(), Some(1));
    assert_eq!(fs::read(dir.path().join("report.json")).unwrap(), b"the earlier one");
    assert_eq!(fs::read(dir.path().join("precious.img")).unwrap(), [7; 4096]);
}

#[test]
fn consoles_when_they_would_be_another_file_are_refused() {
    let dir = folder();
    fs::rename(dir.path().join("precious.img"), dir.path().join("a.log")).unwrap();
    let before = content(dir.path());
    let args = ["--kernel", "kernel", "--name", "a", "--disk", "a.log", "--console-dir", "."];
    let said = refused(dir.path(), &args);
    assert!(said.starts_with("tmem: --console-dir: ./a.log is also a disk of `a`"), "{said}");
    assert_eq!(content(dir.path()), before);
    let guest = "[[guest]]\nname = \"a\"\nkernel = \"kernel\"\nconsole = \"here/guests.toml\"\n";
    fs::write(dir.path().join("guests.toml"), guest).unwrap();
    let said = refused(dir.path(), &["guests.toml"]);
    assert!(said.contains("console: ") && said.contains("is also the description of the guests"), "{said}");
    assert_eq!(fs::read_to_string(dir.path().join("guests.toml")).unwrap(), guest);
}

#[test]
fn report_when_nothing_is_run_leaves_the_earlier_one() {
    let dir = folder();
    let qcow2 = [&b"QFI\xfb\0\0\0\x03"[..], &[0; 504]].concat();
    fs::write(dir.path().join("d.qcow2"), qcow2).unwrap();
    let before = content(dir.path());
    let args =
        ["--kernel", "kernel", "--disk", "d.qcow2", "--report", "report.json", "--stats", "stats.jsonl"];
    let said = refused(dir.path(), &args);
    assert!(said.contains("disk d.qcow2 is a qcow2 image"), "{said}");
    assert!(said.contains("`qemu-img convert -f qcow2 -O raw d.qcow2 d.raw`"), "{said}");
    assert!(said.contains("insist with `d.qcow2,format=raw`"), "{said}");
    assert_eq!(content(dir.path()), before);
    // Nothing is wrong with it then: what is refused is the kernel, or the machine.
    let output = tmem(dir.path(), &["--kernel", "kernel", "--disk", "d.qcow2,format=raw"]).output().unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("qcow2"));
}

#[test]
fn outputs_when_they_are_no_files_are_told_what_to_do() {
    let dir = folder();
    assert!(Command::new("mkfifo").arg(dir.path().join("fifo")).status().unwrap().success());
    for (name, why) in [
        ("fifo", "nobody reads it: start its reader first"),
        ("here", "it is a folder: give the name of a file in it"),
    ] {
        let said = refused(dir.path(), &["--kernel", "kernel", "--report", name]);
        assert!(said.starts_with(&format!("tmem: --report: {name}: ")) && said.contains(why), "{said}");
    }
}

#[test]
fn disk_when_another_session_has_it_is_refused_by_every_name() {
    let dir = folder();
    let held = disk::open(&[DiskSpec::new(dir.path().join("precious.img"))]).unwrap();
    for name in ["precious.img", "hard", "soft,ro", "here/precious.img"] {
        let said = refused(dir.path(), &["--kernel", "kernel", "--disk", name]);
        assert!(said.contains("is in use: another guest, of tmem or another VMM"), "{said}");
    }
    drop(held);
    let reader = [DiskSpec { read_only: true, ..DiskSpec::new(dir.path().join("soft")) }];
    let _readers = loop {
        match disk::open(&reader) {
            // A program that another test is just starting has all of our descriptors until it runs, this one's lock with them.
            Err(DiskError::Used { .. }) => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    assert!(refused(dir.path(), &["--kernel", "kernel", "--disk", "hard"]).contains("is in use"));
    let output = tmem(dir.path(), &["--kernel", "kernel", "--disk", "hard,ro"]).output().unwrap();
    assert!(!String::from_utf8(output.stderr).unwrap().contains("is in use"), "readers share it");
}

#[test]
fn disk_when_two_guests_of_a_session_write_it_by_two_names_is_refused() {
    let dir = folder();
    let guest = |name: &str, disk: &str| {
        format!("[[guest]]\nname = \"{name}\"\nkernel = \"kernel\"\ndisks = [\"{disk}\"]\n")
    };
    for (one, other, wrong) in
        [("precious.img", "hard", true), ("soft", "here/hard,ro", true), ("soft,ro", "hard,ro", false)]
    {
        fs::write(dir.path().join("guests.toml"), guest("a", one) + &guest("b", other)).unwrap();
        let output = tmem(dir.path(), &["guests.toml"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            said.contains("guests.toml:8: disks: ") && said.contains("also a disk of `a`"),
            wrong,
            "{said}"
        );
    }
}
