//! Where guests run: on this machine if Linux boots on its KVM, else in the lab.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use tmem_images::{GuestSpec, KernelId};

use super::DemoError;
use super::consoles::Consoles;
use super::measure::Mode;
use super::scenario::{Boot, DISK_MIB, Guest, disk, disk_names, lab_disks, toml};
use crate::doctor::Ability;
use crate::files::{self, FileError};
use crate::lab::{Added, Job, Lab, place_of};

/// Memory of an emulated host in MiB: four guests, their disks, the store and what the host itself needs.
const LAB_MEMORY_MIB: u32 = 2048;

/// Guests that ran; the VMM's [`report`]s and [`stats`] are in the folder given.
pub(crate) struct Ran {
    /// `native` or `lab`.
    pub(crate) place: &'static str,
    /// Why there.
    pub(crate) why: String,
    /// The guests' consoles, in each mode.
    pub(crate) consoles: Vec<Consoles>,
    /// Packages that the images were made of.
    pub(crate) packages: Vec<String>,
}

/// The VMM's report of `mode`.
pub(super) fn report(dir: &Path, mode: Mode) -> PathBuf {
    dir.join(format!("{}.json", mode.name()))
}

/// The VMM's statistics of `mode`, a line a second.
pub(super) fn stats(dir: &Path, mode: Mode) -> PathBuf {
    dir.join(format!("{}.jsonl", mode.name()))
}

/// Runs `guests` in both modes, here if possible and not forbidden.
pub(super) fn run(guests: &[Guest], lab: bool, dir: &Path) -> Result<Ran, DemoError> {
    crate::setup::ensure()?;
    let here = if lab {
        Ability { works: false, why: "as --lab asks".into() }
    } else {
        crate::doctor::examine(&crate::build::tmem()?)?.linux_guests
    };
    if here.works {
        eprintln!("demo: running on this machine: {}", here.why);
        return native(guests, here.why, dir);
    }
    let why = without_advice(&here.why).to_owned();
    eprintln!("demo: running in the lab: {why}");
    in_lab(&Lab::prepare()?, guests, &Mode::BOTH, why, dir)
}

/// Why Linux guests do not run here, without the doctor's advice to use the lab, which is followed already.
fn without_advice(why: &str) -> &str {
    let before = why.find("cargo xtask lab").and_then(|at| why.get(..at)).unwrap_or_default();
    let reason = before.rfind([';', ':']).and_then(|end| why.get(..end));
    reason.unwrap_or(why)
}

