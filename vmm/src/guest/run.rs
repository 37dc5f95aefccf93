//! A running guest: its supervisor thread waits for the one event that ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use thiserror::Error;

use super::assemble::{Ballooned, Button, Disk, GuestError, Machine, assemble};
use super::halt::{Calls, Watch};
use super::outcome::{BalloonReport, DiskReport, End, ExitCounts, GuestReport};
use super::spec::{GuestSpec, TmemService};
use super::vcpu_thread::{self, Shared};
use crate::devices::console::Console;
use crate::devices::power::PowerEvent;
use crate::devices::serial::SerialPort;
use crate::devices::virtio::block::{DiskCounters, ResizeError};
use crate::disk::Image;
use crate::kvm::{Kicker, KvmError, System};
use crate::memory::GuestRam;

/// How long a vCPU may take to answer a request for its registers before it is reported as stuck in the kernel.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a vCPU may take to stop before it is kicked again.
const STOP_PATIENCE: Duration = Duration::from_millis(100);

/// How long a kernel that has panicked may go on: to say the rest, and to reset the machine if it was told to.
const PANIC_PATIENCE: Duration = Duration::from_secs(10);

/// What a guest's supervisor waits for.
pub(super) enum Event {
    Power(PowerEvent),
    Died {
        vcpu: u32,
        why: String,
    },
    /// All vCPUs were asleep for good when they were called.
    AllAsleep {
        call: u32,
    },
    Stop,
    /// Every vCPU is to tell where it stands.
    Snapshot(Sender<VcpuState>),
}

/// Where one vCPU stands.
pub(super) struct VcpuState {
    pub(super) vcpu: u32,
    pub(super) text: String,
}

/// Where a guest stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Registers of every vCPU, as text; `None` for one that did not answer.
    pub vcpus: Vec<Option<String>>,
}

/// Why a disk was not resized.
#[derive(Debug, Error)]
pub enum DiskResizeError {
    /// There is none of that name.
    #[error("it has no disk `{id}`: there are {}", known.join(", "))]
    Unknown {
        /// Which was asked for.
        id: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// It cannot have that size.
    #[error("disk `{id}`: {source}")]
    Refused {
        /// The disk.
        id: String,
        /// Why not.
        source: ResizeError,
    },
}

/// A guest that was started.
pub struct Guest {
    name: String,
    vcpus: u32,
    events: Sender<Event>,
    console: Console,
    serial: Arc<SerialPort<Console>>,
    disks: Vec<Arc<Disk>>,
    balloon: Option<Arc<Ballooned>>,
    button: Arc<Button>,
}

impl Guest {
    /// Assembles and starts a guest with `images` as its disks. `on_end` is called once, from the guest's own thread,
    /// when it has ended.
    ///
    /// # Errors
    /// [`GuestError`], which names the file or request at fault.
    pub fn start(
        system: &System,
        spec: &GuestSpec,
        images: Vec<Image>,
        ram: &GuestRam,
        tmem: Option<&TmemService>,
        console: Console,
        on_end: impl FnOnce(GuestReport) + Send + 'static,
    ) -> Result<Self, GuestError> {
        let (events, received) = channel();
        let machine = assemble(system, spec, images, ram, tmem, &console, &events)?;
        let serial = machine.serial.clone();
        let disks = machine.disks.clone();
        let (balloon, button) = (machine.balloon.clone(), machine.button.clone());
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            snapshots: AtomicU32::new(0),
            snapshot_to: Mutex::new(None),
            calls: Calls::new(spec.vcpus),
            ram: ram.clone(),
            ports: machine.ports.clone(),
            mmio: machine.mmio.clone(),
            tmem: tmem.map(|t| t.handler.clone()),
        });
        let (name, vcpus) = (spec.name.clone(), spec.vcpus);
        let (spec, to_self, output) = (spec.clone(), events.clone(), console.clone());
        let supervise = move || {
            let supervisor = Supervisor { shared, events: to_self, cpus: Vec::new() };
            on_end(supervisor.run(&spec, machine, &received, &output));
        };
        std::thread::Builder::new().spawn(supervise).map_err(GuestError::host("a thread for a guest"))?;
        Ok(Self { name, vcpus, events, console, serial, disks, balloon, button })
    }

    /// The guest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The guest's console output.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// The guest's keyboard.
    pub fn serial(&self) -> Arc<SerialPort<Console>> {
        self.serial.clone()
    }

    /// Sectors of 512 bytes that it has read from and written to all its disks.
    pub fn sectors(&self) -> (u64, u64) {
        let sum = |counter: fn(&DiskCounters) -> &AtomicU64| {
            self.disks.iter().map(|disk| counter(disk.block.counters()).load(Ordering::Relaxed)).sum()
        };
        (sum(|disk| &disk.sectors_read), sum(|disk| &disk.sectors_written))
    }

    /// Serial number and bytes of each of its disks, in order.
    pub fn disks(&self) -> impl Iterator<Item = (&str, u64)> {
        self.disks.iter().map(|disk| (disk.block.id(), disk.block.bytes()))
    }

    /// What its balloon has done until now; nothing without one.
    pub fn balloon(&self) -> Option<BalloonReport> {
        self.balloon.as_ref().map(|balloon| balloon.report())
    }

    /// Asks for so many bytes in its balloon from now on; whether it has one.
    pub fn set_balloon(&self, bytes: u64) -> bool {
        self.balloon.as_ref().inspect(|balloon| balloon.set_target(bytes)).is_some()
    }

    /// Gives the disk whose serial number is `id` as many bytes, or as many as its file has grown to, and tells the guest.
    ///
    /// # Errors
    /// What is wrong with that; nothing changed.
    pub fn resize_disk(&self, id: &str, bytes: Option<u64>) -> Result<(), DiskResizeError> {
        let Some(disk) = self.disks.iter().find(|disk| disk.block.id() == id) else {
            let known = self.disks.iter().map(|disk| disk.block.id().to_owned()).collect();
            return Err(DiskResizeError::Unknown { id: id.into(), known });
        };
        disk.resize(bytes).map_err(|source| DiskResizeError::Refused { id: id.into(), source })
    }

    /// Presses the guest's power button, if its kernel listens to it; whether it does.
    ///
    /// # Errors
    /// When KVM does not tell.
    pub fn press_power_button(&self) -> Result<bool, KvmError> {
        self.button.press()
    }

    /// Ends the guest as if its power were cut. It may have ended already.
    pub fn stop(&self) {
        let _ = self.events.send(Event::Stop);
    }

    /// Every vCPU's registers; `None` if the guest has ended or is ending. Waits for vCPUs that are in the host, and keeps nobody else
    /// waiting meanwhile.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (to, from) = channel();
        self.events.send(Event::Snapshot(to)).ok()?;
        let mut vcpus = vec![None; self.vcpus as usize];
        let deadline = Instant::now() + SNAPSHOT_PATIENCE;
        while vcpus.iter().any(Option::is_none) {
            let state = match from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(state) => state,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return None,
            };
            if let Some(slot) = vcpus.get_mut(state.vcpu as usize) {
                *slot = Some(state.text);
            }
        }
        Some(Snapshot { vcpus })
    }
}

