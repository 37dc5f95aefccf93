//! The main loop of a session.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tmem_host::ClientReport;

use super::asked::{self, Question};
use super::report::{EndKind, Entry, SessionReport};
use super::series::{DiskLine, GuestLine, Line, Series};
use super::signals::{self, Signal};
use super::tmem::{Share, Tmem, TmemError};
use super::{say, watch};
use crate::arch::layout::RamSizeError;
use crate::config::{FileRole, GuestConfig, RunConfig};
use crate::control::ServerError;
use crate::devices::console::Console;
use crate::devices::output::Output;
use crate::devices::stdin::{self, Key, RawMode};
use crate::disk::{self, DiskError, Image};
use crate::guest::{End, ExitCounts, Guest, GuestError, GuestReport};
use crate::kvm::{KvmError, System, SystemError, Transport};
use crate::memory::{GuestRam, MemoryError};

/// How long the consoles' last output may take to be read once the user wants an end.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often that is looked at.
const DRAIN_STEP: Duration = Duration::from_millis(50);

/// How to run, apart from what.
#[derive(Debug, Default)]
pub struct Options {
    /// Say this often where every guest stands.
    pub watch: Option<Duration>,
    /// Write down every second what the store and the guests hold and do.
    pub series: Option<Series>,
    /// Listen here for what is asked meanwhile (see [`crate::control`]).
    pub control: Option<PathBuf>,
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
    /// No thread for the consoles' output.
    #[error("the host has no thread for the consoles' output: {0}")]
    Output(#[source] io::Error),
    /// KVM refused.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// A guest's memory is more than the processor reaches.
    #[error("{guest}: {source}")]
    Memory {
        /// Whose memory.
        guest: String,
        /// Why not.
        source: RamSizeError,
    },
    /// A disk cannot be had.
    #[error("{guest}: {source}")]
    Disk {
        /// Whose disk.
        guest: String,
        /// Why not.
        source: DiskError,
    },
    /// The control socket could not be made.
    #[error("--control: {0}")]
    Control(#[from] ServerError),
    /// Signals could not be set up.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
}

/// Why one guest was not started.
#[derive(Debug, Error)]
pub(super) enum StartError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Tmem(#[from] TmemError),
    #[error("its console's file {0}")]
    Console(String),
}

pub(super) enum Event {
    /// The guest in this slot.
    Ended(usize),
    Stop,
    Show,
    Asked(Question),
}

/// Runs all guests of `config` to their ends.
///
/// # Errors
/// [`SessionError`] when no guest could be started for a reason common to all. A guest's own failure is in the report.
pub fn run(config: &RunConfig, options: Options) -> Result<SessionReport, SessionError> {
    // First, and those of guests that start later as well: who is refused has changed nothing.
    let images = open_disks(&config.guests)?;
    let system = System::open()?;
    system.require_linux()?;
    check_memory(&system, &config.guests)?;
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
    // Only now: a socket that is there is one that answers.
    let control = options.control.as_deref().map(|path| asked::listen(path, events.clone())).transpose()?;
    let terminal = matches!(config.guests.as_slice(), [guest] if guest.console.is_none());
    let raw_mode = if terminal { RawMode::enter() } else { None };
    let (output, drain) = Output::start(io::stdout()).map_err(SessionError::Output)?;
    let (started, stopped, slots) = (Instant::now(), false, Vec::new());
    let mut session = Session { system, tmem, started, events, output, terminal, options, stopped, slots };
    session.slots.extend(config.guests.iter().zip(images).map(|(guest, images)| Slot {
        config: guest.clone(),
        images,
        state: State::Waiting,
    }));
    session.supervise(&received);
    drop(control);
    let Session { slots, output, stopped, .. } = session;
    let guests = slots.into_iter().map(Slot::finish).collect();
    drop(output);
    let given_up = Instant::now() + LAST_WORDS;
    // Whoever reads slowly gets everything, unless the user wants an end.
    while !drain.wait(DRAIN_STEP) {
        let stop = stopped || received.try_iter().any(|event| matches!(event, Event::Stop));
        if stop && Instant::now() >= given_up {
            break;
        }
    }
    drop(raw_mode);
    Ok(SessionReport { store_bytes: config.store.size.0, guests })
}

/// Looks whether the processor reaches all the memory of each guest.
fn check_memory(system: &System, guests: &[GuestConfig]) -> Result<(), SessionError> {
    let bits = system.address_bits()?;
    for guest in guests {
        let fits = guest.spec.memory.fits(bits);
        fits.map_err(|source| SessionError::Memory { guest: guest.spec.name.clone(), source })?;
    }
    Ok(())
}

fn open_disks(guests: &[GuestConfig]) -> Result<Vec<Vec<Image>>, SessionError> {
    guests
        .iter()
        .map(|guest| {
            disk::open(&guest.spec.disks)
                .map_err(|source| SessionError::Disk { guest: guest.spec.name.clone(), source })
        })
        .collect()
}

pub(super) enum State {
    Waiting,
    Running { guest: Guest, share: Option<Share> },
    Ended(Box<Ended>),
    Failed(StartError),
    Cancelled,
}

/// What is left of a guest that has ended: its memory and its pages in the store are free again.
pub(super) struct Ended {
    report: GuestReport,
    transport: Option<Transport>,
    tmem: Option<ClientReport>,
}

pub(super) struct Slot {
    pub(super) config: GuestConfig,
    /// Its disks until it starts.
    images: Vec<Image>,
    pub(super) state: State,
}

pub(super) struct Session {
    system: System,
    pub(super) tmem: Tmem,
    started: Instant,
    events: Sender<Event>,
    output: Output,
    terminal: bool,
    options: Options,
    /// The user wants an end.
    stopped: bool,
    pub(super) slots: Vec<Slot>,
}

impl Session {
    fn supervise(&mut self, received: &Receiver<Event>) {
        let started = self.started;
        let mut left = self.slots.len();
        let mut next_watch = self.options.watch.map(|every| started + every);
        if let Some(series) = &mut self.options.series {
            series.start(started);
        }
        while left > 0 {
            let failed = self.start_due(started);
            left -= failed.len();
            if left == 0 {
                break;
            }
            // The report says it too, but others go on until then.
            failed.iter().for_each(|said| say(format_args!("{said}")));
            let next_start = self.waiting().map(|delay| started + delay).min();
            let next_line = self.options.series.as_ref().and_then(Series::due);
            let deadline = next_start.into_iter().chain(next_watch).chain(next_line).min();
            let event = receive(received, deadline);
            self.record(started);
            match event {
                Some(Event::Ended(index)) => {
                    left -= 1;
                    if let Some(slot) = self.slots.get_mut(index) {
                        slot.end();
                    }
                }
                Some(Event::Stop) => left -= self.stop(),
                Some(Event::Show) => self.show(),
                Some(Event::Asked(question)) => question.answer(|request| self.answer(request)),
                None => {}
            }
            // Whatever else happened: questions may come without a pause.
            if let (Some(at), Some(every)) = (next_watch, self.options.watch)
                && Instant::now() >= at
            {
                self.show();
                next_watch = Some(Instant::now() + every);
            }
        }
    }

    /// Writes the line of the series that is due, if one is.
    fn record(&mut self, started: Instant) {
        let Some(series) = &mut self.options.series else { return };
        let guests = self.slots.iter().filter_map(Slot::line);
        series.record(started, Instant::now(), self.tmem.store(), guests);
    }

    /// The line that would be due now.
    pub(super) fn line(&self) -> Line<'_> {
        let guests = self.slots.iter().filter_map(Slot::line).collect();
        Line::new(self.started, Instant::now(), self.tmem.store(), guests)
    }

    fn waiting(&self) -> impl Iterator<Item = Duration> + '_ {
        self.slots.iter().filter(|s| matches!(s.state, State::Waiting)).map(|s| s.config.start_delay)
    }

