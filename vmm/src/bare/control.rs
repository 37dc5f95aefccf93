//! The host's half of the control port: what a payload tells, and what is done about it.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use tmem_bare::control::{self, Command, TEXT, TEXT_MAX, Verdict, WORDS};
use tmem_bare::{layout, selftest};
use tmem_core::{Budget, SharedUuid, Store};

use super::rendezvous::Rendezvous;
use super::run::{Ending, Event};
use crate::kvm::{ExitHandler, HypercallHandler, Registers, TranslateGva};
use crate::memory::{Gpa, GuestRam};
use crate::output::Text;
use crate::tmem::TmemHandler;

/// How one case of the selftest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The rule.
    pub name: String,
    /// Whether it holds.
    pub verdict: Verdict,
    /// Where it failed and how, or why it was skipped; empty if it passed.
    pub why: String,
}

/// What is heard of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The one of this name begins. A case that is skipped does not.
    Begins(String),
    /// One has ended.
    Ended(CaseResult),
}

/// The world of one vCPU of a bare guest: tmem, and the control port.
pub(super) struct World {
    pub(super) machine: usize,
    pub(super) vcpu: u32,
    pub(super) ram: GuestRam,
    pub(super) tmem: Arc<TmemHandler>,
    pub(super) store: Arc<Store>,
    pub(super) rendezvous: Arc<Rendezvous>,
    pub(super) events: Sender<Event>,
    /// Set when the payload has ended by itself.
    pub(super) ended: Option<Ending>,
}

impl World {
    fn command(&mut self, value: u32) {
        let now = Instant::now();
        let (command, vcpu) = control::decode(value);
        // The vCPU is the one that trapped, whatever the guest says.
        if vcpu != self.vcpu {
            self.ended = Some(Ending::Died(format!("it gave a command in the name of vCPU {vcpu}")));
            return;
        }
        match command {
            None => self.ended = Some(Ending::Died(format!("it gave an unknown command, {value:#x}"))),
            Some(Command::Done) => self.ended = Some(Ending::Done),
            Some(Command::Panic) => self.ended = Some(Ending::Panicked(self.text())),
            Some(Command::Barrier) => self.rendezvous.wait(),
            Some(Command::Begin) => self.step(Step::Begins(self.text())),
            Some(Command::Case) => self.case(),
            Some(Command::Freeze) => self.tmem.dispatcher().client().freeze(),
            Some(Command::Thaw) => self.tmem.dispatcher().client().thaw(),
            Some(Command::RevokeShared) => {
                self.tmem.dispatcher().client().revoke_shared(SharedUuid(selftest::SHARED));
            }
            Some(Command::AllowShared) => {
                self.tmem.dispatcher().client().allow_shared(SharedUuid(selftest::SHARED));
            }
            Some(Command::Start) => self.mark(now, true),
            Some(Command::Stop) => self.mark(now, false),
        }
    }

    fn mark(&self, at: Instant, start: bool) {
        let words = self.words();
        let (machine, vcpu) = (self.machine, self.vcpu);
        self.tell(match start {
            true => Event::Started { machine, vcpu, at, words },
            false => Event::Stopped { machine, vcpu, at, words },
        });
    }

    fn case(&self) {
        // The next case starts from an empty store, also where pools are released in the background.
        while self.store.maintain(Budget::default()).more {}
        let text = self.text();
        let (name, why) = text.split_once('\n').unwrap_or((&text, ""));
        let verdict =
            self.words().first().and_then(|word| Verdict::from_word(*word)).unwrap_or(Verdict::Failed);
        let result = CaseResult { name: name.to_owned(), verdict, why: why.to_owned() };
        self.step(Step::Ended(result));
    }

    fn step(&self, step: Step) {
        self.tell(Event::Case { machine: self.machine, step });
    }

    fn tell(&self, event: Event) {
        // Nobody listens any more only when the run is over.
        let _ = self.events.send(event);
    }

    fn words(&self) -> Vec<u64> {
        let mut bytes = [0; WORDS * 8];
        if self.ram.read(&mut bytes, layout::mailbox(self.vcpu)).is_err() {
            return Vec::new();
        }
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }

    /// The text in the mailbox, as it may be shown; its length is the guest's word and is cut to what there can be.
    fn text(&self) -> String {
        let at = layout::mailbox(self.vcpu) + TEXT;
        let mut length = [0; 8];
        if self.ram.read(&mut length, at - 8).is_err() {
            return String::new();
        }
        let length = usize::try_from(u64::from_le_bytes(length)).map_or(TEXT_MAX, |n| n.min(TEXT_MAX));
        let mut bytes = vec![0; length];
        match self.ram.read(&mut bytes, at) {
            Ok(()) => Text::of(&bytes),
            Err(_) => String::new(),
        }
    }
}

impl ExitHandler for World {
    fn pio_in(&mut self, _: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn pio_out(&mut self, port: u16, data: &[u8]) {
        if let (control::PORT, Ok(value)) = (port, data.try_into()) {
            self.command(u32::from_le_bytes(value));
        }
    }

    fn mmio_read(&mut self, _: Gpa, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&mut self, _: Gpa, _: &[u8]) {}

    fn hypercall(&mut self, regs: &Registers, gva: &dyn TranslateGva) -> i64 {
        self.tmem.hypercall(self.vcpu, regs, gva)
    }
}
