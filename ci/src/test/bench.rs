//! What `tmem bench hypercall --json` prints, and when it is good.

use serde::Deserialize;

/// The line, as far as it is judged here.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Bench {
    /// How the calls travelled.
    pub(super) transport: String,
    /// Operations a second, all guests together.
    pub(super) ops_per_s: f64,
    /// Gets whose page was compared in the guest.
    pub(super) verified_pages: u64,
    /// Wrong answers and wrong pages.
    pub(super) errors: u64,
}

/// Reads the last line of `text` and judges it.
pub(super) fn judge(text: &str) -> Result<Bench, String> {
    let line = text.lines().rfind(|line| line.starts_with('{')).ok_or("it printed no line of JSON")?;
    let bench: Bench =
        serde_json::from_str(line).map_err(|error| format!("cannot read `{line}`: {error}"))?;
    match bench {
        Bench { errors: 1.., .. } => Err(format!("{} errors: {line}", bench.errors)),
        Bench { verified_pages: 0, .. } => Err(format!("no page was verified: {line}")),
        good => Ok(good),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verified: u64, errors: u64) -> String {
        format!(
            "noise\n{{\"transport\":\"port\",\"null_ns\":1,\"ops_per_s\":9.5,\"verified_pages\":{verified},\"errors\":{errors}}}\n"
        )
    }

    #[test]
    fn a_run_without_errors_that_verified_pages_is_good() {
        assert_eq!(judge(&line(7, 0)).unwrap().verified_pages, 7);
    }

    #[test]
    fn errors_and_unverified_runs_are_bad() {
        assert!(judge(&line(7, 1)).unwrap_err().starts_with("1 errors"));
        assert!(judge(&line(0, 0)).unwrap_err().starts_with("no page was verified"));
        assert!(judge("").is_err());
    }
}
