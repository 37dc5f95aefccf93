//! Folders of the kernel's source by themselves: C programs that somebody else wrote, for guests that compile.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::apt::{self, Package};
use crate::cache::{Cache, Recipe};
use crate::command::{self, Progress};
use crate::error::{Error, Result};

/// Changes with what this file does.
const RECIPE: u32 = 1;

/// `folder` of the source in `package`, which holds `NAME.tar.xz` of its own name; unpatched, in the cache.
pub(crate) fn folder(
    progress: &Progress,
    cache: &Cache,
    package: &Package,
    name: &str,
    folder: &str,
) -> Result<PathBuf> {
    let recipe = Recipe::new("source", RECIPE)
        .with("package", package.to_string())
        .with("sha256", &package.sha256)
        .with("folder", folder);
    let dir = cache.artifact(progress, &recipe, |work| {
        let unpacked = work.join("package");
        apt::unpack(&apt::fetch(progress, cache, package)?, &unpacked)?;
        let mut untar = Command::new("tar");
        untar.arg("-xJf").arg(unpacked.join("usr/src").join(format!("{name}.tar.xz")));
        untar.arg("-C").arg(work).args(["--strip-components=1", "--wildcards"]).arg(format!("*/{folder}/*"));
        command::long(progress, &format!("unpacking {folder}"), &mut untar, &work.join("unpack.log"))?;
        fs::remove_dir_all(&unpacked).map_err(Error::io("remove", &unpacked))
    })?;
    Ok(dir.join(folder))
}
