//! The report of a session: JSON for programs, lines for people, one exit status.

use std::fmt;

use serde::Serialize;
use tmem_host::ClientReport;

use crate::guest::{BalloonReport, DiskReport, End, ExitCounts};

/// How a guest ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndKind {
    /// It powered itself off.
    PowerOff,
    /// It reset itself: a reboot.
    Reset,
    /// It halted itself, without power-off.
    Halted,
    /// Its kernel panicked.
    Panicked,
    /// It was stopped from outside.
    Stopped,
    /// It could not go on.
    Died,
    /// It was never started.
    NotStarted,
}

impl From<&End> for EndKind {
    fn from(end: &End) -> Self {
        match end {
            End::PowerOff => Self::PowerOff,
            End::Reset => Self::Reset,
            End::Halted => Self::Halted,
            End::Panicked => Self::Panicked,
            End::Stopped => Self::Stopped,
            End::Died { .. } => Self::Died,
        }
    }
}

/// One guest's part of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub end: EndKind,
    /// Why, where there is more to say: the failure with registers, or the reason it did not start.
    pub reason: Option<String>,
    /// From its first instruction to its end.
    pub elapsed_seconds: f64,
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// Virtual processors.
    pub vcpus: u32,
    /// `xen`, `port`, or nothing for a guest without tmem.
    pub transport: Option<&'static str>,
    /// Exits to user space by kind, all vCPUs together.
    pub exits: ExitCounts,
    /// Disks in order.
    pub disks: Vec<DiskReport>,
    /// Nothing for a guest without a balloon.
    pub balloon: Option<BalloonReport>,
    /// Nothing for a guest without tmem.
    pub tmem: Option<ClientReport>,
}

/// What a session did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionReport {
    /// Bytes that the store may hold.
    pub store_bytes: u64,
    /// Guests in the order of the configuration.
    pub guests: Vec<Entry>,
}

impl SessionReport {
    /// 0 when all guests powered off; else that of the worst guest: 3 reset or halted, 4 panicked, died or not started, 130 stopped.
    pub fn exit_status(&self) -> u8 {
        let status = |entry: &Entry| match entry.end {
            EndKind::PowerOff => 0,
            EndKind::Reset | EndKind::Halted => 3,
            EndKind::Panicked | EndKind::Died | EndKind::NotStarted => 4,
            EndKind::Stopped => 130,
        };
        self.guests.iter().map(status).max().unwrap_or(0)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.end {
            EndKind::PowerOff => "powered off",
            EndKind::Reset => "reset itself",
            EndKind::Halted => "halted",
            EndKind::Panicked => "panicked",
            EndKind::Stopped => "was stopped",
            EndKind::Died => "died",
            EndKind::NotStarted => {
                return write!(f, "{}: not started: {}", self.name, self.reason.as_deref().unwrap_or(""));
            }
        };
        write!(f, "{}: {end} after {:.2} s", self.name, self.elapsed_seconds)?;
        if let Some(tmem) = &self.tmem {
            write!(f, ", {} puts, {} gets, {} refused", tmem.puts, tmem.gets, tmem.puts_refused)?;
        }
        for (index, disk) in self.disks.iter().enumerate() {
            if disk.found {
                let (read, written) = (disk.sectors_read, disk.sectors_written);
                write!(f, ", disk {index}: {read} sectors read, {written} written")?;
            } else {
                write!(f, ", disk {index}: no driver in the guest found it")?;
            }
        }
        if let Some(balloon) = &self.balloon {
            write!(f, ", {} MiB given back", balloon.given_back_bytes >> 20)?;
        }
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(end: EndKind) -> Entry {
        Entry {
            name: "a".into(),
            end,
            reason: None,
            elapsed_seconds: 1.5,
            memory_bytes: 64 << 20,
            vcpus: 1,
            transport: Some("xen"),
            exits: ExitCounts::default(),
            disks: vec![],
            balloon: None,
            tmem: None,
        }
    }

    #[test]
    fn status_when_all_powered_off_is_zero_else_the_worst() {
        let status = |ends: &[EndKind]| {
            SessionReport { store_bytes: 0, guests: ends.iter().map(|e| entry(*e)).collect() }.exit_status()
        };
        assert_eq!(status(&[EndKind::PowerOff, EndKind::PowerOff]), 0);
        assert_eq!(status(&[EndKind::PowerOff, EndKind::Reset]), 3);
        assert_eq!(status(&[EndKind::PowerOff, EndKind::Halted]), 3);
        assert_eq!(status(&[EndKind::Panicked, EndKind::Halted]), 4);
        assert_eq!(status(&[EndKind::Died, EndKind::Reset]), 4);
        assert_eq!(status(&[EndKind::NotStarted]), 4);
        assert_eq!(status(&[EndKind::Stopped, EndKind::PowerOff]), 130);
    }

    #[test]
    fn disk_when_no_driver_found_it_is_told_so() {
        let disks = [false, true].map(|found| DiskReport { found, sectors_read: 8, ..Default::default() });
        let entry = Entry { disks: disks.into(), ..entry(EndKind::Halted) };
        assert_eq!(
            entry.to_string(),
            "a: halted after 1.50 s, disk 0: no driver in the guest found it, disk 1: 8 sectors read, 0 written"
        );
    }

    #[test]
    fn json_when_written_has_the_names_that_readers_use() {
        let json = serde_json::to_value(entry(EndKind::PowerOff)).unwrap();
        assert_eq!(json["end"], "power-off");
        assert_eq!(json["exits"]["hypercall"], 0);
        assert_eq!(json["transport"], "xen");
    }
}
