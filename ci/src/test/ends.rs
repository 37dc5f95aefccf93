//! Guests end in every way there is, none takes another one with it, and Ctrl-C ends what is left.

use tmem_images::{KernelId, Series};

use super::report::Ending;
use super::{Context, tiny};
use crate::lab::{Added, Job};
use crate::vmm_report::Report;

/// How each guest of ci/lab/ends.toml has to end.
const ENDS: [(&str, &str); 13] = [
    ("off", "power-off"),
    ("reset", "reset"),
    ("triple", "reset"),
    ("cf9", "reset"),
    ("no-acpi", "reset"),
    ("stock", "reset"),
    ("stock-reset", "reset"),
    ("button", "power-off"),
    ("halts", "halted"),
    ("panics", "panicked"),
    ("dies", "died"),
    ("pvh", "power-off"),
    ("stays", "stopped"),
];

/// How lines begin and end that some of them have to say: what was entered by PVH, what has no ACPI and yet two vCPUs and a disk, and
/// what heard the button.
const LINES: [(&str, &str); 4] = [
    ("pvh| entered by PVH", ""),
    ("no-acpi| TMEM-REPORT {\"event\":\"boot\"", "\"cpus\":2}"),
    ("no-acpi| TMEM-REPORT {\"event\":\"end\"", "\"status\":0}"),
    ("button| TMEM-REPORT {\"event\":\"button\"}", ""),
];

/// `tmem run`'s exit status when it was stopped (its --help).
pub(super) const STOPPED: i32 = 130;

/// Presses a guest's power button until that has ended, waits for the end of all but the last, asks where that one stands (SIGQUIT) and
/// stops it (SIGINT, which is Ctrl-C). What the guests say is shown as it comes, so that the lab sees that they go on.
const SCRIPT: &str = "truncate -s 16M /tmp/disk.img; touch /tmp/said; tail -f /tmp/said & tail=$!; \
     tmem --log info run /lab/ends.toml --control /tmp/control --report /out/report.json > /tmp/said 2>&1 & \
     until tmem control /tmp/control stop button 2>&1 | grep -q 'has ended'; do usleep 500000; done; \
     until [ \"$(grep -c ' ended ' /tmp/said)\" = 12 ]; do usleep 200000; done; \
     kill -QUIT $!; \
     until grep -q 'stays vcpu0: rip' /tmp/said; do usleep 200000; done; \
     kill -INT $!; wait $!; status=$?; kill $tail; cat /tmp/said; exit $status";

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
        Ok(judge(&ran.report()?, &ran.said)?)
    };
    run().into()
}

/// Whether the report says what [`ENDS`] does, and the consoles what [`LINES`] do.
fn judge(report: &Report, said: &str) -> Result<String, String> {
    let seen: Vec<(&str, &str)> =
        report.guests.iter().map(|guest| (guest.name.as_str(), guest.end.as_str())).collect();
    if seen != ENDS {
        return Err(format!("guests ended as {seen:?} instead of {ENDS:?}"));
    }
    for (begin, end) in LINES {
        if !said.lines().any(|line| line.starts_with(begin) && line.trim_end().ends_with(end)) {
            return Err(format!("no line `{begin}...{end}` on the consoles"));
        }
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
        let said: String = LINES.iter().map(|(begin, end)| format!("{begin},{end}\n")).collect();
        assert!(judge(&report, &said).is_ok());
        assert!(judge(&report, "").unwrap_err().contains("entered by PVH"));
        report.guests[10].end = "stopped".into();
        let bad = judge(&report, &said).unwrap_err();
        assert!(bad.contains("(\"dies\", \"stopped\")"), "{bad}");
    }
}
