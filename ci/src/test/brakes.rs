//! Guests that stop giving memory back, because they need it or because the host has no room (ci/lab/memory.toml).

use serde_json::Value;

use super::memory::{check, events, number};
use crate::vmm_report::{Report, Tmem};

/// Pages that `grows` has to give back before it needs them. It begins to work when so many are free that it must have been more.
const LEAST_GIVEN_BACK: u64 = 1024;
/// Most pages that the host of `capped` may have to refuse, and to evict. By the time it has no room, a request is 200 pages at most, and
/// the next are half of that each. Without that brake it was 2931 and 3235 in a run of this step; with it 183 and 143.
const MOST_IN_VAIN: u64 = 1024;
/// Most pages that `device` may ask for where there are none: halved each time, all requests together are less than two of the first, a
/// 512th of memory, and a few of one page.
const MOST_FOR_NOTHING: u64 = 2 * (160 << 20) / 4096 / 512;

/// Whether they stopped in time, and nobody had to pay with its life or its pages.
pub(super) fn judge(report: &Report, said: &str) -> Result<String, String> {
    let tmem = |name: &str| {
        let found = report.guests.iter().find(|guest| guest.name == name && guest.end == "power-off");
        found
            .and_then(|guest| guest.tmem)
            .ok_or_else(|| format!("guest {name} did not power off, or has no tmem"))
    };
    let (grows, capped) = (grows(tmem("grows")?, said)?, capped(tmem("capped")?, said)?);
    Ok(format!("{grows}; {capped}; {}", device(said)?))
}

/// The guest that needs its memory after a calm time.
fn grows(tmem: Tmem, said: &str) -> Result<String, String> {
    let shrink = events(said, "grows", "shrink");
    let runs = events(said, "grows", "run");
    let [only] = shrink.as_slice() else { return Err(format!("grows: {} reports of shrink", shrink.len())) };
    let count = |name: &str| number(only, name).unwrap_or(0);
    check(&[
        (count("reclaimed_pages") >= LEAST_GIVEN_BACK, "it gave too little back while it was calm"),
        (tmem.puts >= LEAST_GIVEN_BACK, "what it gave back is not in the store"),
        (count("stops_for_waiting") > 0, "nobody waited, or it did not stop for who did"),
        (count("rests") >= count("stops_for_waiting"), "it stopped without counting that as a rest"),
        (
            all_are_zero(&shrink, "oom_kill", 1) && all_are_zero(&runs, "oom_kill", 2),
            "a process was killed for memory",
        ),
        (all_are_zero(&runs, "corrupt", 2), "a page came back damaged, or was not looked at"),
    ])
    .map_err(|why| format!("grows: {why}: {tmem:?} {shrink:?} {runs:?}"))?;
    Ok(format!(
        "needs it again: {} pages reclaimed, {} rests, 0 corrupt, 0 killed",
        count("reclaimed_pages"),
        count("rests")
    ))
}

/// The guest whose host has no room: first for swap, then for clean pages.
fn capped(tmem: Tmem, said: &str) -> Result<String, String> {
    let shrink = events(said, "capped", "shrink");
    let runs = events(said, "capped", "run");
    let [swap, clean] = shrink.as_slice() else {
        return Err(format!("capped: {} reports of shrink", shrink.len()));
    };
    let stops = |event: &Value, name: &str| number(event, name).unwrap_or(0);
    let (refusals, evictions) = (stops(swap, "stops_for_refusals"), stops(clean, "stops_for_evictions"));
    check(&[
        (tmem.puts_refused > 0 && refusals > 0, "puts were refused, and it did not stop"),
        (tmem.evicted > 0 && evictions > 0, "clean pages were evicted, and it did not stop"),
        (tmem.puts_refused <= MOST_IN_VAIN, "it went on while puts were refused"),
        (tmem.evicted <= MOST_IN_VAIN, "it went on while its pages were evicted"),
        (all_are_zero(&shrink, "oom_kill", 2), "a process was killed for memory"),
        (all_are_zero(&runs, "corrupt", 3), "a page came back damaged, or was not looked at"),
    ])
    .map_err(|why| format!("capped: {why}: {tmem:?} {shrink:?} {runs:?}"))?;
    Ok(format!(
        "at its cap: {} puts refused and {} pages evicted, {refusals} and {evictions} stops",
        tmem.puts_refused, tmem.evicted
    ))
}

/// The guest with a balloon and no swap: at its floor, and then with nothing to find.
fn device(said: &str) -> Result<String, String> {
    let shrink = events(said, "device", "shrink");
    let [floor, nothing] = shrink.as_slice() else {
        return Err(format!("device: {} reports of shrink, each after SIGTERM", shrink.len()));
    };
    let asked = |event: &Value| number(event, "asked_pages").unwrap_or(u64::MAX);
    let short = number(nothing, "requests_cut_short").unwrap_or(0);
    check(&[
        (number(floor, "intervals") > Some(0), "it did not look once in its time"),
        (asked(floor) == 0, "pages in its balloon were taken for pages in use"),
        (short > 0, "the kernel found what is not there"),
        (number(nothing, "rests") >= Some(short), "it did not rest after a request that was cut short"),
        (asked(nothing) <= MOST_FOR_NOTHING, "it went on asking for what is not there"),
    ])
    .map_err(|why| format!("device: {why}: {shrink:?}"))?;
    Ok(format!("nothing to find: {} pages asked for in {short} requests", asked(nothing)))
}

