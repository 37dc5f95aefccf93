//! An image between a guest of ours and one of QEMU's: whoever writes has it alone, both ways. Skipped where there is no QEMU.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may fail loudly

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tmem_vmm::disk::{self, DiskError, DiskSpec, Image};

const QEMU: &str = "qemu-system-x86_64";

/// A QEMU whose guest has `disk` and never runs.
struct Qemu(Child);

impl Qemu {
    /// Starts it; what it says on standard error if it does not get the disk.
    fn start(disk: &Path, read_only: bool) -> Result<Self, String> {
        let mode = if read_only { "on" } else { "off" };
        let drive = format!("file={},format=raw,if=none,id=d,readonly={mode}", disk.display());
        let mut child = Command::new(QEMU)
            .args(["-S", "-M", "microvm", "-nodefaults", "-display", "none", "-qmp", "stdio"])
            .args(["-drive", &drive, "-device", "virtio-blk-device,drive=d"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It answers once it has everything, or ends.
        let _ = child.stdin.as_mut().unwrap().write_all(b"{\"execute\":\"qmp_capabilities\"}\n");
        let answered = BufReader::new(child.stdout.as_mut().unwrap())
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("\"return\""));
        if answered {
            return Ok(Self(child));
        }
        let mut said = String::new();
        child.stderr.as_mut().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        Err(said)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(path: &Path, read_only: bool) -> Result<Vec<Image>, DiskError> {
    disk::open(&[DiskSpec { read_only, ..DiskSpec::new(path) }])
}

/// Who has an image decides who else gets it.
fn image() -> Option<tempfile::NamedTempFile> {
    if Command::new(QEMU).arg("--version").output().is_err() {
        println!("skipped: {QEMU} is not installed");
        return None;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(1 << 20).unwrap();
    Some(file)
}

#[test]
fn image_when_qemu_has_it_is_ours_only_if_both_read() {
    let Some(file) = image() else { return };
    for (theirs, mine, allowed) in
        [(false, false, false), (false, true, false), (true, false, false), (true, true, true)]
    {
        let _qemu = Qemu::start(file.path(), theirs).expect("nobody else has it");
        assert_eq!(ours(file.path(), mine).is_ok(), allowed, "QEMU reads only: {theirs}, we: {mine}");
    }
}

#[test]
fn image_when_we_have_it_is_qemu_s_only_if_both_read() {
    let Some(file) = image() else { return };
    for (theirs, mine, allowed) in
        [(false, false, false), (false, true, false), (true, false, false), (true, true, true)]
    {
        let _ours = ours(file.path(), mine).expect("nobody else has it");
        let qemu = Qemu::start(file.path(), theirs);
        assert_eq!(qemu.is_ok(), allowed, "QEMU reads only: {theirs}, we: {mine}");
        if let Err(said) = qemu {
            assert!(said.contains("lock"), "{said}");
        }
    }
}
