//! What a vCPU's return from the guest means, apart from how KVM encodes it.

use std::fmt;

use tmem_host::{Gpa, Registers, TranslateGva};

/// Why `KVM_RUN` returned, once the exit has been handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest read a port; [`ExitHandler::pio_in`] answered.
    PioIn,
    /// The guest wrote a port; [`ExitHandler::pio_out`] took it.
    PioOut,
    /// The guest read a device register; [`ExitHandler::mmio_read`] answered.
    MmioRead,
    /// The guest wrote a device register; [`ExitHandler::mmio_write`] took it.
    MmioWrite,
    /// The guest made a hypercall, which was answered.
    Hypercall,
    /// The guest halted (only without an in-kernel interrupt controller).
    Halt,
    /// Triple fault, or a reset that KVM noticed itself.
    Shutdown,
    /// A signal or [`super::Kicker`] interrupted the run; nothing happened in the guest.
    Interrupted,
    /// The vCPU cannot go on.
    Failed(Failure),
}

/// Why a vCPU cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The processor refused the guest state (KVM_EXIT_FAIL_ENTRY).
    Entry {
        /// Hardware reason.
        reason: u64,
    },
    /// KVM gave up (KVM_EXIT_INTERNAL_ERROR): an instruction it cannot emulate, for example.
    Internal {
        /// KVM_INTERNAL_ERROR_*: 1 emulation, 2 simultaneous exceptions, 3 delivery, 4 unexpected exit.
        suberror: u32,
        /// Details that KVM gave, at most 16 words.
        data: Vec<u64>,
    },
    /// An exit that no guest of this machine should cause.
    Unexpected(String),
    /// The ioctl itself failed.
    Run(i32),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry { reason } => {
                write!(f, "the processor refused the guest's state (hardware reason {reason:#x})")
            }
            Self::Internal { suberror, data } => {
                let kind = match suberror {
                    1 => "an instruction that it cannot emulate",
                    2 => "simultaneous exceptions",
                    3 => "an event that it cannot deliver",
                    _ => "an unexpected state",
                };
                write!(f, "KVM gave up on {kind} (internal error {suberror}, data {data:x?})")
            }
            Self::Unexpected(exit) => write!(f, "unexpected exit {exit}"),
            Self::Run(errno) => write!(f, "KVM_RUN failed: {}", std::io::Error::from_raw_os_error(*errno)),
        }
    }
}

/// Answers hypercalls of one guest, from all its vCPU threads at once.
pub trait HypercallHandler: Send + Sync {
    /// Answers one call of vCPU number `vcpu`; the result goes to the guest's rax. Runs on the path of a page: it must
    /// not allocate, block or log.
    fn hypercall(&self, vcpu: u32, regs: &Registers, gva: &dyn TranslateGva) -> i64;

    /// The guest is to stop: calls with much to do end in the middle of it.
    fn stop(&self) {}
}

/// The world around one vCPU: its exits end here.
pub trait ExitHandler {
    /// The guest reads `data.len()` bytes from `port`.
    fn pio_in(&mut self, port: u16, data: &mut [u8]);
    /// The guest writes `data` to `port`.
    fn pio_out(&mut self, port: u16, data: &[u8]);
    /// The guest reads `data.len()` bytes where no RAM is.
    fn mmio_read(&mut self, gpa: Gpa, data: &mut [u8]);
    /// The guest writes `data` where no RAM is.
    fn mmio_write(&mut self, gpa: Gpa, data: &[u8]);
    /// The guest makes a hypercall; the result goes to its rax.
    fn hypercall(&mut self, regs: &Registers, gva: &dyn TranslateGva) -> i64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_when_shown_says_what_kvm_gave_up_on() {
        let text = Failure::Internal { suberror: 1, data: vec![0xf1] }.to_string();
        assert_eq!(
            text,
            "KVM gave up on an instruction that it cannot emulate (internal error 1, data [f1])"
        );
    }
}
