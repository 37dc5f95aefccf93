//! Running bare guests together against one store, each vCPU on a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tmem_bare::bench::Timed;
use tmem_bare::layout::STOP;
use tmem_core::{Budget, Store};

use super::control::World;
use super::rendezvous::Rendezvous;
use super::{BareError, CaseResult, Durations, Machine, Step};
use crate::kvm::{CpuState, Exit, Kicker, Vcpu};
use crate::memory::GuestRam;

/// How often the store's background work is looked after while guests run.
const MAINTENANCE: Duration = Duration::from_millis(5);

/// When payloads that go on until they are asked to finish are asked.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// This long after the first vCPU's start of the measurement.
    Measured(Duration),
    /// When all vCPUs of the guest with this number have ended.
    Ended(usize),
}

/// How long guests run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// When payloads are asked to finish.
    pub until: Until,
    /// From the beginning to the end that is made of guests which do not end by themselves.
    pub limit: Duration,
}

/// How a vCPU ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// Its payload has finished.
    Done,
    /// Its payload panicked, with this message.
    Panicked(String),
    /// It cannot go on, for this reason.
    Died(String),
    /// It was still running at the limit, or when another vCPU had come to a bad end.
    Ended {
        /// Where it was.
        rip: u64,
        /// What it was doing.
        rax: u64,
    },
}

/// What one vCPU measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Host time of the measurement in nanoseconds.
    pub nanoseconds: f64,
    /// Ticks of the guest's time stamp counter in that time.
    pub ticks: u64,
    /// The payload's counters.
    pub words: Vec<u64>,
    /// Its histograms, in the order of [`Timed::ALL`].
    pub durations: Vec<Durations>,
}

/// What became of one guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// How each vCPU ended.
    pub endings: Vec<Option<Ending>>,
    /// The cases that it walked through, in order.
    pub cases: Vec<CaseResult>,
    /// What its vCPUs measured.
    pub measured: Vec<Measured>,
}

impl Outcome {
    /// The first vCPU that did not finish its payload, and why.
    pub fn failure(&self) -> Option<String> {
        let bad = |ending: &Option<Ending>| *ending != Some(Ending::Done);
        let vcpu = self.endings.iter().position(bad)?;
        let why = match self.endings.get(vcpu)? {
            Some(Ending::Panicked(message)) => format!("panicked: {message}"),
            Some(Ending::Died(why)) => format!("died: {why}"),
            Some(Ending::Ended { rip, rax }) => {
                format!("did not finish in time; it was at rip {rip:#x} with rax {rax:#x}")
            }
            Some(Ending::Done) | None => "was lost".to_owned(),
        };
        Some(format!("guest {}, vCPU {vcpu}: {why}", self.name))
    }
}

/// What a vCPU's thread tells.
pub(super) enum Event {
    Started { machine: usize, vcpu: u32, at: Instant, words: Vec<u64> },
    Stopped { machine: usize, vcpu: u32, at: Instant, words: Vec<u64> },
    Case { machine: usize, step: Step },
    Ended { machine: usize, vcpu: u32, ending: Ending },
}

/// Runs guests to their ends. `watch` sees each case as it begins and ends, with the guest's name.
///
/// # Errors
/// [`BareError::Thread`].
pub fn run(
    store: &Arc<Store>,
    machines: Vec<Machine>,
    plan: &Plan,
    mut watch: impl FnMut(&str, &Step),
) -> Result<Vec<Outcome>, BareError> {
    let (events, heard) = channel();
    let mut crew = Crew::start(store, machines, events)?;
    let mut log = Log::new(&crew);
    listen(&mut crew, &heard, plan, &mut log, &mut watch);
    crew.join();
    Ok(log.outcomes)
}