/// Whether there are `events` such events, and each says 0.
fn all_are_zero(events: &[Value], field: &str, count: usize) -> bool {
    events.len() == count && events.iter().all(|event| number(event, field) == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm_report::Guest;
    use crate::vmm_report::tests::guest;

    const SAID: &str = "grows| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0,\"oom_kill\":0}\n\
        grows| TMEM-REPORT {\"event\":\"shrink\",\"rests\":7,\"stops_for_waiting\":4,\"reclaimed_pages\":5572,\"oom_kill\":0}\n\
        grows| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0,\"oom_kill\":0}\n\
        capped| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0}\n\
        capped| TMEM-REPORT {\"event\":\"shrink\",\"stops_for_refusals\":3,\"oom_kill\":0}\n\
        capped| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0}\n\
        capped| TMEM-REPORT {\"event\":\"run\",\"corrupt\":0}\n\
        capped| TMEM-REPORT {\"event\":\"shrink\",\"stops_for_evictions\":2,\"oom_kill\":0}\n\
        device| TMEM-REPORT {\"event\":\"shrink\",\"intervals\":2,\"asked_pages\":0}\n\
        device| TMEM-REPORT {\"event\":\"shrink\",\"asked_pages\":101,\"requests_cut_short\":3,\"rests\":8}\n";

    fn report() -> Report {
        let grows = Tmem { puts: 6789, ..Tmem::default() };
        let capped = Tmem { puts_refused: 183, evicted: 143, ..Tmem::default() };
        Report { guests: vec![guest("grows", Some(grows)), guest("capped", Some(capped))] }
    }

    #[test]
    fn guests_that_stop_in_time_are_good() {
        assert_eq!(
            judge(&report(), SAID).unwrap(),
            "needs it again: 5572 pages reclaimed, 7 rests, 0 corrupt, 0 killed; \
             at its cap: 183 puts refused and 143 pages evicted, 3 and 2 stops; \
             nothing to find: 101 pages asked for in 3 requests"
        );
    }

    #[test]
    fn guest_that_goes_on_or_a_page_that_suffers_is_named() {
        for (from, to, why) in [
            ("5572", "1023", "too little back"),
            ("\"stops_for_waiting\":4", "\"stops_for_waiting\":0", "nobody waited"),
            ("\"rests\":7", "\"rests\":3", "as a rest"),
            (
                "4,\"reclaimed_pages\":5572,\"oom_kill\":0",
                "4,\"reclaimed_pages\":5572,\"oom_kill\":1",
                "killed",
            ),
            ("\"corrupt\":0,\"oom_kill\":0", "\"corrupt\":0,\"oom_kill\":1", "grows: a process was killed"),
            ("\"corrupt\":0,", "\"corrupt\":1,", "grows: a page came back damaged"),
            ("\"corrupt\":0}", "\"corrupt\":1}", "capped: a page came back damaged"),
            ("\"stops_for_refusals\":3", "\"stops_for_refusals\":0", "puts were refused, and"),
            ("\"stops_for_evictions\":2", "\"stops_for_evictions\":0", "were evicted, and"),
            ("evictions\":2,\"oom_kill\":0", "evictions\":2,\"oom_kill\":1", "capped: a process was killed"),
            ("\"intervals\":2", "\"intervals\":0", "did not look"),
            ("\"asked_pages\":0", "\"asked_pages\":1", "taken for pages in use"),
            ("cut_short\":3", "cut_short\":0", "what is not there"),
            ("\"rests\":8", "\"rests\":2", "did not rest"),
            ("\"asked_pages\":101", "\"asked_pages\":161", "went on asking"),
            ("device| TMEM", "device| ", "0 reports of shrink, each"),
            ("\"shrink\"", "\"x\"", "0 reports of shrink"),
        ] {
            let error = judge(&report(), &SAID.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
        type Spoil = fn(&mut Guest);
        let spoils: [(usize, Spoil, &str); 5] = [
            (0, |it| it.tmem = Some(Tmem::default()), "not in the store"),
            (0, |it| it.end = "died".into(), "grows did not power off"),
            (1, |it| it.tmem = None, "capped did not power off"),
            (
                1,
                |it| it.tmem = it.tmem.map(|tmem| Tmem { puts_refused: 1025, ..tmem }),
                "while puts were refused",
            ),
            (
                1,
                |it| it.tmem = it.tmem.map(|tmem| Tmem { evicted: 1025, ..tmem }),
                "while its pages were evicted",
            ),
        ];
        for (index, spoil, why) in spoils {
            let mut report = report();
            spoil(&mut report.guests[index]);
            let error = judge(&report, SAID).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
