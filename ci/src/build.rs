//! Building `tmem`.

use std::path::PathBuf;
use std::process::Command;

use crate::command::{self, CommandError};
use crate::paths;

/// The target that static programs are built for. It is the machine's own; naming it keeps the flags for static linking away
/// from build scripts and procedural macros, which cannot be static.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// `tmem` as a static program, for this machine and for the lab, whose initramfs holds no library. Its flags differ from a
/// usual build's, so it has a target folder of its own and neither build throws the other's work away.
pub(crate) fn tmem() -> Result<PathBuf, CommandError> {
    let target = paths::target().join("static");
    let mut cargo = cargo();
    cargo
        .args(["build", "--release", "--package", "tmem-vmm", "--bin", "tmem", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    command::run(&mut cargo)?;
    Ok(target.join(TARGET).join("release/tmem"))
}

/// The cargo that runs us, in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root());
    command
}
