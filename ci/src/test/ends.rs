//! Guests end in every way there is, none takes another one with it, and Ctrl-C ends what is left.

use serde::Deserialize;

use super::Context;
use super::report::Ending;
use crate::lab::{Added, Job};

/// How each guest of ci/lab/ends.toml has to end.
const ENDS: [(&str, &str); 4] =
    [("off", "power-off"), ("reset", "reset"), ("dies", "died"), ("stays", "stopped")];

/// `tmem run`'s exit status when it was stopped (its --help).
const STOPPED: i32 = 130;

/// Waits for the end of all but the last guest, asks where that one stands (SIGQUIT) and stops it (SIGINT, which is Ctrl-C).
const SCRIPT: &str = "tmem --log info run /lab/ends.toml --report /out/report.json > /tmp/said 2>&1 & \
     until [ \"$(grep -c ' ended ' /tmp/said)\" = 3 ]; do usleep 200000; done; \
     kill -QUIT $!; \
     until grep -q 'stays vcpu0: rip' /tmp/said; do usleep 200000; done; \
     kill -INT $!; wait $!; status=$?; cat /tmp/said; exit $status";

#[derive(Debug, Deserialize)]
struct Report {
    guests: Vec<Guest>,
}

#[derive(Debug, Deserialize)]
struct Guest {
    name: String,
    end: String,
}

/// Runs it.
pub(super) fn ends(context: &Context, name: &str) -> Ending {
    let out = Context::dir().join(name);
    let toml = Added { from: crate::paths::root().join("ci/lab/ends.toml"), to: "/lab/ends.toml".into() };
    let job = Job { added: vec![toml], out: out.clone(), ..Job::new(SCRIPT) };
    let run = || -> Result<String, String> {
        let mut log = std::fs::File::create(Context::log(name)).map_err(|error| error.to_string())?;
        let status = context.lab()?.run(&job, &mut log).map_err(|error| error.to_string())?.status;
        if status != STOPPED {
            return Err(format!("`tmem run` ended with status {status} instead of {STOPPED}"));
        }
        let text = std::fs::read_to_string(out.join("report.json"))
            .map_err(|error| format!("no report: {error}"))?;
        judge(&text)
    };
    run().map_or_else(Ending::Failed, Ending::Passed)
}

/// Whether the report says what [`ENDS`] does.
fn judge(text: &str) -> Result<String, String> {
    let report: Report =
        serde_json::from_str(text).map_err(|error| format!("cannot read the report: {error}"))?;
    let seen: Vec<(&str, &str)> =
        report.guests.iter().map(|guest| (guest.name.as_str(), guest.end.as_str())).collect();
    if seen != ENDS {
        return Err(format!("guests ended as {seen:?} instead of {ENDS:?}"));
    }
    Ok("power-off, reset, triple fault; SIGQUIT shows registers, SIGINT stops the last".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_ended_otherwise_is_named() {
        let good = r#"{"guests":[{"name":"off","end":"power-off"},{"name":"reset","end":"reset"},
            {"name":"dies","end":"died"},{"name":"stays","end":"stopped"}]}"#;
        assert!(judge(good).is_ok());
        let bad = judge(&good.replace("died", "stopped")).unwrap_err();
        assert!(bad.contains("(\"dies\", \"stopped\")"), "{bad}");
        assert!(judge("{}").is_err());
    }
}
