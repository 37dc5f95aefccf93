//! How a guest ended, and what it did until then.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

use crate::devices::virtio::balloon::BalloonCounters;
use crate::devices::virtio::block::Block;
use crate::disk::Medium;
use crate::kvm::Exit;

/// Why a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It powered itself off.
    PowerOff,
    /// It reset itself: a reboot.
    Reset,
    /// It halted: all its vCPUs sleep with interrupts off, and nothing can wake them.
    Halted,
    /// Its kernel panicked, whatever it did afterwards.
    Panicked,
    /// The host stopped it.
    Stopped,
    /// It could not go on: a triple fault that was no reset, or a failure of KVM.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiskReport {
    /// The host's file, or the socket at which it is served.
    pub path: String,
    /// The serial number that the guest is told.
    pub id: String,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The guest could not write.
    pub read_only: bool,
    /// A driver of the guest's found it.
    pub found: bool,
    /// Read requests.
    pub reads: u64,
    /// Write requests.
    pub writes: u64,
    /// Flush requests.
    pub flushes: u64,
    /// Discard requests.
    pub discards: u64,
    /// Requests to write zeros.
    pub zeroings: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// 512-byte sectors read.
    pub sectors_read: u64,
    /// 512-byte sectors written.
    pub sectors_written: u64,
    /// 512-byte sectors discarded.
    pub sectors_discarded: u64,
    /// 512-byte sectors zeroed.
    pub sectors_zeroed: u64,
}

impl DiskReport {
    /// What was asked of `disk`, whose bytes are in what people call `path`.
    pub(crate) fn new<M: Medium>(disk: &Block<M>, path: String) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = disk.counters();
        Self {
            path,
            id: disk.id().into(),
            bytes: disk.bytes(),
            read_only: disk.medium().read_only(),
            found: disk.was_found(),
            reads: get(&counters.reads),
            writes: get(&counters.writes),
            flushes: get(&counters.flushes),
            discards: get(&counters.discards),
            zeroings: get(&counters.zeroings),
            errors: get(&counters.errors),
            sectors_read: get(&counters.sectors_read),
            sectors_written: get(&counters.sectors_written),
            sectors_discarded: get(&counters.sectors_discarded),
            sectors_zeroed: get(&counters.sectors_zeroed),
        }
    }
}

/// What a guest gave back of its memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BalloonReport {
    /// Pages that the host asks for.
    pub target_pages: u64,
    /// Pages in the balloon, as the guest says.
    pub actual_pages: u64,
    /// Pages put into the balloon.
    pub inflated_pages: u64,
    /// Pages taken out of it.
    pub deflated_pages: u64,
    /// Free pages reported. A page counts each time.
    pub reported_pages: u64,
    /// Bytes that the host held and got back by inflating and reporting. A page counts again once it was used again.
    pub given_back_bytes: u64,
    /// Pages and ranges that were not this guest's RAM, and requests that were too long.
    pub ignored: u64,
    /// Ranges that the host did not take back.
    pub failed: u64,
    /// Bytes of the guest's RAM in the host's memory at its end; nothing before, and if the host does not tell.
    pub resident_bytes: Option<u64>,
}

impl BalloonReport {
    pub(super) fn new(counters: &BalloonCounters, resident_bytes: Option<u64>) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            target_pages: counters.target().into(),
            actual_pages: counters.actual().into(),
            inflated_pages: get(&counters.inflated),
            deflated_pages: get(&counters.deflated),
            reported_pages: get(&counters.reported),
            given_back_bytes: get(&counters.given_back),
            ignored: get(&counters.ignored),
            failed: get(&counters.failed),
            resident_bytes,
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
    /// Its balloon, if it has one.
    pub balloon: Option<BalloonReport>,
    /// Its last console output.
    pub console_tail: String,
}
