//! Steps that run cargo. Plain `cargo test`, not a runner that would have to be installed first: on a fresh machine
//! building one costs more than it saves here.

use std::process::{Command, Stdio};

use serde::Deserialize;

use super::Context;
use super::report::Ending;
use crate::command;

/// The code is formatted.
pub(super) fn format(_: &Context, name: &str) -> Ending {
    if let Some(skipped) = without_component("fmt", "rustfmt") {
        return skipped;
    }
    logged(name, crate::build::cargo().args(["fmt", "--all", "--check"]), |_| {
        Ok("cargo fmt --all --check".into())
    })
}

/// Clippy has nothing to say, in any target.
pub(super) fn lints(_: &Context, name: &str) -> Ending {
    if let Some(skipped) = without_component("clippy", "clippy") {
        return skipped;
    }
    let mut cargo = crate::build::cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    logged(name, &mut cargo, |_| Ok("cargo clippy --workspace --all-targets -- -D warnings".into()))
}

/// Tests inside the crates. Programs are named: `--bins` would take in the bare guest's payloads, which have no test harness.
pub(super) fn unit(_: &Context, name: &str) -> Ending {
    tests(
        name,
        &["--lib", "--bin", "tmem", "--bin", "xtask", "--bin", "tmem-workload", "--bin", "tmem-guest"],
    )
}

/// Tests of the store against its model, and under many threads.
pub(super) fn model(_: &Context, name: &str) -> Ending {
    tests_of(name, |package| package == STORE)
}

/// Tests of the other crates that stand in their tests folders: the C header's drift, the VMM on whatever KVM is here.
pub(super) fn integration(_: &Context, name: &str) -> Ending {
    tests_of(name, |package| package != STORE)
}

/// The package whose tests are those of the model.
const STORE: &str = "tmem-core";

/// Runs the test programs of some packages. They are picked out of the whole workspace by name, and not by package, so that
/// every step builds dependencies with the same features, that is, once.
fn tests_of(name: &str, wanted: impl Fn(&str) -> bool) -> Ending {
    let programs = match test_programs() {
        Ok(programs) => programs,
        Err(error) => return Ending::Failed(error),
    };
    let mut selection = Vec::new();
    for (package, program) in &programs {
        if wanted(package) {
            selection.extend(["--test", program]);
        }
    }
    tests(name, &selection)
}

/// Every test program of the workspace, with its package.
fn test_programs() -> Result<Vec<(String, String)>, String> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        targets: Vec<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let mut cargo = crate::build::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = command::stdout_of(&mut cargo).map_err(|error| error.to_string())?;
    let metadata: Metadata =
        serde_json::from_str(&text).map_err(|error| format!("cannot read `cargo metadata`: {error}"))?;
    let tests = |package: Package| {
        let targets = package.targets.into_iter().filter(|target| target.kind == ["test"]);
        targets.map(move |target| (package.name.clone(), target.name)).collect::<Vec<_>>()
    };
    Ok(metadata.packages.into_iter().flat_map(tests).collect())
}

/// Examples in the documentation.
pub(super) fn doc(_: &Context, name: &str) -> Ending {
    tests(name, &["--doc"])
}

/// One version of each rust-vmm crate.
pub(super) fn lock(_: &Context, _: &str) -> Ending {
    let path = crate::paths::root().join("Cargo.lock");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Ending::Failed(format!("cannot read {}: {error}", path.display())),
    };
    match super::lock::check(&text) {
        Ok(found) => Ending::Passed(format!("{} rust-vmm crates, one version each", found.len())),
        Err(error) => Ending::Failed(error.to_string()),
    }
}

/// The store with the model checker's locks and atomics, tried in many schedules. A build of its own: the feature is the
/// store's alone.
pub(super) fn schedules(_: &Context, name: &str) -> Ending {
    let mut cargo = crate::build::cargo();
    cargo.args(["test", "-p", STORE, "--features", "shuttle", "--test", "shuttle"]);
    counted(name, &mut cargo)
}

fn tests(name: &str, selection: &[&str]) -> Ending {
    let mut cargo = crate::build::cargo();
    cargo.args(["test", "--workspace"]).args(selection);
    counted(name, &mut cargo)
}

fn counted(name: &str, cargo: &mut Command) -> Ending {
    logged(name, cargo, |text| {
        let count = passed(text);
        if count == 0 { Err("cargo test ran no test at all".into()) } else { Ok(format!("{count} tests")) }
    })
}

/// The sum of the counts in libtest's closing lines.
fn passed(text: &str) -> u32 {
    text.lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed"))
        .filter_map(|(count, _)| count.parse::<u32>().ok())
        .sum()
}

/// Runs `command` with its output in the step's log; `judge` looks at the output of a good one.
fn logged(name: &str, command: &mut Command, judge: impl Fn(&str) -> Result<String, String>) -> Ending {
    let log = Context::log(name);
    let line = command::line_of(command);
    let run = || -> std::io::Result<(bool, String)> {
        let file = std::fs::File::create(&log)?;
        let status = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .env("CARGO_TERM_COLOR", "never")
            .status()?;
        Ok((status.success(), String::from_utf8_lossy(&std::fs::read(&log)?).into_owned()))
    };
    match { run }() {
        Err(error) => Ending::Failed(format!("cannot run `{line}`: {error}")),
        Ok((false, text)) => Ending::Failed(format!(
            "`{line}` failed; the end of {}:\n{}",
            log.display(),
            command::tail_of(&text, 60)
        )),
        Ok((true, text)) => match judge(&text) {
            Ok(seen) => Ending::Passed(seen),
            Err(why) => Ending::Failed(format!("`{line}`: {why}; see {}", log.display())),
        },
    }
}

fn without_component(subcommand: &str, component: &str) -> Option<Ending> {
    command::stdout_of(crate::build::cargo().args([subcommand, "--version"])).err().map(|_| {
        Ending::Skipped(format!(
            "this toolchain has no {component}; `rustup component add {component}` adds it"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_of_this_workspace_are_found() {
        let programs = test_programs().unwrap();
        assert!(programs.contains(&(STORE.to_owned(), "model".to_owned())), "{programs:?}");
        assert!(programs.iter().any(|(package, _)| package != STORE));
    }

    #[test]
    fn counts_of_several_test_programs_are_added() {
        let text =
            "\ntest result: ok. 12 passed; 0 failed; 0 ignored\n\ntest result: ok. 3 passed; 0 failed\n";
        assert_eq!(passed(text), 15);
    }

    #[test]
    fn text_without_results_counts_nothing() {
        assert_eq!(passed("test result: FAILED. 3 passed; 1 failed"), 0);
        assert_eq!(passed(""), 0);
    }
}
