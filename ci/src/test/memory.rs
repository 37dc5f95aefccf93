//! Memory that guests give back and get again, or are asked for, and pools for programs in them.

use serde_json::Value;
use tmem_images::{KernelId, Series};

use super::Context;
use super::report::Ending;
use crate::lab::{Added, Job};
use crate::vmm_report::{Balloon, Report, Tmem};

/// What `gives` and `aware` of ci/lab/memory.toml have to give back at least: a quarter of a file of 64 MiB that nobody uses meanwhile.
const LEAST_GIVEN_BACK: u64 = 16 << 20;
/// What `aware` has to count at least. Reclaim takes the clean pages of a file of 16384 pages first.
const LEAST_OF_A_KIND: [(&str, u64); 4] =
    [("clean_puts", 4096), ("clean_hits", 4096), ("swap_puts", 1024), ("swap_gets", 1024)];
/// Pages that `device` is asked to put into its balloon: 16 MiB.
const BALLOON_PAGES: u64 = 4096;

/// What `device` boots.
const DEVICE: KernelId = KernelId::Stock(Series::V6_12);

/// Runs it.
pub(super) fn memory(context: &Context, name: &str) -> Ending {
    let file = |name: &str| Added {
        from: crate::paths::root().join("ci/lab").join(name),
        to: format!("/lab/{name}"),
    };
    let job = Job {
        guests: vec![KernelId::Small, DEVICE],
        added: vec![file("memory.toml"), file("memory.sh")],
        ..Context::job(name, "sh /lab/memory.sh")
    };
    let run = || -> Result<String, Box<dyn std::error::Error>> {
        let mut job = job;
        job.added.push(super::smoke::initramfs(DEVICE, &job.out)?);
        let ran = context.run(name, &job)?.ended_with(super::ends::STOPPED)?;
        let asked = super::asked::judge(&job.out)?;
        let report = ran.report()?;
        let brakes = super::brakes::judge(&report, &ran.said)?;
        Ok(format!("{}; {brakes}; {asked}", judge(&report, &ran.said)?))
    };
    run().into()
}

/// Whether both sides say that memory went and came back whole, and that no case failed.
fn judge(report: &Report, said: &str) -> Result<String, String> {
    let guest = |name: &str| {
        let found = report.guests.iter().find(|guest| guest.name == name && guest.end == "power-off");
        let parts = found.and_then(|guest| Some((guest.balloon.as_ref()?, guest.tmem.as_ref()?)));
        parts.ok_or_else(|| format!("guest {name} did not power off, or has no balloon or no tmem"))
    };
    let ((gives, gives_tmem), (aware, aware_tmem), (device, _)) =
        (guest("gives")?, guest("aware")?, guest("device")?);
    let gives = Giver { name: "gives", balloon: gives, tmem: gives_tmem }.judge(said)?;
    let aware = Giver { name: "aware", balloon: aware, tmem: aware_tmem }.judge(said)?;
    let kinds = both_kinds(said)?;
    let cases = said.matches("device| pass  ").count();
    check(&[
        // Not what the guest says that it holds: Linux resets its devices when it powers off.
        (
            device.inflated_pages == BALLOON_PAGES + device.deflated_pages,
            "the balloon does not hold what it was asked to",
        ),
        (device.ignored + device.failed == 0, "a balloon got a bad request"),
        (cases > 0 && said.contains("device| 0 cases failed, 0 skipped"), "a case of /dev/tmem failed"),
        (said.contains("device| smoke: good"), "the C library's smoke test failed"),
        (has_stat(said), "`tmem-guest stat --json` did not show the driver's counters"),
        (
            ["gives", "device"].iter().all(|name| order_is_back(said, name)),
            "`tmem-guest shrink` did not restore the order from which on pages are reported",
        ),
    ])
    .map_err(|why| format!("{why}: {device:?}"))?;
    Ok(format!("{gives}; tmem-aware: {aware}, {kinds}; {cases} cases of /dev/tmem"))
}

