//! The main loop of a session.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::report::{EndKind, Entry, SessionReport};
use super::signals::{self, Signal};
use super::tmem::{Share, Tmem, TmemError};
use super::watch;
use crate::config::{GuestConfig, RunConfig};
use crate::devices::console::Console;
use crate::devices::stdin::{self, Key, RawMode};
use crate::guest::{End, ExitCounts, Guest, GuestError};
use crate::kvm::{System, SystemError, Transport};
use crate::memory::{GuestRam, MemoryError};

/// How to run, apart from what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Say this often where every guest stands.
    pub watch: Option<Duration>,
}

/// Why nothing could be run at all.
#[derive(Debug, Error)]
pub enum SessionError {
    /// No usable KVM.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The store, or a guest's transport.
    #[error(transparent)]
    Tmem(#[from] TmemError),
    /// Signals could not be set up.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
}

/// Why one guest was not started.
#[derive(Debug, Error)]
enum StartError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Tmem(#[from] TmemError),
    #[error("cannot create its console file: {0}")]
    Console(#[source] io::Error),
}

enum Event {
    Ended,
    Stop,
    Show,
}

/// Runs all guests of `config` to their ends.
///
/// # Errors
/// [`SessionError`] when no guest could be started for a reason common to all. A guest's own failure is in the report.
pub fn run(config: &RunConfig, options: Options) -> Result<SessionReport, SessionError> {
    let system = System::open()?;
    system.require_linux()?;
    let tmem = Tmem::new(&system, config)?;
    let (events, received) = channel();
    let to = events.clone();
    signals::listen(move |signal| {
        // The session may be over.
        let _ = to.send(match signal {
            Signal::Stop => Event::Stop,
            Signal::Show => Event::Show,
        });
    })
    .map_err(SessionError::Signals)?;
    let terminal = matches!(config.guests.as_slice(), [guest] if guest.console.is_none());
    let raw_mode = if terminal { RawMode::enter() } else { None };
    let mut session = Session { system, tmem, events, terminal, options, slots: Vec::new() };
    session
        .slots
        .extend(config.guests.iter().map(|guest| Slot { config: guest.clone(), state: State::Waiting }));
    session.supervise(&received);
    drop(raw_mode);
    let guests = session.slots.into_iter().map(Slot::finish).collect();
    Ok(SessionReport { store_bytes: config.store.0, guests })
}

enum State {
    Waiting,
    Running { guest: Guest, share: Option<Share> },
    Failed(StartError),
    Cancelled,
}

struct Slot {
    config: GuestConfig,
    state: State,
}

struct Session {
    system: System,
    tmem: Tmem,
    events: Sender<Event>,
    terminal: bool,
    options: Options,
    slots: Vec<Slot>,
}

impl Session {
    fn supervise(&mut self, received: &Receiver<Event>) {
        let started = Instant::now();
        let mut left = self.slots.len();
        let mut next_watch = self.options.watch.map(|every| started + every);
        while left > 0 {
            left -= self.start_due(started);
            if left == 0 {
                break;
            }
            let next_start = self.waiting().map(|delay| started + delay).min();
            let deadline = next_start.into_iter().chain(next_watch).min();
            match receive(received, deadline) {
                Some(Event::Ended) => left -= 1,
                Some(Event::Stop) => left -= self.stop(),
                Some(Event::Show) => self.show(),
                None => {
                    if let (Some(at), Some(every)) = (next_watch, self.options.watch)
                        && Instant::now() >= at
                    {
                        self.show();
                        next_watch = Some(Instant::now() + every);
                    }
                }
            }
        }
    }

    fn waiting(&self) -> impl Iterator<Item = Duration> + '_ {
        self.slots.iter().filter(|s| matches!(s.state, State::Waiting)).map(|s| s.config.start_delay)
    }

    /// Starts the guests whose time has come; returns how many could not be started.
    fn start_due(&mut self, started: Instant) -> usize {
        let mut failed = 0;
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index) else { break };
            if !matches!(slot.state, State::Waiting) || started.elapsed() < slot.config.start_delay {
                continue;
            }
            let state = match self.start(&slot.config) {
                Ok(running) => running,
                Err(error) => {
                    eprintln!("{}: {error}", slot.config.spec.name);
                    failed += 1;
                    State::Failed(error)
                }
            };
            if let Some(slot) = self.slots.get_mut(index) {
                slot.state = state;
            }
        }
        failed
    }

    fn start(&self, config: &GuestConfig) -> Result<State, StartError> {
        let ram = GuestRam::new(&config.spec.memory)?;
        let share = self.tmem.share(&self.system, config, &ram)?;
        let console = match &config.console {
            Some(path) => Console::file(path).map_err(StartError::Console)?,
            None if self.terminal => Console::terminal(io::stdout()),
            None => Console::lines(&config.spec.name, io::stdout()),
        };
        let events = self.events.clone();
        let service = share.as_ref().map(Share::service);
        let name = config.spec.name.clone();
        tracing::info!(
            guest = name,
            memory_bytes = config.spec.memory.size(),
            vcpus = config.spec.vcpus,
            transport = ?service.map(|service| service.transport),
            "starting"
        );
        let guest = Guest::start(&self.system, &config.spec, &ram, service, console, move || {
            tracing::info!(guest = name, "ended");
            // The session waits for this until every guest has ended.
            let _ = events.send(Event::Ended);
        })?;
        if self.terminal {
            let (serial, events) = (guest.serial(), self.events.clone());
            stdin::listen(Arc::new(move |key| match key {
                Key::Byte(byte) => {
                    // A full FIFO loses keys, as a real one does.
                    let _ = serial.receive(&[byte]);
                    true
                }
                Key::Stop => events.send(Event::Stop).is_ok(),
            }));
        }
        Ok(State::Running { guest, share })
    }

    /// Stops running guests and cancels waiting ones; returns how many were cancelled.
    fn stop(&mut self) -> usize {
        let mut cancelled = 0;
        for slot in &mut self.slots {
            match &slot.state {
                State::Running { guest, .. } => guest.stop(),
                State::Waiting => {
                    slot.state = State::Cancelled;
                    cancelled += 1;
                }
                State::Failed(_) | State::Cancelled => {}
            }
        }
        cancelled
    }

    fn show(&self) {
        for slot in &self.slots {
            if let State::Running { guest, .. } = &slot.state
                && let Some(text) = watch::describe(guest)
            {
                eprint!("{text}");
            }
        }
    }
}

