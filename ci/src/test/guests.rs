//! Steps that run guests, or build what runs in them.

use std::process::Command;

use tmem_images::{KernelId, Series};

use super::report::Ending;
use super::{Context, bench};
use crate::command;
use crate::files;
use crate::lab::Job;

/// The arguments of `tmem` that try every case of the ABI.
const SELFTEST: [&str; 1] = ["selftest"];
/// The arguments of `tmem` that measure, and compare every page.
const BENCH: [&str; 3] = ["bench", "hypercall", "--json"];

/// The driver against stock 6.12.
pub(super) fn driver_6_12(_: &Context, _: &str) -> Ending {
    driver(Series::V6_12)
}

/// The driver against stock 6.1.
pub(super) fn driver_6_1(_: &Context, _: &str) -> Ending {
    driver(Series::V6_1)
}

fn driver(series: Series) -> Ending {
    let built = || -> Result<String, Box<dyn std::error::Error>> {
        crate::setup::ensure()?;
        let images = crate::images::open()?;
        let tree = images.build_tree(KernelId::Stock(series))?;
        images.driver(KernelId::Stock(series))?;
        Ok(format!("tmem.ko for {}", tree.release))
    };
    built().into()
}

/// Bare guests on this machine's KVM: every case of the selftest, then 4 guests of 4 vCPUs at once.
pub(super) fn bare(_: &Context, name: &str) -> Ending {
    let run = || -> Result<Ending, Box<dyn std::error::Error>> {
        let tmem = crate::build::tmem()?;
        let ability = crate::doctor::examine(&tmem)?.bare_guests;
        if !ability.works {
            return Ok(Ending::Skipped(format!("{}; step bare-lab runs them in the lab", ability.why)));
        }
        let mut text = command::stdout_of(Command::new(&tmem).args(SELFTEST))?;
        text.push_str(&command::stdout_of(Command::new(&tmem).args(BENCH).args([
            "--guests",
            "4",
            "--vcpus",
            "4",
            "--seconds",
            "2",
        ]))?);
        std::fs::write(Context::log(name), &text)?;
        Ok(ending(&text))
    };
    run().unwrap_or_else(|error| Ending::Failed(error.to_string()))
}

/// Bare guests in the lab, at the privilege that Linux has and through the hypercall that Linux uses.
pub(super) fn bare_lab(context: &Context, name: &str) -> Ending {
    let (selftest, bench) = (SELFTEST.join(" "), BENCH.join(" "));
    let command = format!("tmem {selftest} && tmem {bench} --guests 2 --vcpus 2 --seconds 2");
    let job = Job { guests: Vec::new(), ..Context::job(name, &command) };
    match context.run(name, &job).and_then(|ran| Ok(ran.ended_with(0)?)) {
        Ok(ran) => ending(&ran.said),
        Err(error) => Ending::Failed(error.to_string()),
    }
}

fn ending(text: &str) -> Ending {
    let cases = text.lines().filter(|line| line.starts_with("pass  ")).count();
    match bench::judge(text) {
        Err(why) => Ending::Failed(why),
        Ok(_) if cases == 0 => Ending::Failed("the selftest passed no case".into()),
        Ok(bench) => {
            let (transport, pages) = (bench.transport, bench.verified_pages);
            Ending::Passed(format!("{transport}: {cases} cases; bench verified {pages} pages, 0 errors"))
        }
    }
}

/// Hosts that the driver has to refuse or to survive.
pub(super) fn bad_hosts(context: &Context, name: &str) -> Ending {
    let run = || -> Result<String, Box<dyn std::error::Error>> {
        let mut log = std::fs::File::create(Context::log(name))?;
        let passed = crate::torture::quick(context.lab()?, &Context::dir().join(name), &mut log)?;
        Ok(format!("{passed} scenarios; `cargo xtask torture` has the others"))
    };
    run().into()
}

/// The kernel's side on four processors at once.
pub(super) fn smp(_: &Context, name: &str) -> Ending {
    crate::smp::quick(&Context::dir().join(name), &Context::log(name)).into()
}

/// The lab itself.
pub(super) fn lab(context: &Context, name: &str) -> Ending {
    let command = "test -c /dev/kvm && tmem --version && uname -r > /out/release && exit 7";
    let job = Job { guests: Vec::new(), ..Context::job(name, command) };
    let run = || -> Result<String, Box<dyn std::error::Error>> {
        let ran = context.run(name, &job)?.ended_with(7)?;
        let release = files::read(&job.out.join("release"))?;
        Ok(format!("Linux {} with /dev/kvm, {} s", release.trim(), ran.took.as_secs()))
    };
    run().into()
}
