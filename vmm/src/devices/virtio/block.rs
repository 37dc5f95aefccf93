//! virtio-blk (virtio 1.2, section 5.2) over a disk of the host.

mod ranges;
mod request;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thiserror::Error;
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

use super::config_space::ConfigSpace;
use super::drain::drain;
use super::{BrokenRing, VirtioDevice};
use crate::disk::{Image, Medium, SECTOR};

/// Most data descriptors of a request, which leaves room for header and status in a queue of 256.
const SEGMENTS_MAX: u32 = 254;
/// Most bytes of a data descriptor. With [`SEGMENTS_MAX`] it bounds how long a guest can keep the host's disk busy with one
/// request, and so how long the end of a guest may have to wait.
const SEGMENT_BYTES_MAX: u32 = 64 << 10;
/// Length of the answer to a request for the device's id.
pub const ID_LEN: usize = 20;
/// Most queues of a disk. KVM has room for 1000 doorbells in one VM, and each takes a descriptor and a thread.
pub const QUEUES_MAX: u16 = 16;
/// Most sectors of one range to discard or to zero: 1 GiB.
const RANGE_SECTORS_MAX: u32 = 1 << 21;
/// Most ranges of one request.
const RANGES_MAX: u32 = 32;
/// What a guest had better align its discards to (sectors): 4 KiB, the block of most file systems below the image.
const DISCARD_ALIGNMENT: u32 = 8;
/// Length of `struct virtio_blk_config` up to what is used here.
const CONFIG_LEN: usize = 60;
/// Where its capacity is.
const CAPACITY: usize = 0;

/// What the driver asked of a disk so far.
#[derive(Debug, Default)]
pub struct DiskCounters {
    /// Read requests.
    pub reads: AtomicU64,
    /// Write requests.
    pub writes: AtomicU64,
    /// Flush requests.
    pub flushes: AtomicU64,
    /// Discard requests.
    pub discards: AtomicU64,
    /// Requests to write zeros.
    pub zeroings: AtomicU64,
    /// Requests that were answered with an error.
    pub errors: AtomicU64,
    /// 512-byte sectors read.
    pub sectors_read: AtomicU64,
    /// 512-byte sectors written.
    pub sectors_written: AtomicU64,
    /// 512-byte sectors discarded.
    pub sectors_discarded: AtomicU64,
    /// 512-byte sectors zeroed.
    pub sectors_zeroed: AtomicU64,
}

/// Why a disk cannot have another size.
#[derive(Debug, Error)]
pub enum ResizeError {
    /// A guest's file system does not survive it.
    #[error("it has {now} bytes, and a disk only grows: {asked} are fewer")]
    Shrinks {
        /// Its size.
        now: u64,
        /// What it should have.
        asked: u64,
    },
    /// No whole sectors.
    #[error("{0} bytes are no whole number of 512-byte sectors: give the size in MiB, such as 512M")]
    Odd(u64),
    /// Only its owner can change it.
    #[error("it is read-only here: let its file or device grow, and then resize it without a size")]
    ReadOnly,
    /// The host refused.
    #[error(
        "the host says: {0}; a block device has to grow by its own tools first, and then be resized without a size"
    )]
    Host(#[from] io::Error),
}

/// A disk.
#[derive(Debug)]
pub struct Block<M = Image> {
    medium: M,
    sectors: AtomicU64,
    id: [u8; ID_LEN],
    queues: u16,
    /// Those that the driver has accepted.
    features: AtomicU64,
    config: Arc<ConfigSpace>,
    counters: DiskCounters,
}

impl<M: Medium> Block<M> {
    /// A disk of what is in `medium`, with a serial number of at most [`ID_LEN`] bytes and 1 to [`QUEUES_MAX`] queues.
    ///
    /// # Errors
    /// When the host does not tell its size.
    pub fn new(medium: M, id: &str, queues: u16) -> io::Result<Self> {
        let sectors = medium.size()? / SECTOR;
        let queues = queues.clamp(1, QUEUES_MAX);
        let mut padded = [0; ID_LEN];
        padded.iter_mut().zip(id.bytes()).for_each(|(to, from)| *to = from);
        Ok(Self {
            config: Arc::new(ConfigSpace::read_only(&config(sectors, queues, medium.block()))),
            medium,
            sectors: AtomicU64::new(sectors),
            id: padded,
            queues,
            features: AtomicU64::new(0),
            counters: DiskCounters::default(),
        })
    }

