//! A guest's hypercalls, handed to the store's host with the memory of the machine that they came from.

use tmem_host::{Dispatcher, Registers, TranslateGva};

use crate::kvm::HypercallHandler;
use crate::memory::GuestRam;

/// One guest's dispatcher, and its RAM.
#[derive(Debug)]
pub struct TmemHandler {
    dispatcher: Dispatcher,
    ram: GuestRam,
}

impl TmemHandler {
    /// Serves the machine with this RAM.
    pub fn new(dispatcher: Dispatcher, ram: GuestRam) -> Self {
        Self { dispatcher, ram }
    }

    /// What answers its calls.
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.dispatcher
    }
}

impl HypercallHandler for TmemHandler {
    fn hypercall(&self, vcpu: u32, regs: &Registers, gva: &dyn TranslateGva) -> i64 {
        self.dispatcher.hypercall(self.ram.mmap(), vcpu, regs, gva)
    }

    fn stop(&self) {
        self.dispatcher.stop();
    }
}
