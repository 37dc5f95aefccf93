//! What the guests boot, and the disk with a compiler and something to compile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tmem_images::{DiskSpec, GuestSpec, Images, KernelId};

use super::EffectsError;
use crate::command;
use crate::parts::{Parts, SOURCE};

/// Makes them, or finds them in the cache.
pub(super) fn make() -> Result<Parts, EffectsError> {
    let images = crate::images::open()?;
    let script = crate::paths::root().join("ci/effects/compile.sh");
    let files = vec![("/opt/compile.sh".to_owned(), script)];
    let initramfs = images.guest_initramfs(&GuestSpec { files, ..GuestSpec::new(KernelId::Small) })?;
    Ok(Parts { initramfs, programs: programs(&images)? })
}

/// This machine's gcc with what it needs to compile the source to object files, where it expects it, and the source.
fn programs(images: &Images) -> Result<PathBuf, EffectsError> {
    let source = images.kernel_source(SOURCE)?;
    let cc1 = PathBuf::from(gcc(Command::new("gcc").arg("-print-prog-name=cc1"))?.trim());
    let mut files = vec![(cc1.display().to_string(), cc1)];
    for name in ["gcc", "as"] {
        let found =
            command::find_program(name).ok_or_else(|| EffectsError::Compiler(format!("no {name}")))?;
        files.push((format!("/usr/bin/{name}"), found));
    }
    files.extend(headers(&source)?.into_iter().map(|header| (header.clone(), header.into())));
    let folders = vec![("/src".to_owned(), source)];
    Ok(images.disk(&DiskSpec { name: "compiler".into(), block_bytes: 4096, files, folders })?)
}

/// The headers of this machine that the source includes.
fn headers(source: &Path) -> Result<BTreeSet<String>, EffectsError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(source).map_err(super::file(source))? {
        let path = entry.map_err(super::file(source))?.path();
        files.extend(path.extension().is_some_and(|it| it == "c").then_some(path));
    }
    let mut command = Command::new("gcc");
    command.current_dir(source).args(["-M", "-I."]).args(files);
    let rules = gcc(&mut command)?;
    Ok(rules.split_whitespace().filter(|word| word.starts_with("/usr/")).map(str::to_owned).collect())
}

/// What gcc says.
fn gcc(command: &mut Command) -> Result<String, EffectsError> {
    command::stdout_of(command).map_err(|error| EffectsError::Compiler(error.to_string()))
}
