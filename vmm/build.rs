//! Builds the payloads of the bare guest (guest-driver/bare) and hands them to the program, which carries them inside.
//!
//! They are programs of the same host target, but without an operating system: they get a cargo of their own with none
//! of this build's settings, such as instrumentation or the instruction set of the build machine, which no bare guest
//! could execute.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [&str; 7] = [
    "guest-driver/bare/Cargo.toml",
    "guest-driver/bare/build.rs",
    "guest-driver/bare/src",
    "guest-driver/bare/payloads",
    "guest-driver/abi/Cargo.toml",
    "guest-driver/abi/src",
    "Cargo.lock",
];

fn main() -> Result<(), Box<dyn Error>> {
    let variable =
        |name| std::env::var_os(name).ok_or_else(|| format!("cargo sets {name} for build scripts"));
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = root.parent().ok_or("this crate lies in a workspace")?;
    let target = variable("HOST")?;
    let out = PathBuf::from(variable("OUT_DIR")?).join("bare");
    SOURCES.iter().for_each(|path| println!("cargo::rerun-if-changed={}", root.join(path).display()));

    let mut cargo = Command::new(variable("CARGO")?);
    std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(belongs_to_this_build))
        .for_each(|(name, _)| _ = cargo.env_remove(name));
    cargo
        .current_dir(root)
        .args(["build", "--release", "--locked", "--quiet", "--package", "tmem-bare", "--bins"])
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&out)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-cpu=x86-64")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    let status = cargo.status()?;
    if !status.success() {
        return Err(
            format!("the bare guest's payloads do not build ({status}): see guest-driver/bare").into()
        );
    }
    let payloads = Path::new(&out).join(&target).join("release");
    println!("cargo::rustc-env=TMEM_BARE_PAYLOADS={}", payloads.display());
    Ok(())
}

/// Whether a variable says how *this* crate is built; where cargo finds its registry is for both.
fn belongs_to_this_build(name: &str) -> bool {
    let shared = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_REGISTRY_"];
    let cargo = name.starts_with("CARGO_") && !shared.iter().any(|prefix| name.starts_with(prefix));
    cargo || name.starts_with("RUSTC_") || matches!(name, "RUSTFLAGS" | "RUSTDOCFLAGS")
}
