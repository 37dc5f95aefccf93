//! A guest boots under QEMU's emulation, without the VMM of this repository: what its init promises is then a matter of
//! the image alone. Skipped where QEMU or the small kernel is not there yet.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test stops at what it did not expect

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tmem_images::{Cache, GuestSpec, Images, KernelId, Progress};

/// What a boot needs, or why there is none.
fn images() -> Result<Images, String> {
    if Command::new("qemu-system-x86_64").arg("--version").stdout(Stdio::null()).status().is_err() {
        return Err("no qemu-system-x86_64; `cargo xtask setup` installs it".to_owned());
    }
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cache = Cache::from_env().map_err(|error| error.to_string())?;
    let images = Images::open(&repo, cache, Progress::stderr()).map_err(|error| error.to_string())?;
    match images.is_cached(KernelId::Small) {
        Ok(true) => Ok(images),
        Ok(false) => Err("the small kernel is not in the cache; `cargo xtask images` makes it".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The reports of a guest of 64 MB with an empty disk of 128 MB and this command line; `None` if it cannot run here.
fn boot(words: &str) -> Option<Vec<Value>> {
    let images = images().inspect_err(|reason| println!("skipped: {reason}")).ok()?;
    let kernel = images.kernel(KernelId::Small).unwrap();
    let spec = GuestSpec { driver: false, ..GuestSpec::new(KernelId::Small) };
    let initramfs = images.guest_initramfs(&spec).unwrap();
    let disk = tempfile::NamedTempFile::new().unwrap();
    disk.as_file().set_len(128 << 20).unwrap();

    // A machine without ACPI: with it, QEMU's microvm has no timer that the kernel could calibrate against unless KVM
    // is there. Without ACPI it cannot be powered off, so guests reboot, by a triple
    // fault (it has no other means), which `-no-reboot` makes an exit.
    let mut qemu = Command::new("timeout");
    qemu.args([
        "300",
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-M",
        "microvm,acpi=off,pit=on,pic=on,isa-serial=on",
    ]);
    qemu.args(["-cpu", "max", "-m", "64", "-nographic", "-no-reboot", "-nic", "none"]);
    qemu.arg("-kernel").arg(&kernel.bzimage).arg("-initrd").arg(&initramfs);
    qemu.arg("-append").arg(format!("console=ttyS0 quiet panic=-1 reboot=t guest.end=reboot {words}"));
    qemu.arg("-drive").arg(format!("id=d,if=none,format=raw,file={}", disk.path().display()));
    qemu.args(["-device", "virtio-blk-device,drive=d"]);
    let output = qemu.stdin(Stdio::null()).output().unwrap();

    let console = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{console}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "QEMU did not end by itself: {}", output.status);
    let reports = console.lines().filter_map(|line| line.trim_end().strip_prefix("TMEM-REPORT "));
    Some(reports.map(|report| serde_json::from_str(report).unwrap()).collect())
}

fn event<'a>(reports: &'a [Value], name: &str) -> &'a Value {
    reports.iter().find(|report| report["event"] == name).unwrap()
}

#[test]
fn a_guest_swaps_to_its_disk_and_every_page_comes_back() {
    let Some(reports) = boot(
        "guest.modules=virtio_mmio,virtio_blk guest.swap=/dev/vda \
         guest.run=tmem-workload,run,--memory,56M,--passes,1,--pattern,zipf,--report",
    ) else {
        return;
    };

    let run = event(&reports, "run");
    assert_eq!((&run["pages"], &run["corrupt"]), (&Value::from(14336), &Value::from(0)));
    let swapped = run["pswpout"].as_u64().unwrap();
    assert!(swapped > 0);
    // A page is eight sectors; the swap header is written before the run.
    assert!(run["disks"]["vda"]["sectors_written"].as_u64().unwrap() >= swapped * 8);
    assert!(event(&reports, "counters")["pswpout"].as_u64().unwrap() >= swapped);
    assert_eq!(reports.last().unwrap(), &serde_json::json!({"event": "end", "status": 0}));
}

#[test]
fn the_programs_exit_status_is_passed_through() {
    // A space would end the word on the kernel command line; the shell puts one in.
    let Some(reports) = boot("guest.run=sh,-c,exit${IFS}7") else { return };

    assert_eq!(reports.last().unwrap(), &serde_json::json!({"event": "end", "status": 7}));
}

#[test]
fn a_module_that_is_nowhere_ends_the_guest_with_its_name() {
    let Some(reports) = boot("guest.modules=virtio_blk,virtio_bulk") else { return };

    let what = event(&reports, "error")["what"].as_str().unwrap();
    assert!(what.starts_with("no module virtio_bulk:"), "{what}");
    assert_eq!(event(&reports, "end")["status"], 125);
}

#[test]
fn a_word_that_init_does_not_know_ends_the_guest_with_its_name() {
    let Some(reports) = boot("guest.swop=/dev/vda") else { return };

    assert_eq!(event(&reports, "error")["what"], "unknown parameter guest.swop");
    assert_eq!(event(&reports, "end")["status"], 125);
}

#[test]
fn a_missing_swap_device_ends_the_guest_with_its_name() {
    let Some(reports) = boot("guest.swap=/dev/vdz guest.run=tmem-workload,run") else { return };

    assert_eq!(event(&reports, "error")["what"], "no block device /dev/vdz for swap");
    assert_eq!(event(&reports, "end")["status"], 125);
    assert!(reports.iter().all(|report| report["event"] != "run"));
}
