//! Programs that run in guests: busybox from Debian, the workload and `tmem-guest` from this repository. All static.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt::{self, Package};
use crate::cache::{Cache, Recipe};
use crate::command::{self, Progress};
use crate::error::{Error, Result};

/// Changes with what this file does.
const RECIPE: u32 = 1;

/// The target that they are built for: the machine's own, named so that the flags below reach no build script.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The static busybox.
pub(crate) fn busybox(progress: &Progress, cache: &Cache, package: &Package) -> Result<PathBuf> {
    let recipe =
        Recipe::new("busybox", RECIPE).with("package", package.to_string()).with("sha256", &package.sha256);
    let dir = cache.artifact(progress, &recipe, |work| {
        apt::unpack(&apt::fetch(progress, cache, package)?, work).map(drop)
    })?;
    let program =
        ["bin/busybox", "usr/bin/busybox"].map(|path| dir.join(path)).into_iter().find(|path| path.exists());
    program.ok_or_else(|| Error::Layout { what: "busybox".to_owned(), path: dir })
}

/// Programs of this repository.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `tmem-workload`: memory of known contents (images/workload).
    pub workload: PathBuf,
    /// `tmem-guest`: counters, giving memory back, the selftest of /dev/tmem (guest-driver/user).
    pub guest: PathBuf,
}

/// The programs, built by cargo in their own target folder: their flags would otherwise throw away everything else's.
pub(crate) fn programs(progress: &Progress, cache: &Cache, repo: &Path) -> Result<Programs> {
    let target_dir = repo.join("target/guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(repo).args(["build", "--package", "tmem-workload", "--package", "tmem-guest"]);
    cargo.args(["--profile", "guest"]);
    cargo.args(["--target", TARGET, "--target-dir"]).arg(&target_dir);
    // No interpreter and no relocations: the kernel maps it and it runs.
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::long(progress, "building the programs", &mut cargo, &cache.root().join("programs.log"))?;
    let built = |name: &str| target_dir.join(TARGET).join("guest").join(name);
    Ok(Programs { workload: built("tmem-workload"), guest: built("tmem-guest") })
}