    /// Starts the guests whose time has come; returns what is to be said of those that could not be started.
    fn start_due(&mut self, started: Instant) -> Vec<String> {
        let mut failed = Vec::new();
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else { break };
            if !matches!(slot.state, State::Waiting) || started.elapsed() < slot.config.start_delay {
                continue;
            }
            let images = std::mem::take(&mut slot.images);
            let Some(slot) = self.slots.get(index) else { break };
            let state = match self.start(index, &slot.config, images) {
                Ok(running) => running,
                Err(error) => {
                    failed.push(format!("{}: not started: {error}", slot.config.spec.name));
                    State::Failed(error)
                }
            };
            if let Some(slot) = self.slots.get_mut(index) {
                slot.state = state;
            }
        }
        failed
    }

    fn start(&self, index: usize, config: &GuestConfig, images: Vec<Image>) -> Result<State, StartError> {
        let ram = GuestRam::new(&config.spec.memory)?;
        let share = self.tmem.share(&self.system, config, &ram)?;
        let console = match &config.console {
            Some(path) => Console::file(path).map_err(|error| {
                let why = FileRole::Output.trouble(path, &error);
                StartError::Console(format!("{}: {why}", path.display()))
            })?,
            None if self.terminal => Console::terminal(&self.output),
            None => Console::lines(&config.spec.name, &self.output),
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
        let guest = Guest::start(&self.system, &config.spec, images, &ram, service, console, move || {
            tracing::info!(guest = name, "ended");
            // The session waits for this until every guest has ended.
            let _ = events.send(Event::Ended(index));
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
        self.stopped = true;
        let mut cancelled = 0;
        for slot in &mut self.slots {
            match &slot.state {
                State::Running { guest, .. } => guest.stop(),
                State::Waiting => {
                    slot.state = State::Cancelled;
                    cancelled += 1;
                }
                State::Ended(_) | State::Failed(_) | State::Cancelled => {}
            }
        }
        cancelled
    }

    /// All at once: a guest that does not answer must not make the others wait.
    fn show(&self) {
        let running = self.slots.iter().filter_map(|slot| match &slot.state {
            State::Running { guest, .. } => Some(guest),
            _ => None,
        });
        let texts: Vec<Option<String>> = thread::scope(|scope| {
            let asked: Vec<_> = running.map(|guest| scope.spawn(|| watch::describe(guest))).collect();
            asked.into_iter().map(|text| text.join().ok().flatten()).collect()
        });
        texts.iter().flatten().for_each(|text| say(format_args!("{}", text.trim_end())));
    }
}

fn receive(received: &Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    match deadline {
        None => received.recv().ok(),
        Some(at) => received.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
    }
}

impl Slot {
    /// What its guest holds and has done, if it runs.
    pub(super) fn line(&self) -> Option<GuestLine<'_>> {
        let State::Running { guest, share } = &self.state else { return None };
        let (sectors_read, sectors_written) = guest.sectors();
        Some(GuestLine {
            name: guest.name(),
            sectors_read,
            sectors_written,
            disks: guest.disks().map(|(id, bytes)| DiskLine { id: id.into(), bytes }).collect(),
            balloon: guest.balloon(),
            tmem: share.as_ref().map(Share::report),
            rights: share.as_ref().map(Share::rights),
        })
    }

    /// Takes a guest that has ended apart.
    fn end(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Cancelled) {
            State::Running { guest, share } => {
                let report = guest.join();
                let transport = share.as_ref().map(|share| share.service().transport);
                State::Ended(Box::new(Ended { report, transport, tmem: share.map(Share::finish) }))
            }
            other => other,
        };
    }

    fn finish(mut self) -> Entry {
        self.end();
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
            balloon: None,
            tmem: None,
        };
        match self.state {
            State::Ended(ended) => {
                let Ended { report, transport, tmem } = *ended;
                entry.end = EndKind::from(&report.end);
                if let End::Died { vcpu, why } = report.end {
                    entry.reason = Some(format!("vcpu{vcpu}: {why}"));
                }
                entry.elapsed_seconds = report.elapsed.as_secs_f64();
                entry.exits = report.exits;
                entry.disks = report.disks;
                entry.balloon = report.balloon;
                entry.transport = transport.map(|transport| match transport {
                    Transport::Xen => "xen",
                    Transport::Port(_) => "port",
                });
                entry.tmem = tmem;
            }
            State::Failed(error) => {
                entry.end = EndKind::NotStarted;
                entry.reason = Some(error.to_string());
            }
            State::Waiting | State::Running { .. } | State::Cancelled => {}
        }
        entry
    }
}
