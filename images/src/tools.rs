//! Programs that run in guests: busybox from Debian, the workload from this repository. Both static.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Package};
use crate::cache::{Cache, Recipe};
use crate::command::{self, Progress};
use crate::error::{Error, Result};

/// Changes with what this file does.
const RECIPE: u32 = 1;

/// The target that the workload is built for: the machine's own, named so that the flags below reach no build script.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The static busybox.
pub(crate) fn busybox(progress: &Progress, cache: &Cache, package: &Package) -> Result<PathBuf> {
    let recipe =
        Recipe::new("busybox", RECIPE).with("package", package.to_string()).with("sha256", &package.sha256);
    let dir = cache
        .artifact(progress, &recipe, |work| apt::unpack(&apt::fetch(progress, cache, package)?, work))?;
    let program =
        ["bin/busybox", "usr/bin/busybox"].map(|path| dir.join(path)).into_iter().find(|path| path.exists());
    program.ok_or_else(|| Error::Layout { what: "busybox".to_owned(), path: dir })
}

/// The workload, built by cargo in its own target folder: its flags would otherwise throw away everything else's.
pub(crate) fn workload(progress: &Progress, cache: &Cache, repo: &Path) -> Result<PathBuf> {
    let target_dir = repo.join("target/guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repo).args(["build", "--package", "tmem-workload", "--profile", "guest"]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(&target_dir);
    // No interpreter and no relocations: the kernel maps it and it runs.
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::long(progress, "building the workload", &mut cargo, &cache.root().join("workload.log"))?;
    Ok(target_dir.join(TARGET).join("guest/tmem-workload"))
}
