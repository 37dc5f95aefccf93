//! Guests end in every way there is, none takes another one with it, and Ctrl-C ends what is left.

use tmem_images::{KernelId, Series};

use super::report::Ending;
use super::{Context, tiny};
use crate::lab::{Added, Job};
use crate::vmm_report::Report;

/// How each guest of ci/lab/ends.toml has to end.
const ENDS: [(&str, &str); 12] = [
    ("off", "power-off"),
    ("reset", "reset"),
    ("triple", "reset"),
    ("cf9", "reset"),
    ("no-acpi", "reset"),
    ("stock", "reset"),
    ("stock-reset", "reset"),
    ("halts", "halted"),
    ("panics", "panicked"),
    ("dies", "died"),
    ("pvh", "power-off"),
    ("stays", "stopped"),
];

/// `tmem run`'s exit status when it was stopped (its --help).
pub(super) const STOPPED: i32 = 130;

/// Waits for the end of all but the last guest, asks where that one stands (SIGQUIT) and stops it (SIGINT, which is Ctrl-C).
const SCRIPT: &str = "tmem --log info run /lab/ends.toml --report /out/report.json > /tmp/said 2>&1 & \
     until [ \"$(grep -c ' ended ' /tmp/said)\" = 11 ]; do usleep 200000; done; \
     kill -QUIT $!; \
     until grep -q 'stays vcpu0: rip' /tmp/said; do usleep 200000; done; \
     kill -INT $!; wait $!; status=$?; cat /tmp/said; grep -q '^pvh| entered by PVH' /tmp/said && exit $status";

/// Runs it.
pub(super) fn ends(context: &Context, name: &str) -> Ending {
    let toml = Added { from: crate::paths::root().join("ci/lab/ends.toml"), to: "/lab/ends.toml".into() };
    let run = || -> Result<String, Box<dyn std::error::Error>> {
        let mut added = vec![toml.clone()];
        for (file, kernel) in [("crash", tiny::crash()), ("pvh", tiny::pvh())] {
            let from = Context::dir().join(file);
            std::fs::write(&from, kernel)?;
            added.push(Added { from, to: format!("/lab/{file}") });
        }
        let guests = vec![KernelId::Small, KernelId::Stock(Series::V6_12)];
        let job = Job { added, guests, ..Context::job(name, SCRIPT) };
        let ran = context.run(name, &job)?.ended_with(STOPPED)?;
        Ok(judge(&ran.report()?)?)
    };
    run().into()
}

/// Whether the report says what [`ENDS`] does.
fn judge(report: &Report) -> Result<String, String> {
    let seen: Vec<(&str, &str)> =
        report.guests.iter().map(|guest| (guest.name.as_str(), guest.end.as_str())).collect();
    if seen != ENDS {
        return Err(format!("guests ended as {seen:?} instead of {ENDS:?}"));
    }
    Ok("power-off, resets by every register, halt, panic, triple fault; SIGQUIT shows registers, SIGINT stops the last".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm_report::Guest;
    use crate::vmm_report::tests::guest;

    #[test]
    fn a_guest_that_ended_otherwise_is_named() {
        let guests = ENDS.map(|(name, end)| Guest { end: end.into(), ..guest(name, None) });
        let mut report = Report { guests: guests.into() };
        assert!(judge(&report).is_ok());
        report.guests[9].end = "stopped".into();
        let bad = judge(&report).unwrap_err();
        assert!(bad.contains("(\"dies\", \"stopped\")"), "{bad}");
    }
}
