//! `tmem run --report`, as far as anything here looks at it.
//!
//! Written by vmm/src/session/report.rs. What is missing is an error, never a zero.

use serde::Deserialize;

/// The report.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Report {
    /// The guests, in the order of the configuration.
    pub(crate) guests: Vec<Guest>,
}

/// What the VMM says about one guest.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Guest {
    /// Its name.
    pub(crate) name: String,
    /// How it ended: `power-off`, `reset`, `halted`, `panicked`, `stopped`, `died`, `not-started`.
    pub(crate) end: String,
    /// How its hypercalls travel, `xen` or `port`; nothing without tmem.
    pub(crate) transport: Option<String>,
    /// Its exits to the VMM.
    pub(crate) exits: Exits,
    /// Its disks.
    pub(crate) disks: Vec<Disk>,
    /// Its balloon, if it has one.
    pub(crate) balloon: Option<Balloon>,
    /// Its client of the store; nothing without tmem.
    pub(crate) tmem: Option<Tmem>,
}

/// Exits for disks and tmem. Ports are left out, because they are the console, where a guest with tmem prints its counters at
/// the end, and no work; so are signals and kicks, which are the VMM's own.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Exits {
    /// Reads of device registers.
    pub(crate) mmio_read: u64,
    /// Writes of device registers.
    pub(crate) mmio_write: u64,
    /// Hypercalls.
    pub(crate) hypercall: u64,
}

/// Sectors of 512 bytes that the VMM moved for a disk.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Disk {
    /// Sectors read.
    pub(crate) sectors_read: u64,
    /// Sectors written.
    pub(crate) sectors_written: u64,
    /// Sectors discarded.
    pub(crate) sectors_discarded: u64,
}

/// What a guest gave back of its memory.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Balloon {
    /// Pages in the balloon at the end, as the guest says.
    pub(crate) actual_pages: u64,
    /// Pages put into it.
    pub(crate) inflated_pages: u64,
    /// Pages taken out of it.
    pub(crate) deflated_pages: u64,
    /// Free pages reported.
    pub(crate) reported_pages: u64,
    /// Bytes that the host held and got back.
    pub(crate) given_back_bytes: u64,
    /// What was not RAM of the guest, or exceeded a request.
    pub(crate) ignored: u64,
    /// Ranges that the host did not take back.
    pub(crate) failed: u64,
}

/// What the store counted for a client.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Tmem {
    /// Pages put and kept.
    pub(crate) puts: u64,
    /// Puts that were refused.
    pub(crate) puts_refused: u64,
    /// Gets, misses included.
    pub(crate) gets: u64,
    /// Pages that the host evicted.
    pub(crate) evicted: u64,
}

impl Guest {
    /// Sectors read from and written to all its disks.
    pub(crate) fn sectors(&self) -> (u64, u64) {
        let sum = |of: fn(&Disk) -> u64| self.disks.iter().map(of).sum();
        (sum(|disk| disk.sectors_read), sum(|disk| disk.sectors_written))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A guest that powered off, with two disks and `tmem`.
    pub(crate) fn guest(name: &str, tmem: Option<Tmem>) -> Guest {
        Guest {
            name: name.into(),
            end: "power-off".into(),
            transport: tmem.is_some().then(|| "xen".into()),
            exits: Exits { mmio_read: 3, mmio_write: 4, hypercall: 5 },
            disks: vec![
                Disk { sectors_read: 10, sectors_written: 20, ..Disk::default() },
                Disk { sectors_read: 1, sectors_written: 2, ..Disk::default() },
            ],
            balloon: None,
            tmem,
        }
    }

    #[test]
    fn sectors_are_those_of_all_disks() {
        assert_eq!(guest("a", None).sectors(), (11, 22));
    }

    #[test]
    fn a_counter_that_is_missing_is_an_error_and_not_zero() {
        let disk = r#"{"sectors_read":1,"sectors_written":2,"sectors_discarded":0,"reads":1}"#;
        assert!(serde_json::from_str::<Disk>(disk).is_ok());
        assert!(serde_json::from_str::<Disk>(&disk.replace("written", "wrote")).is_err());
    }
}
