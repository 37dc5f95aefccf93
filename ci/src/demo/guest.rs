//! What a guest says about itself: `TMEM-REPORT` lines on its console (images/README.md lists the events).

use std::collections::BTreeMap;

use serde::Deserialize;

/// How a report line begins. A console may put other bytes before it on the same line, never after.
const MARK: &str = "TMEM-REPORT ";

/// Everything that one guest reported, complete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GuestSide {
    /// Kernel release, from the boot event.
    pub(crate) kernel: String,
    /// What each workload found, in order.
    pub(crate) runs: Vec<Run>,
    /// Counters since boot.
    pub(crate) counters: Counters,
}

/// A workload's result.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Run {
    /// The file that it worked on; none if it was anonymous memory.
    #[serde(default)]
    pub(crate) file: Option<String>,
    /// Seconds that the workload took, by the guest's clock.
    pub(crate) elapsed_s: f64,
    /// Pages of its memory.
    pub(crate) pages: u64,
    /// Pages compared with what they should hold.
    pub(crate) checked: u64,
    /// Pages that did not hold it.
    pub(crate) corrupt: u64,
}

/// Counters since the guest booted.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(crate) struct Counters {
    /// Pages swapped in (/proc/vmstat).
    pub(crate) pswpin: u64,
    /// Pages swapped out (/proc/vmstat).
    pub(crate) pswpout: u64,
    /// Sectors by disk (/proc/diskstats).
    #[serde(default)]
    pub(crate) disks: BTreeMap<String, Disk>,
    /// The driver's counters; absent or empty without the driver.
    #[serde(default)]
    pub(crate) tmem: Driver,
}

/// What a guest's kernel counted for one disk, in sectors of 512 bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Sectors read.
    pub(crate) sectors_read: u64,
    /// Sectors written.
    pub(crate) sectors_written: u64,
}

/// /sys/kernel/debug/tmem.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub(crate) struct Driver {
    /// What the driver did: `puts`, `gets`, `puts_refused`, ...
    #[serde(default)]
    pub(crate) stats: BTreeMap<String, u64>,
    /// What the host is and says: `transport`, `puts`, ...
    #[serde(default)]
    pub(crate) host: BTreeMap<String, serde_json::Value>,
    /// What a tmem-aware kernel did, /sys/kernel/tmem: `swap_puts`, `clean_hits`, ... From the `hooks` event.
    #[serde(skip)]
    pub(crate) hooks: BTreeMap<String, u64>,
}

impl Driver {
    /// A counter of the driver; 0 if there is no driver.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        self.stats.get(name).copied().unwrap_or(0)
    }

    /// A counter of a tmem-aware kernel; 0 if it is not one.
    pub(crate) fn hook(&self, name: &str) -> u64 {
        self.hooks.get(name).copied().unwrap_or(0)
    }

    /// Which transport the driver uses.
    pub(crate) fn transport(&self) -> Option<&str> {
        self.host.get("transport")?.as_str()
    }
}

/// Why a console does not tell a complete story.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GuestError {
    /// The end marker is missing.
    #[error("{guest}: its console has no end marker, so it has not ended; its last lines:\n{tail}")]
    NoEnd {
        /// Which guest.
        guest: String,
        /// The console's end.
        tail: String,
    },
    /// It ended badly.
    #[error("{guest}: ended with status {status}; its last lines:\n{tail}")]
    Status {
        /// Which guest.
        guest: String,
        /// The status in the end marker.
        status: i64,
        /// The console's end.
        tail: String,
    },
    /// An event that every good run reports is missing.
    #[error("{guest}: reported no `{event}` event")]
    Missing {
        /// Which guest.
        guest: String,
        /// The event.
        event: &'static str,
    },
    /// A report line is not what images/README.md says.
    #[error("{guest}: cannot read its `{event}` report: {reason}")]
    Malformed {
        /// Which guest.
        guest: String,
        /// The event, or what stands in its place.
        event: String,
        /// What is wrong.
        reason: String,
    },
}