    /// The counters.
    pub fn counters(&self) -> &DiskCounters {
        &self.counters
    }

    /// Whether a driver has ever used it.
    pub fn was_found(&self) -> bool {
        // A driver has to accept VIRTIO_F_VERSION_1.
        self.features.load(Ordering::Acquire) != 0
    }

    /// Its serial number.
    pub fn id(&self) -> &str {
        let len = self.id.iter().position(|byte| *byte == 0).unwrap_or(ID_LEN);
        self.id.get(..len).and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default()
    }

    /// Its size in bytes, as the guest sees it.
    pub fn bytes(&self) -> u64 {
        self.sectors() * SECTOR
    }

    /// What its bytes are kept in.
    pub fn medium(&self) -> &M {
        &self.medium
    }

    /// Gives it `bytes` bytes, or, without a number, as many as the file has grown to. The transport has to tell the driver.
    ///
    /// # Errors
    /// [`ResizeError`]; nothing changed.
    pub fn resize(&self, bytes: Option<u64>) -> Result<(), ResizeError> {
        let (now, there) = (self.bytes(), self.medium.size()?);
        let asked = bytes.unwrap_or(there / SECTOR * SECTOR);
        if !asked.is_multiple_of(SECTOR) {
            return Err(ResizeError::Odd(asked));
        }
        if asked < now {
            return Err(ResizeError::Shrinks { now, asked });
        }
        if asked > there {
            if self.medium.read_only() {
                return Err(ResizeError::ReadOnly);
            }
            self.medium.grow(asked)?;
        }
        let sectors = asked / SECTOR;
        self.sectors.store(sectors, Ordering::SeqCst);
        self.config.set(CAPACITY, &sectors.to_le_bytes());
        Ok(())
    }

    fn sectors(&self) -> u64 {
        self.sectors.load(Ordering::SeqCst)
    }

    fn has(&self, feature: u32) -> bool {
        self.features.load(Ordering::Acquire) & 1 << feature != 0
    }
}

/// `struct virtio_blk_config` (section 5.2.4).
fn config(sectors: u64, queues: u16, block: u32) -> [u8; CONFIG_LEN] {
    let mut config = [0; CONFIG_LEN];
    let mut put = |at: usize, bytes: &[u8]| {
        config.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    };
    put(CAPACITY, &sectors.to_le_bytes());
    put(8, &SEGMENT_BYTES_MAX.to_le_bytes());
    put(12, &SEGMENTS_MAX.to_le_bytes());
    put(20, &block.to_le_bytes());
    put(34, &queues.to_le_bytes());
    put(36, &RANGE_SECTORS_MAX.to_le_bytes());
    put(40, &RANGES_MAX.to_le_bytes());
    put(44, &DISCARD_ALIGNMENT.max(block / SECTOR as u32).to_le_bytes());
    put(48, &RANGE_SECTORS_MAX.to_le_bytes());
    put(52, &RANGES_MAX.to_le_bytes());
    // Zeros may become holes.
    put(56, &[1]);
    config
}

/// Readers may see it a little late.
fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl<M: Medium> VirtioDevice for Block<M> {
    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let by_mode = match self.medium.read_only() {
            true => 1 << VIRTIO_BLK_F_RO,
            false => 1 << VIRTIO_BLK_F_DISCARD | 1 << VIRTIO_BLK_F_WRITE_ZEROES,
        };
        let limits = 1 << VIRTIO_BLK_F_SIZE_MAX | 1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE;
        limits | 1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_MQ | by_mode
    }

    fn config(&self) -> Arc<ConfigSpace> {
        self.config.clone()
    }

    fn queues(&self) -> usize {
        self.queues.into()
    }

    fn accepted(&self, features: u64) {
        self.features.store(features, Ordering::Release);
    }

    fn serve(
        &self,
        _index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap<()>,
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing> {
        drain(memory, queue, stop, |chain| self.request(memory, chain, stop))
    }
}

#[cfg(test)]
mod tests;
