//! The main loop of a session. It waits for events and for nothing else: what may take long, or for ever, is done beside it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::live::{Live, Place, Standing};
use super::prepare::{self, PrepareError};
use super::report::{EndKind, Entry, SessionReport};
use super::say::{Voice, say};
use super::series::Series;
use super::side::Side;
use super::signals::{self, Signal};
use super::start::{Ended, StartError, Started, Starter};
use super::tmem::{Tmem, TmemError};
use super::{asked, watch};
use crate::config::{GuestConfig, RunConfig};
use crate::control::ServerError;
use crate::devices::console::Unwritten;
use crate::devices::terminal::RawMode;
use crate::disk::Image;
use crate::guest::{End, ExitCounts};
use crate::kvm::{System, SystemError, Transport};
use crate::output::{Descriptor, Left, Writer};

/// How long guests may take to stop. One that does not is left to the end of the process.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last output may take to be read once the user wants an end, and how long each thread beside the main loop may take to end.
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
    /// Run on any KVM, also on one that does not boot Linux: the kernels are a few instructions.
    pub any_kvm: bool,
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
    /// No thread or descriptor for what the session does beside its main loop.
    #[error(
        "the host has no thread or descriptor for {what}: {source}; raise its limits (ulimit -n, ulimit -u)"
    )]
    Host {
        /// What for.
        what: &'static str,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// A guest cannot have its memory or its disks.
    #[error(transparent)]
    Guest(#[from] PrepareError),
    /// The control socket could not be made.
    #[error("--control: {0}")]
    Control(#[from] ServerError),
    /// Signals could not be set up.
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
}

pub(super) enum Event {
    /// The guest in this slot was started, or not.
    Started(usize, Result<Box<Started>, StartError>),
    /// The guest in this slot has ended.
    Ended(usize, Box<Ended>),
    Stop,
    Show,
}

/// Runs all guests of `config` to their ends.
///
/// # Errors
/// [`SessionError`] when no guest could be started for a reason common to all. A guest's own failure is in the report.
pub fn run(config: &RunConfig, options: Options) -> Result<SessionReport, SessionError> {
    // First, and those of guests that start later as well: who is refused has changed nothing.
    let images = prepare::open_disks(&config.guests)?;
    let system = System::open()?;
    if !options.any_kvm {
        system.require_linux()?;
    }
    prepare::check_memory(&system, &config.guests)?;
    let live = Arc::new(Live::new(Tmem::new(&system, config)?, &config.guests));
    let host = |what| move |source| SessionError::Host { what, source };
    let (events, received) = channel();
    let to = events.clone();
    let listening = signals::listen(move |signal| {
        // The session may be over.
        let _ = to.send(match signal {
            Signal::Stop => Event::Stop,
            Signal::Show => Event::Show,
        });
    })
    .map_err(SessionError::Signals)?;
    let (voice, said) = Voice::start().map_err(host("what is said on standard error"))?;
    // Only now: a socket that is there is one that answers.
    let control = options.control.as_deref().map(|path| asked::listen(path, live.clone())).transpose()?;
    let terminal = matches!(config.guests.as_slice(), [guest] if guest.console.is_none());
    let raw_mode = if terminal { RawMode::enter() } else { None };
    let stdout = Descriptor::dup(io::stdout()).map_err(host("the consoles' output"))?;
    let output_is_terminal = stdout.is_terminal();
    let (output, written) = Writer::start("output", stdout).map_err(host("the consoles' output"))?;
    let shown = live.clone();
    let show = Side::start("watch", move |poked| watch::run(&shown, options.watch, poked))
        .map_err(host("where guests stand"))?;
    let recorded = live.clone();
    let series = options.series.map(|series| Side::start("stats", move |poked| series.run(&recorded, poked)));
    let series = series.transpose().map_err(host("statistics"))?;

    let slots =
        images.into_iter().map(|images| Slot { images, state: State::Waiting, unwritten: None }).collect();
    let starter =
        Arc::new(Starter { system, live: live.clone(), output, output_is_terminal, terminal, events });
    let mut session = Session { live, starter, show, slots, ends: None };
    session.supervise(&received);

    drop(control);
    let Session { live, starter, show, slots, ends } = session;
    drop(starter);
    series.into_iter().chain([show]).for_each(|side| side.finish(LAST_WORDS));
    let stuck = slots.iter().any(|slot| matches!(slot.state, State::Starting | State::Running));
    let (guests, files) =
        slots.into_iter().zip(live.places()).map(|(slot, place)| slot.finish(&place.config)).unzip();
    drop(voice);
    // Whoever still waits for a reader can be interrupted by Ctrl-C again.
    drop(raw_mode);
    drain(&[written, said], files, ends.is_some(), &received);
    drop(listening);
    if stuck {
        // Whoever is stuck may hold what the store's end would wait for.
        std::mem::forget(live);
    }
    Ok(SessionReport { store_bytes: config.store.size.0, guests })
}

/// Waits until everything is written. Whoever reads slowly gets everything, unless the user wants an end.
fn drain(streams: &[Left], mut files: Vec<Option<Unwritten>>, mut stopped: bool, received: &Receiver<Event>) {
    let given_up = Instant::now() + LAST_WORDS;
    loop {
        files.retain(|file| file.as_ref().is_some_and(|file| !file.is_over()));
        if files.is_empty() && streams.iter().all(|left| left.wait(Duration::ZERO)) {
            return;
        }
        stopped |= matches!(received.recv_timeout(DRAIN_STEP), Ok(Event::Stop));
        if stopped && Instant::now() >= given_up {
            return;
        }
    }
}

enum State {
    Waiting,
    /// A thread is at it.
    Starting,
    Running,
    Ended(Box<Ended>),
    Failed(StartError),
    Cancelled,
}

struct Slot {
    /// Its disks until it starts.
    images: Vec<Image>,
    state: State,
    unwritten: Option<Unwritten>,
}

struct Session {
    live: Arc<Live>,
    starter: Arc<Starter>,
    show: Side,
    slots: Vec<Slot>,
    /// The user wants an end, and this is the last moment of it.
    ends: Option<Instant>,
}

impl Session {
    fn supervise(&mut self, received: &Receiver<Event>) {
        while self.slots.iter().any(Slot::is_open) {
            self.start_due();
            let deadline = self.next_start().into_iter().chain(self.ends).min();
            match receive(received, deadline) {
                Some(Event::Started(index, started)) => self.started(index, started),
                Some(Event::Ended(index, ended)) => {
                    self.stands(index, State::Ended(ended), Standing::Ended);
                }
                Some(Event::Stop) => self.stop(),
                Some(Event::Show) => self.show.poke(),
                None => {}
            }
            if self.ends.is_some_and(|at| Instant::now() >= at) {
                return self.give_up();
            }
        }
    }

    fn next_start(&self) -> Option<Instant> {
        let waiting = |(slot, place): (&Slot, &Place)| {
            matches!(slot.state, State::Waiting).then(|| self.live.started + place.config.start_delay)
        };
        self.slots.iter().zip(self.live.places()).filter_map(waiting).min()
    }

    /// Has the guests started whose time has come.
    fn start_due(&mut self) {
        let mut failed = Vec::new();
        let now = Instant::now();
        for (index, (slot, place)) in self.slots.iter_mut().zip(self.live.places()).enumerate() {
            if !matches!(slot.state, State::Waiting) || now < self.live.started + place.config.start_delay {
                continue;
            }
            slot.state = State::Starting;
            if let Err(error) = self.starter.start(index, &place.config, std::mem::take(&mut slot.images)) {
                failed.push((index, error));
            }
        }
        failed.into_iter().for_each(|(index, error)| self.failed(index, error));
    }

    fn started(&mut self, index: usize, started: Result<Box<Started>, StartError>) {
        let Started { running, unwritten } = match started {
            Ok(started) => *started,
            Err(error) => return self.failed(index, error),
        };
        if let Some(slot) = self.slots.get_mut(index) {
            slot.unwritten = unwritten;
            // Its end may have been told before.
            if !matches!(slot.state, State::Starting) {
                return;
            }
        }
        if self.ends.is_some() {
            running.guest.stop();
        }
        self.stands(index, State::Running, Standing::Running(Arc::new(running)));
    }

    fn failed(&mut self, index: usize, error: StartError) {
        let why = error.to_string();
        self.stands(index, State::Failed(error), Standing::Never);
        // The report says it too, but others go on until then.
        if let (Some(place), true) = (self.live.places().get(index), self.slots.iter().any(Slot::is_open)) {
            say(format_args!("{}: not started: {why}", place.config.spec.name));
        }
    }

    fn stands(&mut self, index: usize, state: State, standing: Standing) {
        if let (Some(slot), Some(place)) = (self.slots.get_mut(index), self.live.places().get(index)) {
            slot.state = state;
            place.set(standing);
        }
    }

    /// Stops running guests and cancels waiting ones. Who asks twice does not want to wait.
    fn stop(&mut self) {
        let now = Instant::now();
        if self.ends.replace(now).is_some() {
            return;
        }
        self.ends = Some(now + STOP_PATIENCE);
        self.live.running().iter().for_each(|running| running.guest.stop());
        for (slot, place) in self.slots.iter_mut().zip(self.live.places()) {
            if matches!(slot.state, State::Waiting) {
                slot.state = State::Cancelled;
                place.set(Standing::Never);
            }
        }
    }

    /// Leaves those that have not stopped to the end of the process; what they have said is written out.
    fn give_up(&self) {
        self.live.running().iter().for_each(|running| running.guest.console().finish());
    }
}

fn receive(received: &Receiver<Event>, deadline: Option<Instant>) -> Option<Event> {
    match deadline {
        None => received.recv().ok(),
        Some(at) => received.recv_timeout(at.saturating_duration_since(Instant::now())).ok(),
    }
}

impl Slot {
    /// Whether something is still to come of it.
    fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting | State::Starting | State::Running)
    }

    fn finish(self, config: &GuestConfig) -> (Entry, Option<Unwritten>) {
        let spec = &config.spec;
        let mut entry = Entry {
            name: spec.name.clone(),
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
            State::Starting => {
                entry.reason = Some("the host was still opening its files".into());
            }
            State::Running => {
                let why = "it did not stop in time, and was left to the end of the process: what it did is not counted";
                entry.reason = Some(why.into());
            }
            State::Waiting | State::Cancelled => {}
        }
        (entry, self.unwritten)
    }
}
