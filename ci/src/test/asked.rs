//! A guest whose balloon was set with `tmem control` while it ran (ci/lab/memory.sh).

use std::path::Path;

use serde::Deserialize;

use crate::files;
use crate::vmm_report::Balloon;

/// Pages that it was asked for: 32 MiB.
const ASKED_PAGES: u64 = 8192;
/// What the host has to get back for them at least, in bytes: half. It never held the pages that the guest never touched.
const LEAST_GIVEN_BACK: u64 = 16 << 20;
/// Bytes that the guest may hold in the store in the end.
const CAP: u64 = 1 << 20;

/// What `tmem control SOCKET guests --json` prints, as far as it is used here.
#[derive(Debug, Deserialize)]
struct Session {
    guests: Vec<Guest>,
}

#[derive(Clone, Debug, Deserialize)]
struct Guest {
    name: String,
    balloon: Option<Balloon>,
    rights: Option<Rights>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Rights {
    cap_bytes: Option<u64>,
}

/// Whether what was asked was done, by what is in `out`: before, when the balloon was full, when it was empty again, and why 4 GiB were
/// refused.
pub(super) fn judge(out: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut at = Vec::new();
    for name in ["before.json", "inflated.json", "deflated.json"] {
        let session: Session = serde_json::from_str(&files::read(&out.join(name))?)?;
        let asked = session.guests.into_iter().find(|guest| guest.name == "asked");
        at.push(asked.ok_or_else(|| format!("{name}: guest `asked` did not run"))?);
    }
    let refused = files::read(&out.join("refused.txt"))?;
    let [before, inflated, deflated] = at.as_slice() else { return Err("three states".into()) };
    Ok(compare([before, inflated, deflated], &refused)?)
}

fn compare(at: [&Guest; 3], refused: &str) -> Result<String, String> {
    let [before, inflated, deflated] =
        at.map(|guest| guest.balloon.ok_or_else(|| format!("{guest:?} has no balloon")));
    let (before, inflated, deflated) = (before?, inflated?, deflated?);
    let given = inflated.given_back_bytes.saturating_sub(before.given_back_bytes);
    let cap = at.map(|guest| guest.rights.and_then(|rights| rights.cap_bytes));
    super::memory::check(&[
        (before.actual_pages == 0, "its balloon was not empty before"),
        (inflated.actual_pages == ASKED_PAGES, "its balloon did not grow to what was asked for"),
        (given >= LEAST_GIVEN_BACK, "the host got too little back"),
        (deflated.actual_pages == 0, "its balloon did not shrink again"),
        (deflated.deflated_pages >= ASKED_PAGES, "its balloon did not give the pages back"),
        (refused.contains("keeps at least"), "more than the guest has was not refused, or not with a reason"),
        (cap == [None, None, Some(CAP)], "its cap was not set"),
    ])
    .map_err(|why| format!("asked: {why}: {at:?} {refused:?}"))?;
    Ok(format!("asked for 32 MiB: {} MiB given back, and all returned", given >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(actual_pages: u64, given_back_bytes: u64, cap_bytes: Option<u64>) -> Guest {
        let deflated_pages = if cap_bytes.is_some() { ASKED_PAGES } else { 0 };
        let balloon = Balloon { actual_pages, deflated_pages, given_back_bytes, ..Balloon::default() };
        Guest { name: "asked".into(), balloon: Some(balloon), rights: Some(Rights { cap_bytes }) }
    }

    #[test]
    fn a_balloon_that_grew_gave_back_and_shrank_is_good_and_another_is_named() {
        let states = [guest(0, 0, None), guest(8192, 30 << 20, None), guest(0, 30 << 20, Some(CAP))];
        let judge = |at: &[Guest; 3], refused: &str| compare([&at[0], &at[1], &at[2]], refused);
        let refused = "a guest keeps at least 16M for itself";
        assert_eq!(judge(&states, refused).unwrap(), "asked for 32 MiB: 30 MiB given back, and all returned");
        assert!(judge(&states, "").unwrap_err().contains("was not refused"));
        for (index, bad, why) in [
            (1, guest(8191, 30 << 20, None), "did not grow"),
            (1, guest(8192, 1 << 20, None), "too little"),
            (2, guest(1, 30 << 20, Some(CAP)), "did not shrink"),
            (2, guest(0, 30 << 20, None), "did not give the pages back"),
        ] {
            let mut states = states.clone();
            states[index] = bad;
            let error = judge(&states, refused).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
