//! What a server did: JSON for programs.

use std::sync::atomic::Ordering;

use serde::Serialize;
use tmem_host::{ClientReport, Rights, StoreReport};

use super::listener::Served;
use crate::guest::DiskReport as RequestReport;

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ServeReport {
    /// The store now.
    pub store: StoreReport,
    /// In the order of the configuration.
    pub guests: Vec<GuestReport>,
}

/// One guest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuestReport {
    /// Its name.
    pub name: String,
    /// What its disks did in the store. Its pages are blocks that were written and not discarded: of a guest that does not discard, also
    /// those that it has long freed.
    pub tmem: ClientReport,
    /// What it may do there.
    pub rights: Rights,
    /// Its disks.
    pub disks: Vec<DiskReport>,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiskReport {
    /// What the guest asked of it.
    #[serde(flatten)]
    pub requests: RequestReport,
    /// Blocks that the store refused and the backing file took.
    pub blocks_backed: u64,
    /// Blocks that the store refused and that had no other place: write errors.
    pub blocks_refused: u64,
    /// Blocks that were asked for and are gone: read errors.
    pub blocks_lost: u64,
}

pub(super) fn guest(name: &str, disks: &[Served]) -> Option<GuestReport> {
    let client = disks.first()?.disk().medium().client();
    Some(GuestReport {
        name: name.into(),
        tmem: ClientReport::of(client),
        rights: Rights::of(client),
        disks: disks.iter().map(disk).collect(),
    })
}

fn disk(served: &Served) -> DiskReport {
    let counters = served.disk().medium().counters();
    DiskReport {
        requests: RequestReport::new(served.disk(), served.path().display().to_string()),
        blocks_backed: counters.backed.load(Ordering::Relaxed),
        blocks_refused: counters.refused.load(Ordering::Relaxed),
        blocks_lost: counters.lost.load(Ordering::Relaxed),
    }
}