/// Runs `guests` in the lab, in each of `modes`: every mode in a lab of its own, all at once, because an emulated host
/// keeps one CPU busy.
pub(crate) fn in_lab(
    lab: &Lab,
    guests: &[Guest],
    modes: &[Mode],
    why: String,
    dir: &Path,
) -> Result<Ran, DemoError> {
    let consoles = thread::scope(|scope| {
        let runs: Vec<_> =
            modes.iter().map(|&mode| scope.spawn(move || mode_in_lab(lab, guests, mode, dir))).collect();
        runs.into_iter()
            .map(|run| run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Ran { place: "lab", why, consoles, packages: lab.packages() })
}

fn mode_in_lab(lab: &Lab, guests: &[Guest], mode: Mode, dir: &Path) -> Result<Consoles, DemoError> {
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
    let from = dir.join(format!("{}.toml", mode.name()));
    files::write(&from, toml(guests, mode, boot, Path::new("/tmp")))?;
    let job = Job {
        guests: kernels,
        memory_mib: LAB_MEMORY_MIB,
        out: dir.join("out").join(mode.name()),
        progress: Some(format!("lab ({})", mode.name())),
        added: vec![Added { to: "/lab/guests.toml".into(), from }],
        ..Job::new(&script(guests))
    };
    let mut consoles = Consoles::new(mode, guests);
    let outcome = lab.run(&job, &mut consoles);
    consoles.keep(dir)?;
    let outcome = outcome?;
    if outcome.status != 0 {
        return Err(DemoError::Run { status: outcome.status, said: consoles.others().into() });
    }
    for (name, to) in [("report.json", report(dir, mode)), ("stats.jsonl", stats(dir, mode))] {
        let from = job.out.join(name);
        std::fs::rename(&from, &to).map_err(FileError::new("move", &from))?;
    }
    Ok(consoles)
}

/// What the lab's shell does: guests with empty disks.
fn script(guests: &[Guest]) -> String {
    let disks = lab_disks(guests);
    format!(
        "truncate -s {DISK_MIB}M {disks} && \
         tmem run /lab/guests.toml --report /out/report.json --stats /out/stats.jsonl"
    )
}

fn native(guests: &[Guest], why: String, dir: &Path) -> Result<Ran, DemoError> {
    let images = crate::images::open()?;
    let tmem = crate::build::tmem()?;
    let id = guests.first().map_or(KernelId::Small, |guest| guest.kernel);
    let boot = Boot {
        kernel: images.kernel(id)?.boot_file().into(),
        initrd: images.guest_initramfs(&GuestSpec::new(id))?,
    };
    let mut ran = Vec::new();
    for mode in Mode::BOTH {
        for name in guests.iter().flat_map(disk_names) {
            empty_disk(&disk(dir, &name))?;
        }
        let config = dir.join(format!("{}.toml", mode.name()));
        let text = toml(guests, mode, |_| boot.clone(), dir);
        files::write(&config, text)?;
        let mut consoles = Consoles::new(mode, guests);
        let result = run_natively(&tmem, &config, mode, dir, &mut consoles);
        consoles.keep(dir)?;
        result?;
        ran.push(consoles);
    }
    for name in guests.iter().flat_map(disk_names) {
        let path = disk(dir, &name);
        std::fs::remove_file(&path).map_err(FileError::new("remove", &path))?;
    }
    let packages = images.used().iter().map(ToString::to_string).collect();
    Ok(Ran { place: "native", why, consoles: ran, packages })
}

/// A sparse file of the disk's size, with nothing in it.
fn empty_disk(path: &Path) -> Result<(), FileError> {
    let file = std::fs::File::create(path).map_err(FileError::new("write", path))?;
    file.set_len(u64::from(DISK_MIB) << 20).map_err(FileError::new("write", path))
}

fn run_natively(
    tmem: &Path,
    config: &Path,
    mode: Mode,
    dir: &Path,
    consoles: &mut Consoles,
) -> Result<(), DemoError> {
    let mut command = Command::new(tmem);
    command.arg("run").arg(config).arg("--report").arg(report(dir, mode));
    command.arg("--stats").arg(stats(dir, mode)).stdin(Stdio::null()).stdout(Stdio::piped());
    let line = crate::command::line_of(&command);
    let start = |source| crate::command::CommandError::Start { line, source };
    let mut child = command.spawn().map_err(start)?;
    if let Some(mut stdout) = child.stdout.take() {
        std::io::copy(&mut stdout, consoles).map_err(FileError::new("read the output of", tmem))?;
    }
    let status = child.wait().map_err(FileError::new("wait for", tmem))?;
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
    fn the_reason_stays_and_the_advice_goes() {
        assert_eq!(without_advice("it died; use the emulated host (cargo xtask lab), or another"), "it died");
        assert_eq!(without_advice("no PC: use another KVM, or the lab (cargo xtask lab)"), "no PC");
        assert_eq!(without_advice("as --lab asks"), "as --lab asks");
    }

    #[test]
    fn guests_start_with_empty_disks() {
        let mut guests = scenario::demo(KernelId::Small);
        guests.truncate(2);
        assert_eq!(
            script(&guests),
            "truncate -s 256M /tmp/g1.img /tmp/g1-data.img /tmp/g2.img /tmp/g2-data.img && tmem run /lab/guests.toml --report /out/report.json --stats /out/stats.jsonl"
        );
    }
}
