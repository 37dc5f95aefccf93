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
    assert_eq!(text, "tmem: --kernel: no-such: No such file or directory (os error 2)\n");
    let (status, text) = refused(&["--kernel", "kernel", "--disk", "gone.img,ro"], "");
    assert_eq!(status, Some(1));
    assert!(text.starts_with("tmem: --disk: gone.img: No such file"), "{text}");
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
    assert_eq!(refused(&[], "").0, Some(2));
    assert_eq!(refused(&["--kernel", "kernel", "--disk", "a,rx"], "").0, Some(2));
}

#[test]
fn guest_when_the_machine_cannot_run_linux_or_the_kernel_is_none_is_told_why() {
    // `kernel` is no kernel: where KVM works the loader says so, elsewhere the machine is at fault.
    let (status, text) = refused(&["--kernel", "kernel"], "");
    let loader = status == Some(4) && text.contains("kernel is not a Linux kernel");
    let machine = status == Some(1) && (text.contains("/dev/kvm") || text.contains("kvm_pvm"));
    assert!(loader || machine, "{status:?} {text}");
}
