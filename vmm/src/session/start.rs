//! Starting one guest, on a thread of its own: what it opens may take as long as it likes, and nobody else waits for it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use thiserror::Error;
use tmem_host::ClientReport;

use super::live::{Live, Running};
use super::supervise::Event;
use super::tmem::{Share, TmemError};
use crate::config::{FileRole, GuestConfig};
use crate::devices::console::{Console, ConsoleError, Unwritten};
use crate::devices::stdin::{self, Input};
use crate::disk::Image;
use crate::guest::{Guest, GuestError, GuestReport};
use crate::kvm::{System, Transport};
use crate::memory::{GuestRam, MemoryError};
use crate::output::{OpenError, Writer};

/// Why one guest was not started.
#[derive(Debug, Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Tmem(#[from] TmemError),
    #[error("its console {0}")]
    Console(String),
    #[error("the host has no thread for {what}: {source}; raise its limit (ulimit -u)")]
    Thread { what: &'static str, source: io::Error },
}

/// What is left of a guest that has ended: its memory and its pages in the store are free again.
pub(super) struct Ended {
    pub(super) report: GuestReport,
    pub(super) transport: Option<Transport>,
    pub(super) tmem: Option<ClientReport>,
}

/// A guest that was started.
pub(super) struct Started {
    pub(super) running: Running,
    /// What its console's file still has to get at the end.
    pub(super) unwritten: Option<Unwritten>,
}

/// What all guests are started with.
pub(super) struct Starter {
    pub(super) system: System,
    pub(super) live: Arc<Live>,
    /// Standard output.
    pub(super) output: Writer,
    pub(super) output_is_terminal: bool,
    /// The one guest has standard input and output for itself.
    pub(super) terminal: bool,
    pub(super) events: Sender<Event>,
}

impl Starter {
    /// Starts the guest at this place of the configuration. That it is done, or why not, comes as an event, and so does its end.
    pub(super) fn start(
        self: &Arc<Self>,
        index: usize,
        config: &GuestConfig,
        images: Vec<Image>,
    ) -> Result<(), StartError> {
        let (starter, config) = (self.clone(), config.clone());
        let work = move || {
            let started = starter.try_start(index, &config, images);
            // The session may have given up.
            let _ = starter.events.send(Event::Started(index, started.map(Box::new)));
        };
        spawn("starting it", work)
    }

    fn try_start(
        &self,
        index: usize,
        config: &GuestConfig,
        images: Vec<Image>,
    ) -> Result<Started, StartError> {
        let ram = GuestRam::new(&config.spec.memory)?;
        let share = self.live.tmem.share(&self.system, config, &ram)?.map(Arc::new);
        let (console, unwritten) = self.console(config)?;
        let service = share.as_deref().map(Share::service);
        let transport = service.map(|service| service.transport);
        let (name, events, its_share) = (config.spec.name.clone(), self.events.clone(), share.clone());
        tracing::info!(
            guest = name,
            memory_bytes = config.spec.memory.size(),
            vcpus = config.spec.vcpus,
            ?transport,
            "starting"
        );
        // Called by the guest's own thread, which may wait for the store.
        let on_end = move |report| {
            tracing::info!(guest = name, "ended");
            let tmem = its_share.as_deref().map(Share::finish);
            // The session waits for this until every guest has ended, or it has given up.
            let _ = events.send(Event::Ended(index, Box::new(Ended { report, transport, tmem })));
        };
        let guest = Guest::start(&self.system, &config.spec, images, &ram, service, console, on_end)?;
        let running = Running { guest, share };
        if self.terminal
            && let Err(error) = self.connect_keyboard(&running.guest)
        {
            running.guest.stop();
            return Err(error);
        }
        Ok(Started { running, unwritten })
    }

    fn console(&self, config: &GuestConfig) -> Result<(Console, Option<Unwritten>), StartError> {
        let Some(path) = &config.console else {
            let console = if self.terminal {
                Console::alone(&self.output, self.output_is_terminal)
            } else {
                Console::lines(&config.spec.name, &self.output)
            };
            return Ok((console, None));
        };
        let (console, unwritten) = Console::open(path).map_err(|error| {
            let why = match &error {
                ConsoleError::Open(OpenError::Host(error)) => FileRole::Output.trouble(path, error),
                other => other.to_string(),
            };
            StartError::Console(format!("{}: {why}", path.display()))
        })?;
        Ok((console, Some(unwritten)))
    }

    fn connect_keyboard(&self, guest: &Guest) -> Result<(), StartError> {
        let (serial, carried, events) = (guest.serial(), guest.serial(), self.events.clone());
        spawn("its keyboard", move || carried.carry())?;
        stdin::listen(move |input| match input {
            Input::Bytes(bytes) => serial.send(bytes),
            Input::Stop => events.send(Event::Stop).is_ok(),
        });
        Ok(())
    }
}

fn spawn(what: &'static str, work: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    let spawned = std::thread::Builder::new().name(what.into()).spawn(work);
    spawned.map(drop).map_err(|source| StartError::Thread { what, source })
}
