//! The session as all its threads see it: which guests run, and what they hold and have done. Nobody holds a lock of this while a guest
//! or the store is asked something, so that one that is slow to answer keeps only those waiting who asked it.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::series::{DiskLine, GuestLine, Line};
use super::tmem::{Share, Tmem};
use crate::config::GuestConfig;
use crate::guest::Guest;

/// A guest that runs, and its share of the store.
pub(super) struct Running {
    pub(super) guest: Guest,
    pub(super) share: Option<Arc<Share>>,
}

/// How far a guest has come.
#[derive(Clone)]
pub(super) enum Standing {
    /// It is not started yet.
    Waiting,
    Running(Arc<Running>),
    Ended,
    /// It could not be started, or was not any more.
    Never,
}

/// A guest's place in the session.
pub(super) struct Place {
    pub(super) config: GuestConfig,
    standing: Mutex<Standing>,
}

/// The session.
pub(super) struct Live {
    pub(super) started: Instant,
    pub(super) tmem: Tmem,
    places: Vec<Place>,
}

impl Live {
    pub(super) fn new(tmem: Tmem, guests: &[GuestConfig]) -> Self {
        let place =
            |config: &GuestConfig| Place { config: config.clone(), standing: Mutex::new(Standing::Waiting) };
        Self { started: Instant::now(), tmem, places: guests.iter().map(place).collect() }
    }

    /// The guests' places, in the order of the configuration.
    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Those that run.
    pub(super) fn running(&self) -> Vec<Arc<Running>> {
        self.places.iter().filter_map(Place::running).collect()
    }

    /// Hands `to` what the store and the guests hold and have done now.
    pub(super) fn with_line<T>(&self, to: impl FnOnce(&Line<'_>) -> T) -> T {
        let running = self.running();
        let guests = running.iter().map(|running| running.line()).collect();
        to(&Line::new(self.started, Instant::now(), self.tmem.store(), guests))
    }
}

impl Place {
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    pub(super) fn running(&self) -> Option<Arc<Running>> {
        match &*self.standing.lock() {
            Standing::Running(running) => Some(running.clone()),
            _ => None,
        }
    }

    /// Changes how far it has come.
    pub(super) fn set(&self, standing: Standing) {
        let before = std::mem::replace(&mut *self.standing.lock(), standing);
        // A guest is taken apart here, with no lock held.
        drop(before);
    }
}

impl Running {
    /// What it holds and has done.
    pub(super) fn line(&self) -> GuestLine<'_> {
        let (sectors_read, sectors_written) = self.guest.sectors();
        GuestLine {
            name: self.guest.name(),
            sectors_read,
            sectors_written,
            disks: self.guest.disks().map(|(id, bytes)| DiskLine { id: id.into(), bytes }).collect(),
            balloon: self.guest.balloon(),
            tmem: self.share.as_deref().map(Share::report),
            rights: self.share.as_deref().map(Share::rights),
        }
    }
}
