//! Where guests run: on this machine if Linux boots on its KVM, else in the lab.

use std::path::Path;
use std::process::{Command, Stdio};

use tmem_images::{GuestSpec, KernelId};

use super::DemoError;
use super::consoles::{Consoles, MODE_LINE};
use super::measure::Mode;
use super::scenario::{Boot, DISK_MIB, Guest, disk, lab_disks, toml};
use crate::doctor::Ability;
use crate::lab::{Added, Job, Lab, place_of};

/// Memory of the emulated host in MiB: four guests, their disks, the store and what the host itself needs.
const LAB_MEMORY_MIB: u32 = 2048;

/// Guests that ran; the VMM's reports are in the folder given, as disk.json and tmem.json.
pub(crate) struct Ran {
    /// `native` or `lab`.
    pub(crate) place: &'static str,
    /// Why there.
    pub(crate) why: String,
    /// The guests' consoles.
    pub(crate) consoles: Consoles,
    /// Packages that the images were made of.
    pub(crate) packages: Vec<String>,
}

/// Runs `guests` in both modes, here if possible and not forbidden.
pub(super) fn run(guests: &[Guest], lab: bool, dir: &Path) -> Result<Ran, DemoError> {
    crate::setup::ensure()?;
    let here = if lab {
        Ability { works: false, why: "as --lab asks".into() }
    } else {
        crate::doctor::examine(&crate::build::native_tmem()?)?.linux_guests
    };
    if here.works {
        eprintln!("demo: running on this machine: {}", here.why);
        return native(guests, here.why, dir);
    }
    eprintln!("demo: running in the lab: {}", here.why);
    in_lab(&Lab::prepare()?, guests, &Mode::BOTH, here.why, dir)
}

/// Runs `guests` in the lab, in each of `modes`.
pub(crate) fn in_lab(
    lab: &Lab,
    guests: &[Guest],
    modes: &[Mode],
    why: String,
    dir: &Path,
) -> Result<Ran, DemoError> {
    let mut kernels: Vec<KernelId> = guests.iter().map(|guest| guest.kernel).collect();
    kernels.sort_unstable();
    kernels.dedup();
    let mut boots = Vec::new();
    for &kernel in &kernels {
        boots.push((kernel, lab.boot_file(kernel)?));
    }
    let boot = |kernel: KernelId| {
        let place = place_of(kernel);
        let file = boots.iter().find(|(id, _)| *id == kernel).map_or("bzImage", |(_, file)| file);
        Boot { kernel: format!("{place}/{file}").into(), initrd: format!("{place}/initramfs").into() }
    };
    let mut job = Job {
        guests: kernels.clone(),
        memory_mib: LAB_MEMORY_MIB,
        out: dir.join("out"),
        progress: true,
        ..Job::new(&script(guests, modes))
    };
    for mode in modes {
        let from = dir.join(format!("{}.toml", mode.name()));
        let text = toml(guests, *mode, boot, Path::new("/tmp"));
        std::fs::write(&from, text).map_err(DemoError::file(&from))?;
        job.added.push(Added { to: format!("/lab/{}.toml", mode.name()), from });
    }
    let mut consoles = Consoles::new();
    let outcome = lab.run(&job, &mut consoles)?;
    if outcome.status != 0 {
        consoles.keep(dir)?;
        return Err(DemoError::Run { status: outcome.status, said: consoles.others().into() });
    }
    for mode in modes {
        let name = format!("{}.json", mode.name());
        let (from, to) = (job.out.join(&name), dir.join(&name));
        std::fs::rename(&from, &to).map_err(DemoError::file(&from))?;
    }
    Ok(Ran { place: "lab", why, consoles, packages: lab.packages() })
}

/// What the lab's shell does: each mode starts with empty disks.
fn script(guests: &[Guest], modes: &[Mode]) -> String {
    let disks = lab_disks(guests);
    let modes: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
    format!(
        "for mode in {}; do echo \"{MODE_LINE}$mode\"; rm -f {disks}; truncate -s {DISK_MIB}M {disks}; \
         tmem run /lab/$mode.toml --report /out/$mode.json || exit; done",
        modes.join(" ")
    )
}

fn native(guests: &[Guest], why: String, dir: &Path) -> Result<Ran, DemoError> {
    let images = crate::images::open()?;
    let tmem = crate::build::native_tmem()?;
    let id = guests.first().map_or(KernelId::Small, |guest| guest.kernel);
    let boot = Boot {
        kernel: images.kernel(id)?.boot_file().into(),
        initrd: images.guest_initramfs(&GuestSpec::new(id))?,
    };
    let mut consoles = Consoles::new();
    for mode in Mode::BOTH {
        for guest in guests {
            empty_disk(&disk(dir, &guest.name))?;
        }
        let config = dir.join(format!("{}.toml", mode.name()));
        let text = toml(guests, mode, |_| boot.clone(), dir);
        std::fs::write(&config, text).map_err(DemoError::file(&config))?;
        consoles.start(mode);
        let report = dir.join(format!("{}.json", mode.name()));
        run_natively(&tmem, &config, &report, &mut consoles)?;
    }
    for guest in guests {
        let path = disk(dir, &guest.name);
        std::fs::remove_file(&path).map_err(DemoError::file(&path))?;
    }
    let packages = images.used().iter().map(ToString::to_string).collect();
    Ok(Ran { place: "native", why, consoles, packages })
}

/// A sparse file of the disk's size, with nothing in it.
fn empty_disk(path: &Path) -> Result<(), DemoError> {
    let file = std::fs::File::create(path).map_err(DemoError::file(path))?;
    file.set_len(u64::from(DISK_MIB) << 20).map_err(DemoError::file(path))
}

fn run_natively(tmem: &Path, config: &Path, report: &Path, consoles: &mut Consoles) -> Result<(), DemoError> {
    let mut command = Command::new(tmem);
    command.arg("run").arg(config).arg("--report").arg(report).stdin(Stdio::null()).stdout(Stdio::piped());
    let line = crate::command::line_of(&command);
    let start = |source| crate::command::CommandError::Start { line, source };
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut stdout) = child.stdout.take() {
        std::io::copy(&mut stdout, consoles).map_err(DemoError::file(tmem))?;
    }
    let status = child.wait().map_err(DemoError::file(tmem))?;
    if status.success() {
        return Ok(());
    }
    Err(DemoError::Run { status: status.code().unwrap_or(-1), said: consoles.others().into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::scenario;

    #[test]
    fn each_mode_starts_with_empty_disks_and_stops_the_script_if_it_fails() {
        let mut guests = scenario::demo(KernelId::Small);
        guests.truncate(2);
        assert_eq!(
            script(&guests, &Mode::BOTH),
            "for mode in disk tmem; do echo \"demo: mode $mode\"; rm -f /tmp/g1.img /tmp/g2.img; \
             truncate -s 256M /tmp/g1.img /tmp/g2.img; \
             tmem run /lab/$mode.toml --report /out/$mode.json || exit; done"
        );
    }
}