/// A vCPU and the thread that runs it.
struct Cpu {
    kicker: Kicker,
    thread: JoinHandle<ExitCounts>,
}

struct Supervisor {
    shared: Arc<Shared>,
    events: Sender<Event>,
    cpus: Vec<Cpu>,
}

impl Supervisor {
    fn run(
        mut self,
        spec: &GuestSpec,
        machine: Machine,
        received: &Receiver<Event>,
        console: &Console,
    ) -> GuestReport {
        let Machine { vcpus, serial, disks, balloon, .. } = machine;
        let started = Instant::now();
        for (vcpu, kicker) in vcpus {
            let (shared, events) = (self.shared.clone(), self.events.clone());
            let index = vcpu.index();
            let thread = std::thread::Builder::new()
                .name(format!("vcpu{index}"))
                .spawn(move || vcpu_thread::run(vcpu, &shared, &events));
            match thread {
                Ok(thread) => self.cpus.push(Cpu { kicker, thread }),
                Err(error) => {
                    let why = format!("the host has no thread for it: {error}");
                    // This thread holds the receiver.
                    let _ = self.events.send(Event::Died { vcpu: index, why });
                    break;
                }
            }
        }
        let end = self.wait(received);
        let elapsed = started.elapsed();
        let exits = self.stop_vcpus();
        serial.hang_up();
        console.finish();
        GuestReport {
            name: spec.name.clone(),
            end,
            elapsed,
            exits,
            disks: disks.iter().map(|disk| close(disk)).collect(),
            balloon: balloon.as_deref().map(let_go),
            console_tail: console.tail(),
        }
    }

    fn wait(&mut self, received: &Receiver<Event>) -> End {
        let mut halt = Watch::new();
        let mut panic_ends: Option<Instant> = None;
        let end = loop {
            let deadline = panic_ends.map_or(halt.due(), |at| at.min(halt.due()));
            // This thread holds a sender too, so the channel stays open.
            match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Power(PowerEvent::PowerOff)) => break End::PowerOff,
                Ok(Event::Power(PowerEvent::Reset)) => break End::Reset,
                Ok(Event::Power(PowerEvent::Panicked)) => {
                    panic_ends.get_or_insert_with(|| Instant::now() + PANIC_PATIENCE);
                }
                Ok(Event::Died { vcpu, why }) => break End::Died { vcpu, why },
                Ok(Event::AllAsleep { call }) => {
                    if halt.all_asleep(call) {
                        break End::Halted;
                    }
                }
                Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => break End::Stopped,
                Ok(Event::Snapshot(to)) => self.ask(to),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if panic_ends.is_some_and(|at| now >= at) {
                break End::Panicked;
            }
            if now >= halt.due() {
                halt.call(&self.shared.calls);
                self.kick_all();
            }
        };
        if panic_ends.is_some() { End::Panicked } else { end }
    }

    fn kick_all(&self) {
        for cpu in &self.cpus {
            cpu.kicker.kick(&cpu.thread);
        }
    }

    /// Has every vCPU tell `to` where it stands. One that is in the host does so when it comes back.
    fn ask(&self, to: Sender<VcpuState>) {
        *self.shared.snapshot_to.lock() = Some(to);
        self.shared.snapshots.fetch_add(1, Ordering::Release);
        self.kick_all();
    }

    fn stop_vcpus(&mut self) -> ExitCounts {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(tmem) = &self.shared.tmem {
            tmem.stop();
        }
        while self.cpus.iter().any(|cpu| !cpu.thread.is_finished()) {
            self.kick_all();
            let deadline = Instant::now() + STOP_PATIENCE;
            while Instant::now() < deadline && self.cpus.iter().any(|cpu| !cpu.thread.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let counts = self.cpus.drain(..).filter_map(|cpu| cpu.thread.join().ok());
        counts.fold(ExitCounts::default(), ExitCounts::plus)
    }
}

fn close(disk: &Disk) -> DiskReport {
    disk.transport.shut_down();
    disk.report()
}

fn let_go(balloon: &Ballooned) -> BalloonReport {
    balloon.transport.shut_down();
    balloon.last_report()
}
