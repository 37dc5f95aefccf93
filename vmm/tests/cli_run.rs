//! `tmem run` given what it cannot run: the message names the mistake, the exit status is the documented one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail loudly

use std::path::Path;
use std::process::{Command, Output};

fn tmem(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tmem")).arg("run").args(args).current_dir(dir).output().unwrap()
}

/// Runs in a folder with a file `kernel` and the given `guests.toml`; returns status and standard error.
fn refused(args: &[&str], toml: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kernel"), [0u8; 4096]).unwrap();
    std::fs::write(dir.path().join("guests.toml"), toml).unwrap();
    let output = tmem(dir.path(), args);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn flags_when_a_file_is_missing_name_flag_and_file() {
    let (status, text) = refused(&["--kernel", "no-such"], "");
    assert_eq!(status, Some(1));
    assert!(text.starts_with("tmem: --kernel: no-such: No such file or directory"), "{text}");
    assert!(text.contains("; give the path of a bzImage"), "{text}");
    let (status, text) = refused(&["--kernel", "kernel", "--disk", "gone.img,ro"], "");
    assert_eq!(status, Some(1));
    assert!(text.starts_with("tmem: --disk: gone.img: No such file"), "{text}");
    assert!(text.contains("truncate -s 512M gone.img"), "{text}");
    let (status, text) = refused(&["gone.toml"], "");
    assert_eq!(status, Some(1));
    assert!(text.starts_with("tmem: gone.toml: cannot be read: No such file"), "{text}");
    assert!(text.contains("; give the path of a TOML file"), "{text}");
}

#[test]
fn outputs_when_their_folder_is_missing_name_flag_and_folder() {
    for flag in ["--report", "--stats", "--control"] {
        let (status, text) = refused(&["--kernel", "kernel", flag, "gone/out"], "");
        assert_eq!(status, Some(1));
        assert!(text.starts_with(&format!("tmem: {flag}: gone/out: No such file")), "{text}");
        assert!(text.contains("make its folder (mkdir -p gone)"), "{text}");
    }
}

#[test]
fn vcpus_when_none_or_too_many_name_the_flag() {
    for vcpus in ["0", "500"] {
        let (status, text) = refused(&["--kernel", "kernel", "--vcpus", vcpus], "");
        assert_eq!(status, Some(1));
        assert_eq!(text, "tmem: --vcpus: a guest has 1 to 254 vCPUs\n");
    }
}

#[test]
fn balloon_when_its_size_stands_alone_is_shown_with_the_sign_between() {
    let (status, text) = refused(&["--kernel", "kernel", "--balloon", "32M"], "");
    assert_eq!(status, Some(2));
    assert!(text.contains("`32M` was taken as FILE.toml") && text.contains("--balloon=32M"), "{text}");
}

#[test]
fn help_when_asked_for_shows_defaults_as_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let text = String::from_utf8(tmem(dir.path(), &["--help"]).stdout).unwrap();
    assert!(text.contains("[default: persistent,ephemeral]"), "{text}");
    assert!(text.contains("--disk <FILE[,ro|,rw][,id=SERIAL][,format=raw][,queues=N]>"), "{text}");
}

#[test]
fn memory_when_zero_or_odd_names_the_flag() {
    for (memory, why) in [("0", "too small"), ("33554433", "whole number of 4 KiB pages")] {
        let (status, text) = refused(&["--kernel", "kernel", "--memory", memory], "");
        assert_eq!(status, Some(1));
        assert!(text.starts_with("tmem: --memory: ") && text.contains(why), "{text}");
    }
    let (status, text) = refused(&["--kernel", "kernel", "--memory", "lots"], "");
    assert_eq!(status, Some(2));
    assert!(text.contains("`lots` is not a size"), "{text}");
}

#[test]
fn file_when_wrong_names_file_line_and_key() {
    let guest = "[[guest]]\nname = \"a\"\nkernel = \"kernel\"\n";
    for (toml, expected) in [
        (format!("{guest}colour = 1\n"), "tmem: guests.toml:4: unknown field `colour`"),
        (format!("{guest}{guest}"), "tmem: guests.toml:5: name: another guest is named `a` already"),
        (format!("{guest}initrd = \"nope\"\n"), "tmem: guests.toml:4: initrd: nope: No such file"),
    ] {
        let (status, text) = refused(&["guests.toml"], &toml);
        assert_eq!(status, Some(1));
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn flags_when_mixed_with_a_file_or_absent_are_a_usage_error() {
    assert_eq!(refused(&["guests.toml", "--kernel", "kernel"], "").0, Some(2));
    let (status, text) = refused(&[], "");
    assert!(status == Some(2) && text.contains("give a TOML file or --kernel"), "{text}");
    assert_eq!(refused(&["--kernel", "kernel", "--disk", "a,rx"], "").0, Some(2));
}

#[test]
fn guest_when_the_machine_cannot_run_linux_or_the_kernel_is_none_is_told_why() {
    // `kernel` is no kernel: where KVM works the loader says so, elsewhere the machine is at fault.
    let (status, text) = refused(&["--kernel", "kernel"], "");
    let loader = status == Some(4) && text.matches("kernel is not a Linux kernel").count() == 1;
    let machine = status == Some(1) && (text.contains("/dev/kvm") || text.contains("kvm_pvm"));
    assert!(loader || machine, "{status:?} {text}");
}
