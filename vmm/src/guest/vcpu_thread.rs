//! The loop of one vCPU thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::Mutex;

use super::halt::Calls;
use super::outcome::ExitCounts;
use super::run::{Event, VcpuState};
use super::state;
use crate::arch::layout;
use crate::devices::bus::Bus;
use crate::devices::power::PowerEvent;
use crate::kvm::{Exit, ExitHandler, HypercallHandler, Registers, TranslateGva, Vcpu};
use crate::memory::{Gpa, GuestRam};

/// What all vCPU threads of a guest share.
pub(super) struct Shared {
    pub(super) stop: AtomicBool,
    /// Grows with every request for the vCPUs' states.
    pub(super) snapshots: AtomicU32,
    /// Where the states of the newest request go.
    pub(super) snapshot_to: Mutex<Option<Sender<VcpuState>>>,
    pub(super) calls: Calls,
    pub(super) ram: GuestRam,
    pub(super) ports: Bus,
    pub(super) mmio: Bus,
    pub(super) tmem: Option<Arc<dyn HypercallHandler>>,
}

impl Shared {
    /// Whether the kernel has said that it is about to reset the machine.
    fn reset_is_meant(&self) -> bool {
        let mut flag = [0; 2];
        let read = self.ram.read(&mut flag, layout::RESET_FLAG);
        read.is_ok() && u16::from_le_bytes(flag) != layout::RESET_FLAG_UNTOUCHED
    }
}

struct World<'a> {
    vcpu: u32,
    shared: &'a Shared,
}

impl ExitHandler for World<'_> {
    fn pio_in(&mut self, port: u16, data: &mut [u8]) {
        self.shared.ports.read(u64::from(port), data);
    }

    fn pio_out(&mut self, port: u16, data: &[u8]) {
        self.shared.ports.write(u64::from(port), data);
    }

    fn mmio_read(&mut self, gpa: Gpa, data: &mut [u8]) {
        self.shared.mmio.read(gpa.0, data);
    }

    fn mmio_write(&mut self, gpa: Gpa, data: &[u8]) {
        self.shared.mmio.write(gpa.0, data);
    }

    fn hypercall(&mut self, regs: &Registers, gva: &dyn TranslateGva) -> i64 {
        match &self.shared.tmem {
            Some(handler) => handler.hypercall(self.vcpu, regs, gva),
            None => tmem_abi::Errno::NoOperation.answer(),
        }
    }
}

/// Runs `vcpu` until the guest ends, and returns what it did.
pub(super) fn run(mut vcpu: Vcpu, shared: &Shared, events: &Sender<Event>) -> ExitCounts {
    let mut world = World { vcpu: vcpu.index(), shared };
    let mut counts = ExitCounts::default();
    let (mut answered, mut called) = (0, 0);
    while !shared.stop.load(Ordering::Acquire) {
        let exit = vcpu.run(&mut world);
        counts.count(&exit);
        match exit {
            Exit::Interrupted => {
                answer_snapshot(&vcpu, shared, &mut answered);
                answer_call(&vcpu, shared, &mut called, events);
            }
            Exit::Shutdown if shared.reset_is_meant() => {
                // The guest's own thread outlives its vCPU threads.
                let _ = events.send(Event::Power(PowerEvent::Reset));
                return counts;
            }
            Exit::Shutdown => return died(&vcpu, "triple fault", counts, events),
            Exit::Halt => return died(&vcpu, "halted with no interrupt to wake it", counts, events),
            Exit::Failed(failure) => return died(&vcpu, &failure.to_string(), counts, events),
            Exit::PioIn | Exit::PioOut | Exit::MmioRead | Exit::MmioWrite | Exit::Hypercall => {}
        }
    }
    counts
}

fn answer_snapshot(vcpu: &Vcpu, shared: &Shared, answered: &mut u32) {
    let wanted = shared.snapshots.load(Ordering::Acquire);
    if wanted == *answered {
        return;
    }
    *answered = wanted;
    if let Some(to) = shared.snapshot_to.lock().as_ref() {
        // Nobody waits any more if the answer comes late.
        let _ = to.send(VcpuState { vcpu: vcpu.index(), text: state::of(vcpu) });
    }
}

fn answer_call(vcpu: &Vcpu, shared: &Shared, called: &mut u32, events: &Sender<Event>) {
    let newest = shared.calls.newest();
    if newest == *called {
        return;
    }
    *called = newest;
    if vcpu.is_halted_for_good().unwrap_or(false) && shared.calls.is_halted(newest) {
        // The guest's own thread outlives its vCPU threads.
        let _ = events.send(Event::AllAsleep { call: newest });
    }
}

fn died(vcpu: &Vcpu, why: &str, counts: ExitCounts, events: &Sender<Event>) -> ExitCounts {
    let why = format!("{why}\n{}", state::of(vcpu));
    // The guest's own thread outlives its vCPU threads.
    let _ = events.send(Event::Died { vcpu: vcpu.index(), why });
    counts
}
