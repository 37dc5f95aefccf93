//! Memory that guests give back and get again, and pools for programs in them.

use serde::Deserialize;
use tmem_images::{KernelId, Series};

use super::Context;
use super::report::Ending;
use crate::lab::{Added, Job};

/// What `gives` of ci/lab/memory.toml has to give back at least: half of a file of 64 MiB that nobody uses meanwhile.
const LEAST_GIVEN_BACK: u64 = 32 << 20;
/// Pages that `device` is asked to put into its balloon: 16 MiB.
const BALLOON_PAGES: u64 = 4096;

/// `tmem run --report`, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Report {
    guests: Vec<Guest>,
}

#[derive(Debug, Deserialize)]
struct Guest {
    name: String,
    end: String,
    balloon: Option<Balloon>,
    tmem: Option<Tmem>,
}

#[derive(Debug, Deserialize)]
struct Balloon {
    actual_pages: u64,
    inflated_pages: u64,
    reported_pages: u64,
    given_back_bytes: u64,
    ignored: u64,
    failed: u64,
}

#[derive(Debug, Deserialize)]
struct Tmem {
    puts: u64,
    gets: u64,
}

/// Runs it.
pub(super) fn memory(context: &Context, name: &str) -> Ending {
    let out = Context::dir().join(name);
    let toml = Added { from: crate::paths::root().join("ci/lab/memory.toml"), to: "/lab/memory.toml".into() };
    let job = Job {
        guests: vec![KernelId::Stock(Series::V6_12)],
        added: vec![toml],
        out: out.clone(),
        ..Job::new("tmem run /lab/memory.toml --report /out/report.json")
    };
    let run = || -> Result<String, String> {
        let mut said = Vec::new();
        let result = context.lab()?.run(&job, &mut said);
        std::fs::write(Context::log(name), &said).map_err(|error| error.to_string())?;
        let status = result.map_err(|error| error.to_string())?.status;
        let said = String::from_utf8_lossy(&said);
        if status != 0 {
            return Err(format!("exit status {status}:\n{}", crate::command::tail_of(&said, 20)));
        }
        let report = std::fs::read_to_string(out.join("report.json"))
            .map_err(|error| format!("no report: {error}"))?;
        judge(&report, &said)
    };
    run().map_or_else(Ending::Failed, Ending::Passed)
}

/// Whether both sides say that memory went and came back whole, and that no case failed.
fn judge(report: &str, said: &str) -> Result<String, String> {
    let report: Report =
        serde_json::from_str(report).map_err(|error| format!("cannot read the report: {error}"))?;
    let guest = |name: &str| {
        let found = report.guests.iter().find(|guest| guest.name == name && guest.end == "power-off");
        let parts = found.and_then(|guest| Some((guest.balloon.as_ref()?, guest.tmem.as_ref()?)));
        parts.ok_or_else(|| format!("guest {name} did not power off, or has no balloon or no tmem"))
    };
    let ((gives, tmem), (device, _)) = (guest("gives")?, guest("device")?);
    let shrink = event(said, "gives", "shrink")?;
    let run = event(said, "gives", "run")?;
    let number = |value: &serde_json::Value, name: &str| value.get(name).and_then(serde_json::Value::as_u64);
    let cases = said.matches("device| pass  ").count();
    let facts = [
        (gives.given_back_bytes >= LEAST_GIVEN_BACK, "a guest with nothing to do gave too little back"),
        (gives.reported_pages > 0 && gives.inflated_pages == 0, "it did not do so by reporting"),
        (tmem.puts * 4096 >= LEAST_GIVEN_BACK, "the store did not absorb half of the file"),
        (tmem.gets * 4096 >= LEAST_GIVEN_BACK, "what the store absorbed did not come back"),
        (number(&run, "corrupt") == Some(0), "a page came back damaged"),
        (number(&shrink, "oom_kill") == Some(0), "a process was killed for memory"),
        (device.actual_pages == BALLOON_PAGES, "the balloon does not hold what it was asked to"),
        (device.inflated_pages >= BALLOON_PAGES, "the balloon was not inflated page by page"),
        (gives.ignored + gives.failed + device.ignored + device.failed == 0, "a balloon got a bad request"),
        (cases > 0 && said.contains("device| 0 cases failed"), "a case of /dev/tmem failed"),
        (has_stat(said), "`tmem-guest stat --json` did not show the driver's counters"),
    ];
    if let Some((_, why)) = facts.iter().find(|(good, _)| !good) {
        return Err(format!("{why}: {gives:?} {device:?} {tmem:?} {shrink} {run}"));
    }
    Ok(format!(
        "{} MiB given back, {} pages put, {} refaulted, 0 corrupt, 0 killed; {cases} cases of /dev/tmem",
        gives.given_back_bytes >> 20,
        tmem.puts,
        tmem.gets
    ))
}

/// The last event of this kind on a guest's console.
fn event(said: &str, guest: &str, kind: &str) -> Result<serde_json::Value, String> {
    let prefix = format!("{guest}| TMEM-REPORT ");
    let mut values = said.lines().filter_map(|line| serde_json::from_str(line.strip_prefix(&prefix)?).ok());
    let wanted =
        |value: &serde_json::Value| value.get("event").and_then(|event| event.as_str()) == Some(kind);
    values.rfind(wanted).ok_or_else(|| format!("{guest} reported no `{kind}` event"))
}

fn has_stat(said: &str) -> bool {
    let values = said.lines().filter_map(|line| line.strip_prefix("device| "));
    let mut values = values.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    values.any(|value| value.pointer("/tmem/driver/puts").is_some_and(|puts| puts.as_u64() > Some(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"guests":[
        {"name":"gives","end":"power-off","tmem":{"puts":9000,"gets":8900},"balloon":{"actual_pages":0,
         "inflated_pages":0,"reported_pages":16384,"given_back_bytes":67108864,"ignored":0,"failed":0}},
        {"name":"device","end":"power-off","tmem":{"puts":900,"gets":800},"balloon":{"actual_pages":4096,
         "inflated_pages":4096,"reported_pages":7,"given_back_bytes":16777216,"ignored":0,"failed":0}}]}"#;
    const SAID: &str = "gives| TMEM-REPORT {\"event\":\"shrink\",\"oom_kill\":0}\r\n\
        gives| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0}\n\
        device| pass  a case\ndevice| 0 cases failed\ndevice| {\"tmem\":{\"driver\":{\"puts\":12}}}\n";

    #[test]
    fn a_good_run_says_how_much_was_given_back() {
        let text = judge(REPORT, SAID).unwrap();
        assert!(text.starts_with("64 MiB given back, 9000 pages put"), "{text}");
    }

    #[test]
    fn what_went_wrong_is_named() {
        for (from, to, why) in [
            ("67108864", "4096", "too little"),
            ("\"actual_pages\":4096", "\"actual_pages\":1", "does not hold"),
            ("\"ignored\":0", "\"ignored\":1", "bad request"),
            ("power-off", "died", "did not power off"),
        ] {
            let error = judge(&REPORT.replace(from, to), SAID).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        for (from, to, why) in [
            ("\"corrupt\":0", "\"corrupt\":1", "damaged"),
            ("\"oom_kill\":0", "\"oom_kill\":1", "killed"),
            ("0 cases", "1 cases", "case of /dev/tmem"),
            ("\"driver\"", "\"x\"", "stat"),
            ("\"shrink\"", "\"x\"", "no `shrink` event"),
        ] {
            let error = judge(REPORT, &SAID.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