/// Reads the console of `guest`, which must have ended with status 0.
pub(crate) fn read(guest: &str, console: &str) -> Result<GuestSide, GuestError> {
    let (mut events, mut runs) = (BTreeMap::new(), Vec::new());
    for line in console.lines() {
        let Some((_, json)) = line.split_once(MARK) else { continue };
        let malformed =
            |reason: String| GuestError::Malformed { guest: guest.into(), event: json.into(), reason };
        let value: serde_json::Value =
            serde_json::from_str(json.trim_end()).map_err(|error| malformed(error.to_string()))?;
        let event = value
            .get("event")
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| malformed("no event".into()))?;
        if event == "run" {
            runs.push(serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?);
        } else {
            events.insert(event.to_owned(), value);
        }
    }
    let tail = || crate::command::tail_of(console, 15);
    let status = events
        .get("end")
        .and_then(|end| end.get("status")?.as_i64())
        .ok_or_else(|| GuestError::NoEnd { guest: guest.into(), tail: tail() })?;
    if status != 0 {
        return Err(GuestError::Status { guest: guest.into(), status, tail: tail() });
    }
    if runs.is_empty() {
        return Err(GuestError::Missing { guest: guest.into(), event: "run" });
    }
    let boot: Boot = event(guest, &mut events, "boot")?;
    let mut counters: Counters = event(guest, &mut events, "counters")?;
    if events.contains_key("hooks") {
        let mut hooks: BTreeMap<String, serde_json::Value> = event(guest, &mut events, "hooks")?;
        hooks.remove("event");
        let numbers = hooks.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?)));
        counters.tmem.hooks = numbers.collect();
    }
    Ok(GuestSide { kernel: boot.kernel, runs, counters })
}

#[derive(Deserialize)]
struct Boot {
    kernel: String,
}

fn event<T: serde::de::DeserializeOwned>(
    guest: &str,
    events: &mut BTreeMap<String, serde_json::Value>,
    name: &'static str,
) -> Result<T, GuestError> {
    let value = events.remove(name).ok_or(GuestError::Missing { guest: guest.into(), event: name })?;
    serde_json::from_value(value).map_err(|error| GuestError::Malformed {
        guest: guest.into(),
        event: name.into(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A console as a good guest leaves it.
    pub(crate) fn console(corrupt: u64, status: i64) -> String {
        format!(
            "[    0.1] noise\n\
             TMEM-REPORT {{\"event\":\"boot\",\"kernel\":\"6.12.117\",\"cpus\":1}}\n\
             TMEM-REPORT {{\"event\":\"progress\",\"done\":3}}\n\
             TMEM-REPORT {{\"event\":\"run\",\"pages\":32768,\"elapsed_s\":12.5,\"checked\":65536,\"corrupt\":{corrupt}}}\n\
             TMEM-REPORT {{\"event\":\"counters\",\"pswpin\":10,\"pswpout\":20,\"disks\":{{\"vda\":{{\"reads\":1,\
             \"sectors_read\":80,\"writes\":2,\"sectors_written\":160}}}},\"tmem\":{{\"stats\":{{\"puts\":20}},\
             \"host\":{{\"transport\":\"hypercall\",\"puts\":20}}}}}}\n\
             TMEM-REPORT {{\"event\":\"end\",\"status\":{status}}}\n"
        )
    }

    #[test]
    fn a_complete_console_is_read() {
        let side = read("a", &console(0, 0)).unwrap();
        assert_eq!(side.kernel, "6.12.117");
        assert_eq!(side.runs.iter().map(|run| (run.pages, run.corrupt)).collect::<Vec<_>>(), [(32768, 0)]);
        assert_eq!(side.counters.disks["vda"].sectors_read, 80);
        assert_eq!(side.counters.tmem.stat("puts"), 20);
        assert_eq!(side.counters.tmem.transport(), Some("hypercall"));
    }

    #[test]
    fn a_guest_without_driver_has_no_driver_counters() {
        let text = console(0, 0).replace(
            "\"tmem\":{\"stats\":{\"puts\":20},\"host\":{\"transport\":\"hypercall\",\"puts\":20}}",
            "\"tmem\":{}",
        );
        let side = read("a", &text).unwrap();
        assert_eq!((side.counters.tmem.stat("puts"), side.counters.tmem.transport()), (0, None));
    }

    #[test]
    fn a_console_that_stops_short_has_not_ended() {
        let text = console(0, 0);
        let cut = text.find("\"event\":\"end\"").unwrap() - "TMEM-REPORT {".len();
        assert!(matches!(read("a", &text[..cut]), Err(GuestError::NoEnd { .. })));
    }

    #[test]
    fn a_bad_status_is_an_error_that_shows_the_console() {
        let error = read("a", &console(0, 3)).unwrap_err().to_string();
        assert!(error.contains("status 3") && error.contains("TMEM-REPORT"), "{error}");
    }

    #[test]
    fn a_half_line_of_json_is_malformed() {
        let text = format!("TMEM-REPORT {{\"event\":\n{}", console(0, 0));
        assert!(matches!(read("a", &text), Err(GuestError::Malformed { .. })));
    }

    #[test]
    fn a_missing_event_is_named() {
        let text: String = console(0, 0)
            .lines()
            .filter(|line| !line.contains("\"run\""))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(read("a", &text), Err(GuestError::Missing { guest: "a".into(), event: "run" }));
    }
}