/// A guest that has nothing to do and gives memory back, as the host saw it.
#[derive(Debug)]
struct Giver<'a> {
    name: &'a str,
    balloon: &'a Balloon,
    tmem: &'a Tmem,
}

impl Giver<'_> {
    /// What it gave back and got again, if that was enough, nothing was damaged and nobody killed.
    fn judge(&self, said: &str) -> Result<String, String> {
        let Self { name, balloon, tmem } = self;
        let shrink = events(said, name, "shrink");
        let runs = events(said, name, "run");
        let all_say_zero = |events: &[Value], field: &str| {
            !events.is_empty() && events.iter().all(|event| number(event, field) == Some(0))
        };
        check(&[
            (balloon.given_back_bytes >= LEAST_GIVEN_BACK, "a guest with nothing to do gave too little back"),
            (balloon.reported_pages > 0 && balloon.inflated_pages == 0, "it did not do so by reporting"),
            (tmem.puts * 4096 >= LEAST_GIVEN_BACK, "the store did not absorb a quarter of the file"),
            (tmem.gets * 4096 >= LEAST_GIVEN_BACK, "what the store absorbed did not come back"),
            (all_say_zero(&runs, "corrupt"), "a page came back damaged, or was not looked at"),
            (
                shrink.iter().all(|event| number(event, "free_pages_are_reported") == Some(1)),
                "it did not see that its free pages are reported",
            ),
            (all_say_zero(&shrink, "oom_kill"), "a process was killed for memory, or nothing was given back"),
            (balloon.ignored + balloon.failed == 0, "a balloon got a bad request"),
        ])
        .map_err(|why| format!("{name}: {why}: {self:?} {shrink:?} {runs:?}"))?;
        let given = balloon.given_back_bytes >> 20;
        Ok(format!("{given} MiB given back, {} pages put, {} got, 0 corrupt, 0 killed", tmem.puts, tmem.gets))
    }
}

/// That `aware` gave pages of both kinds and got them again, as its kernel has counted.
fn both_kinds(said: &str) -> Result<String, String> {
    let hooks = events(said, "aware", "hooks").pop().ok_or("aware told nothing about its hooks")?;
    let count = |name: &str| number(&hooks, name).unwrap_or(0);
    match LEAST_OF_A_KIND.into_iter().find(|(name, least)| count(name) < *least) {
        Some((name, _)) => Err(format!("aware: {name} is only {}: {hooks}", count(name))),
        None => Ok(format!("{} of them swap and {} clean", count("swap_puts"), count("clean_puts"))),
    }
}