/// Collects events until every vCPU has ended; asks payloads to finish, and makes an end, when it is time.
fn listen(
    crew: &mut Crew,
    heard: &Receiver<Event>,
    plan: &Plan,
    log: &mut Log,
    watch: &mut impl FnMut(&str, &Step),
) {
    let mut end = Instant::now() + plan.limit;
    let mut ask = None;
    let mut called_off = false;
    while log.running > 0 {
        let wake = ask.map_or(end, |at: Instant| at.min(end));
        let event = match heard.recv_timeout(wake.saturating_duration_since(Instant::now())) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) if Some(wake) == ask => {
                crew.ask_to_finish();
                ask = None;
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {
                // Kicked vCPUs end at once; a second look is for one that was between two runs.
                crew.call_off();
                called_off = true;
                end = Instant::now() + Duration::from_millis(100);
                continue;
            }
        };
        match &event {
            Event::Started { at, .. } if log.started.is_empty() => {
                if let Until::Measured(time) = plan.until {
                    ask = Some(*at + time);
                }
            }
            Event::Ended { ending, .. } if *ending != Ending::Done && !called_off => {
                crew.call_off();
                called_off = true;
                end = Instant::now() + Duration::from_millis(100);
            }
            _ => {}
        }
        log.take(event, crew, watch);
        if let Until::Ended(machine) = plan.until
            && log.has_ended(machine)
        {
            crew.ask_to_finish();
        }
    }
}

/// What has been heard so far.
struct Log {
    outcomes: Vec<Outcome>,
    started: Vec<(usize, u32, Instant, u64)>,
    running: usize,
}

impl Log {
    fn new(crew: &Crew) -> Self {
        let outcomes: Vec<_> = crew
            .guests
            .iter()
            .map(|guest| Outcome {
                name: guest.name.clone(),
                endings: vec![None; guest.vcpus as usize],
                ..Outcome::default()
            })
            .collect();
        Self { outcomes, started: Vec::new(), running: crew.threads.len() }
    }

    fn has_ended(&self, machine: usize) -> bool {
        self.outcomes.get(machine).is_some_and(|outcome| outcome.endings.iter().all(Option::is_some))
    }

    fn take(&mut self, event: Event, crew: &Crew, watch: &mut impl FnMut(&str, &Step)) {
        match event {
            Event::Started { machine, vcpu, at, words } => {
                self.started.push((machine, vcpu, at, words.first().copied().unwrap_or_default()));
            }
            Event::Stopped { machine, vcpu, at, words } => {
                let start = self.started.iter().find(|(m, v, ..)| (*m, *v) == (machine, vcpu));
                if let (Some((_, _, from, first)), Some(guest), Some(outcome)) =
                    (start, crew.guests.get(machine), self.outcomes.get_mut(machine))
                {
                    let (last, words) = words.split_first().map_or((0, &[][..]), |(w, rest)| (*w, rest));
                    outcome.measured.push(Measured {
                        nanoseconds: at.saturating_duration_since(*from).as_nanos() as f64,
                        ticks: last.saturating_sub(*first),
                        words: words.to_vec(),
                        durations: Timed::ALL
                            .iter()
                            .map(|what| Durations::read(&guest.ram, vcpu, *what as usize))
                            .collect(),
                    });
                }
            }
            Event::Case { machine, step } => {
                if let Some(outcome) = self.outcomes.get_mut(machine) {
                    watch(&outcome.name, &step);
                    if let Step::Ended(result) = step {
                        outcome.cases.push(result);
                    }
                }
            }
            Event::Ended { machine, vcpu, ending } => {
                self.running -= 1;
                let endings = self.outcomes.get_mut(machine).map(|outcome| &mut outcome.endings);
                if let Some(slot) = endings.and_then(|endings| endings.get_mut(vcpu as usize)) {
                    *slot = Some(ending);
                }
            }
        }
    }
}

/// What is kept of a guest while it runs.
struct Guest {
    name: String,
    ram: GuestRam,
    vcpus: u32,
}

/// The threads of a run.
struct Crew {
    guests: Vec<Guest>,
    threads: Vec<(Kicker, JoinHandle<()>)>,
    rendezvous: Arc<Rendezvous>,
    called_off: Arc<AtomicBool>,
    maintenance: JoinHandle<()>,
    over: Arc<AtomicBool>,
    // Machines go after their vCPUs' threads have.
    _vms: Vec<crate::kvm::Vm>,
}

