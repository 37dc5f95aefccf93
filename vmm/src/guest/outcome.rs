//! How a guest ended, and what it did until then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::devices::virtio::block::DiskCounters;
use crate::kvm::Exit;

/// Why a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It powered itself off.
    PowerOff,
    /// It reset itself: a reboot, or a panic with `panic=-1`.
    Reset,
    /// The host stopped it.
    Stopped,
    /// It could not go on: triple fault, or a failure of KVM.
    Died {
        /// The vCPU on which it happened.
        vcpu: u32,
        /// What happened, with the vCPU's registers.
        why: String,
    },
}

/// Exits to user space by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExitCounts {
    /// Port reads.
    pub pio_in: u64,
    /// Port writes.
    pub pio_out: u64,
    /// Reads of device registers.
    pub mmio_read: u64,
    /// Writes of device registers.
    pub mmio_write: u64,
    /// Hypercalls.
    pub hypercall: u64,
    /// Signals and kicks.
    pub interrupted: u64,
}

impl ExitCounts {
    /// Counts one exit; those that end a guest are told by [`End`].
    pub fn count(&mut self, exit: &Exit) {
        let counter = match exit {
            Exit::PioIn => &mut self.pio_in,
            Exit::PioOut => &mut self.pio_out,
            Exit::MmioRead => &mut self.mmio_read,
            Exit::MmioWrite => &mut self.mmio_write,
            Exit::Hypercall => &mut self.hypercall,
            Exit::Interrupted => &mut self.interrupted,
            Exit::Halt | Exit::Shutdown | Exit::Failed(_) => return,
        };
        *counter += 1;
    }

    /// The sum over vCPUs.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            pio_in: self.pio_in + other.pio_in,
            pio_out: self.pio_out + other.pio_out,
            mmio_read: self.mmio_read + other.mmio_read,
            mmio_write: self.mmio_write + other.mmio_write,
            hypercall: self.hypercall + other.hypercall,
            interrupted: self.interrupted + other.interrupted,
        }
    }
}

/// What a guest asked of one disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DiskReport {
    /// The host's file.
    pub path: String,
    /// The guest could not write.
    pub read_only: bool,
    /// Read requests.
    pub reads: u64,
    /// Write requests.
    pub writes: u64,
    /// Flush requests.
    pub flushes: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// 512-byte sectors read.
    pub sectors_read: u64,
    /// 512-byte sectors written.
    pub sectors_written: u64,
}

impl DiskReport {
    pub(super) fn new(path: String, read_only: bool, counters: &DiskCounters) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            path,
            read_only,
            reads: get(&counters.reads),
            writes: get(&counters.writes),
            flushes: get(&counters.flushes),
            errors: get(&counters.errors),
            sectors_read: get(&counters.sectors_read),
            sectors_written: get(&counters.sectors_written),
        }
    }
}

/// A guest's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestReport {
    /// Its name.
    pub name: String,
    /// Why it ended.
    pub end: End,
    /// From its first instruction to its end.
    pub elapsed: Duration,
    /// Exits of all its vCPUs.
    pub exits: ExitCounts,
    /// Its disks, in order.
    pub disks: Vec<DiskReport>,
    /// Its last console output.
    pub console_tail: String,
}