/// The first of these facts that is none.
pub(super) fn check(facts: &[(bool, &'static str)]) -> Result<(), &'static str> {
    facts.iter().find(|(good, _)| !good).map_or(Ok(()), |(_, why)| Err(*why))
}

pub(super) fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

/// The events of this kind on a guest's console.
pub(super) fn events(said: &str, guest: &str, kind: &str) -> Vec<Value> {
    let prefix = format!("{guest}| TMEM-REPORT ");
    let values =
        said.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix(&prefix)?).ok());
    values.filter(|value| value.get("event").and_then(Value::as_str) == Some(kind)).collect()
}

/// Whether the guest's last word on page_reporting_order is what the kernel begins with, a huge page.
fn order_is_back(said: &str, guest: &str) -> bool {
    let line = format!("{guest}| 9");
    said.lines().any(|found| found.trim_end() == line)
}

fn has_stat(said: &str) -> bool {
    let values = said.lines().filter_map(|line| line.strip_prefix("device| "));
    let mut values = values.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.any(|value| {
        let number = |name: &str| value.pointer(&format!("/tmem/driver/{name}")).and_then(Value::as_f64);
        number("puts") > Some(0.0) && number("pages_per_exit") > Some(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm_report::Guest;
    use crate::vmm_report::tests::guest;

    fn report() -> Report {
        let balloon = |inflated_pages, given_back_bytes| {
            Some(Balloon { inflated_pages, reported_pages: 16384, given_back_bytes, ..Balloon::default() })
        };
        let tmem = |puts, gets| Some(Tmem { puts, gets, ..Tmem::default() });
        let guests = vec![
            Guest { balloon: balloon(0, 64 << 20), ..guest("gives", tmem(9000, 8900)) },
            Guest { balloon: balloon(0, 80 << 20), ..guest("aware", tmem(19000, 18900)) },
            Guest { balloon: balloon(4096, 16 << 20), ..guest("device", tmem(900, 800)) },
        ];
        Report { guests }
    }

    const SAID: &str = "gives| TMEM-REPORT {\"event\":\"shrink\",\"free_pages_are_reported\":1,\"oom_kill\":0}\r\ngives| 9\r\n\
        gives| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0}\n\
        aware| TMEM-REPORT {\"event\":\"shrink\",\"free_pages_are_reported\":1,\"oom_kill\":0}\n\
        aware| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0}\naware| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0}\n\
        aware| TMEM-REPORT {\"event\":\"hooks\",\"swap_puts\":8000,\"swap_gets\":8001,\"clean_puts\":9002,\"clean_hits\":9003}\n\
        device| pass  a case\ndevice| 0 cases failed, 0 skipped\ndevice| smoke: good\ndevice| {\"tmem\":{\"driver\":{\"puts\":12,\"pages_per_exit\":1.4}}}\n\
        device| 9\n";

    #[test]
    fn a_good_run_says_how_much_was_given_back() {
        let text = judge(&report(), SAID).unwrap();
        assert!(text.starts_with("64 MiB given back, 9000 pages put"), "{text}");
        assert!(
            text.contains("80 MiB given back") && text.contains("8000 of them swap and 9002 clean"),
            "{text}"
        );
    }

    #[test]
    fn what_went_wrong_is_named() {
        fn balloon(guest: &mut Guest) -> &mut Balloon {
            guest.balloon.as_mut().unwrap()
        }
        type Spoil = fn(&mut Guest);
        let spoils: [(usize, Spoil, &str); 5] = [
            (
                0,
                |it| balloon(it).given_back_bytes = 4096,
                "gives: a guest with nothing to do gave too little",
            ),
            (
                1,
                |it| balloon(it).given_back_bytes = 4096,
                "aware: a guest with nothing to do gave too little",
            ),
            (2, |it| balloon(it).deflated_pages = 1, "does not hold"),
            (0, |it| balloon(it).ignored = 1, "bad request"),
            (2, |it| it.end = "died".into(), "did not power off"),
        ];
        for (index, spoil, why) in spoils {
            let mut report = report();
            spoil(&mut report.guests[index]);
            let error = judge(&report, SAID).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        for (from, to, why) in [
            (
                "\"corrupt\":0}\naware| TMEM-REPORT {\"event\":\"h",
                "\"corrupt\":1}\naware| TMEM-REPORT {\"event\":\"h",
                "damaged",
            ),
            ("\"corrupt\":0", "\"corrupt\":1", "damaged"),
            ("\"oom_kill\":0", "\"oom_kill\":1", "killed"),
            ("clean_hits\":9003", "clean_hits\":3", "clean_hits is only 3"),
            ("\"hooks\"", "\"x\"", "nothing about its hooks"),
            ("0 cases", "1 cases", "case of /dev/tmem"),
            ("0 skipped", "1 skipped", "case of /dev/tmem"),
            ("smoke: good", "smoke: line 7", "C library"),
            ("\"driver\"", "\"x\"", "stat"),
            ("\"pages_per_exit\"", "\"x\"", "stat"),
            ("device| 9", "device| 4", "did not restore"),
            ("reported\":1", "reported\":0", "did not see"),
            ("\"shrink\"", "\"x\"", "nothing was given back"),
        ] {
            let error = judge(&report(), &SAID.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
