//! Steps that run guests, or build what runs in them.

use tmem_images::{KernelId, Series};

use super::Context;
use super::report::Ending;
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