fn receive(received: &Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    match deadline {
        None => received.recv().ok(),
        Some(at) => received.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
    }
}

impl Slot {
    fn finish(self) -> Entry {
        let spec = self.config.spec;
        let mut entry = Entry {
            name: spec.name,
            end: EndKind::Stopped,
            reason: None,
            elapsed_seconds: 0.0,
            memory_bytes: spec.memory.size(),
            vcpus: spec.vcpus,
            transport: None,
            exits: ExitCounts::default(),
            disks: Vec::new(),
            tmem: None,
        };
        match self.state {
            State::Running { guest, share } => {
                let report = guest.join();
                entry.end = EndKind::from(&report.end);
                if let End::Died { vcpu, why } = report.end {
                    entry.reason = Some(format!("vcpu{vcpu}: {why}"));
                }
                entry.elapsed_seconds = report.elapsed.as_secs_f64();
                entry.exits = report.exits;
                entry.disks = report.disks;
                entry.transport = share.as_ref().map(|share| match share.service().transport {
                    Transport::Xen => "xen",
                    Transport::Port(_) => "port",
                });
                entry.tmem = share.map(Share::finish);
            }
            State::Failed(error) => {
                entry.end = EndKind::NotStarted;
                entry.reason = Some(error.to_string());
            }
            State::Waiting | State::Cancelled => {}
        }
        entry
    }
}