impl Crew {
    fn start(store: &Arc<Store>, machines: Vec<Machine>, events: Sender<Event>) -> Result<Self, BareError> {
        let members = machines.iter().map(|machine| machine.vcpus.len()).sum();
        let over = Arc::new(AtomicBool::new(false));
        let maintenance = maintain(store, &over)?;
        let mut crew = Self {
            guests: Vec::new(),
            threads: Vec::new(),
            rendezvous: Arc::new(Rendezvous::new(members)),
            called_off: Arc::new(AtomicBool::new(false)),
            maintenance,
            over,
            _vms: Vec::new(),
        };
        for (number, machine) in machines.into_iter().enumerate() {
            let Machine { name, ram, vcpus, tmem, vm } = machine;
            crew.guests.push(Guest { name, ram: ram.clone(), vcpus: vcpus.len() as u32 });
            crew._vms.push(vm);
            for (vcpu, kicker) in vcpus {
                let world = World {
                    machine: number,
                    vcpu: vcpu.index(),
                    ram: ram.clone(),
                    tmem: tmem.clone(),
                    store: store.clone(),
                    rendezvous: crew.rendezvous.clone(),
                    events: events.clone(),
                    ended: None,
                };
                match crew.spawn(vcpu, world) {
                    Ok(thread) => crew.threads.push((kicker, thread)),
                    Err(error) => {
                        crew.call_off();
                        crew.join();
                        return Err(BareError::Thread(error));
                    }
                }
            }
        }
        Ok(crew)
    }

    fn spawn(&self, mut vcpu: Vcpu, mut world: World) -> std::io::Result<JoinHandle<()>> {
        let called_off = self.called_off.clone();
        let name = format!("bare {}.{}", world.machine, world.vcpu);
        Builder::new().name(name).spawn(move || {
            let ending = run_vcpu(&mut vcpu, &mut world, &called_off);
            world.rendezvous.leave();
            let (machine, vcpu) = (world.machine, world.vcpu);
            // The listener may be gone when the run was never completely started.
            let _ = world.events.send(Event::Ended { machine, vcpu, ending });
        })
    }

    /// Lets payloads finish what they are at.
    fn ask_to_finish(&self) {
        for guest in &self.guests {
            guest
                .ram
                .write(&1_u64.to_le_bytes(), STOP)
                .expect("the layout puts the word into every guest's RAM");
        }
    }

    /// Makes an end of all vCPUs.
    fn call_off(&mut self) {
        self.called_off.store(true, Ordering::Release);
        self.rendezvous.call_off();
        for (kicker, thread) in &self.threads {
            kicker.kick(thread);
        }
    }

    fn join(self) {
        for (_, thread) in self.threads {
            // A thread that panicked has aborted the program.
            let _ = thread.join();
        }
        self.over.store(true, Ordering::Release);
        self.maintenance.thread().unpark();
        let _ = self.maintenance.join();
    }
}

fn run_vcpu(vcpu: &mut Vcpu, world: &mut World, called_off: &AtomicBool) -> Ending {
    loop {
        let exit = vcpu.run(world);
        if let Some(ending) = world.ended.take() {
            return ending;
        }
        match exit {
            Exit::Failed(failure) => return Ending::Died(format!("{failure}{}", position(vcpu))),
            Exit::Shutdown => return Ending::Died(format!("triple fault{}", position(vcpu))),
            Exit::Halt => return Ending::Died(format!("halted{}", position(vcpu))),
            _ if called_off.load(Ordering::Acquire) => {
                let regs = vcpu.state().map(|CpuState { regs, .. }| regs).unwrap_or_default();
                return Ending::Ended { rip: regs.rip, rax: regs.rax };
            }
            _ => {}
        }
    }
}

fn position(vcpu: &Vcpu) -> String {
    match vcpu.state() {
        Ok(CpuState { regs, .. }) => {
            format!(" at rip {:#x}, rsp {:#x}, rax {:#x}", regs.rip, regs.rsp, regs.rax)
        }
        Err(_) => String::new(),
    }
}

/// Does the store's background work until the run is over.
fn maintain(store: &Arc<Store>, over: &Arc<AtomicBool>) -> Result<JoinHandle<()>, BareError> {
    let (store, over) = (store.clone(), over.clone());
    let work = move || {
        while !over.load(Ordering::Acquire) {
            while store.maintain(Budget::default()).more {}
            std::thread::park_timeout(MAINTENANCE);
        }
    };
    Builder::new().name("bare maintenance".to_owned()).spawn(work).map_err(BareError::Thread)
}
