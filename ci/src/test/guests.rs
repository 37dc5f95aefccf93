//! Steps that run guests, or build what runs in them.

use tmem_images::{KernelId, Series};

use super::report::Ending;
use super::{Context, bench};
use crate::command;
use crate::lab::Job;

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
    built().map_or_else(|error| Ending::Failed(error.to_string()), Ending::Passed)
}

/// Bare guests on this machine's KVM: the selftest's every case, then 4 guests of 4 vCPUs at once.
pub(super) fn bare(_: &Context, name: &str) -> Ending {
    let run = || -> Result<Ending, Box<dyn std::error::Error>> {
        let tmem = crate::build::native_tmem()?;
        let ability = crate::doctor::examine(&tmem)?.bare_guests;
        if !ability.works {
            return Ok(Ending::Skipped(format!("{}; step bare-lab runs them in the lab", ability.why)));
        }
        let mut command = std::process::Command::new(&tmem);
        command.args(["bench", "hypercall", "--guests", "4", "--vcpus", "4", "--seconds", "2", "--json"]);
        let text = command::stdout_of(&mut command)?;
        std::fs::write(Context::log(name), &text)?;
        Ok(ending(bench::judge(&text)))
    };
    run().unwrap_or_else(|error| Ending::Failed(error.to_string()))
}

/// Bare guests in the lab.
pub(super) fn bare_lab(context: &Context, name: &str) -> Ending {
    let job = Job {
        guests: Vec::new(),
        ..Job::new("tmem bench hypercall --guests 2 --vcpus 2 --seconds 2 --json")
    };
    let run = || -> Result<bench::Bench, String> {
        let mut output = Vec::new();
        let outcome = context.lab()?.run(&job, &mut output).map_err(|error| error.to_string())?;
        std::fs::write(Context::log(name), &output).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output);
        if outcome.status != 0 {
            return Err(format!("exit status {}:\n{}", outcome.status, command::tail_of(&text, 20)));
        }
        bench::judge(&text)
    };
    ending(run())
}

fn ending(bench: Result<bench::Bench, String>) -> Ending {
    match bench {
        Ok(bench) => {
            Ending::Passed(format!("{}: {} pages verified, 0 errors", bench.transport, bench.verified_pages))
        }
        Err(why) => Ending::Failed(why),
    }
}

/// The lab itself.
pub(super) fn lab(context: &Context, name: &str) -> Ending {
    let out = Context::dir().join(name);
    let job = Job {
        guests: Vec::new(),
        out: out.clone(),
        ..Job::new("test -c /dev/kvm && tmem --version && uname -r > /out/release && exit 7")
    };
    let run = || -> Result<String, String> {
        let mut log = std::fs::File::create(Context::log(name)).map_err(|error| error.to_string())?;
        let outcome = context.lab()?.run(&job, &mut log).map_err(|error| error.to_string())?;
        let release = std::fs::read_to_string(out.join("release"))
            .map_err(|error| format!("no /out/release: {error}"))?;
        if outcome.status != 7 {
            return Err(format!("the command's status 7 arrived as {}", outcome.status));
        }
        Ok(format!("Linux {} with /dev/kvm, {} s", release.trim(), outcome.took.as_secs()))
    };
    run().map_or_else(Ending::Failed, Ending::Passed)
}
