//! One request: looked at, carried out, answered.

use std::io;
use std::sync::atomic::AtomicBool;

use virtio_bindings::virtio_blk::*;
use virtio_queue::DescriptorChain;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

use super::{Block, ID_LEN, SECTOR, SEGMENT_BYTES_MAX, SEGMENTS_MAX, count};
use crate::disk::Medium;

/// The fixed head of a request: type, reserved word, sector.
const HEADER_LEN: usize = 16;

/// The status of a request that was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The driver asked for what there is not, or the host failed.
    Error,
    /// The device cannot do this.
    Unsupported,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::Unsupported => Self::Unsupported,
            _ => Self::Error,
        }
    }
}

/// How many bytes of the guest's buffers were filled.
pub(super) type Outcome = Result<u32, Refusal>;

impl<M: Medium> Block<M> {
    /// Serves one request; returns the length for the used ring.
    pub(super) fn request(
        &self,
        memory: &GuestMemoryMmap<()>,
        chain: DescriptorChain<&GuestMemoryMmap<()>>,
        stop: &AtomicBool,
    ) -> u32 {
        // One more than allowed is enough to see that it is too much.
        let parts: Vec<Descriptor> = chain.take(SEGMENTS_MAX as usize + 3).collect();
        let [head, data @ .., status] = parts.as_slice() else { return 0 };
        if !status.is_write_only() || status.len() == 0 || data.len() > SEGMENTS_MAX as usize {
            return 0;
        }
        let (code, filled) = match self.execute(memory, head, data, stop) {
            Ok(filled) => (VIRTIO_BLK_S_OK, filled),
            Err(refusal) => {
                tracing::debug!(disk = self.id(), ?refusal, "a disk refused a request");
                count(&self.counters.errors, 1);
                let code = match refusal {
                    Refusal::Error => VIRTIO_BLK_S_IOERR,
                    Refusal::Unsupported => VIRTIO_BLK_S_UNSUPP,
                };
                (code, 0)
            }
        };
        match memory.write_obj(code as u8, status.addr()) {
            Ok(()) => filled.saturating_add(1),
            Err(_) => 0,
        }
    }

    fn execute(
        &self,
        memory: &GuestMemoryMmap<()>,
        head: &Descriptor,
        data: &[Descriptor],
        stop: &AtomicBool,
    ) -> Outcome {
        if head.is_write_only() || (head.len() as usize) < HEADER_LEN {
            return Err(Refusal::Error);
        }
        let header: [u8; HEADER_LEN] = memory.read_obj(head.addr()).map_err(|_| Refusal::Error)?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        match u32::from_le_bytes([k0, k1, k2, k3]) {
            VIRTIO_BLK_T_IN => self.read(memory, sector, data),
            VIRTIO_BLK_T_OUT => self.write(memory, sector, data),
            VIRTIO_BLK_T_FLUSH => {
                count(&self.counters.flushes, 1);
                self.medium.flush()?;
                Ok(0)
            }
            VIRTIO_BLK_T_DISCARD if self.has(VIRTIO_BLK_F_DISCARD) => self.discard(memory, data, stop),
            VIRTIO_BLK_T_WRITE_ZEROES if self.has(VIRTIO_BLK_F_WRITE_ZEROES) => {
                self.write_zeros(memory, data, stop)
            }
            VIRTIO_BLK_T_GET_ID => match data {
                [buffer] if buffer.is_write_only() && buffer.len() as usize >= ID_LEN => {
                    memory.write_slice(&self.id, buffer.addr()).map_err(|_| Refusal::Error)?;
                    Ok(ID_LEN as u32)
                }
                _ => Err(Refusal::Error),
            },
            _ => Err(Refusal::Unsupported),
        }
    }

    fn read(&self, memory: &GuestMemoryMmap<()>, sector: u64, data: &[Descriptor]) -> Outcome {
        count(&self.counters.reads, 1);
        let (parts, sectors) = self.transfer(memory, sector, data, true)?;
        self.medium.read(&parts, sector * SECTOR)?;
        count(&self.counters.sectors_read, sectors);
        Ok((sectors * SECTOR) as u32)
    }

    fn write(&self, memory: &GuestMemoryMmap<()>, sector: u64, data: &[Descriptor]) -> Outcome {
        count(&self.counters.writes, 1);
        if self.medium.read_only() {
            return Err(Refusal::Error);
        }
        let (parts, sectors) = self.transfer(memory, sector, data, false)?;
        self.medium.write(&parts, sector * SECTOR)?;
        self.settle()?;
        count(&self.counters.sectors_written, sectors);
        Ok(0)
    }

    /// Checks that `data` is guest memory, all for the same direction, and whole sectors inside the disk; returns it and their number.
    fn transfer<'a>(
        &self,
        memory: &'a GuestMemoryMmap<()>,
        sector: u64,
        data: &[Descriptor],
        device_writes: bool,
    ) -> Result<(Vec<VolatileSlice<'a>>, u64), Refusal> {
        if data.iter().any(|d| d.is_write_only() != device_writes || d.len() > SEGMENT_BYTES_MAX) {
            return Err(Refusal::Error);
        }
        let bytes: u64 = data.iter().map(|d| u64::from(d.len())).sum();
        let sectors = bytes / SECTOR;
        if !bytes.is_multiple_of(SECTOR) || !self.holds(sector, sectors) {
            return Err(Refusal::Error);
        }
        let slice = |part: &Descriptor| {
            memory.get_slice(GuestAddress(part.addr().0), part.len() as usize).map_err(|_| Refusal::Error)
        };
        let parts = data.iter().map(slice).collect::<Result<_, _>>()?;
        Ok((parts, sectors))
    }

    /// Whether so many sectors from `sector` on are on the disk.
    pub(super) fn holds(&self, sector: u64, sectors: u64) -> bool {
        sector.checked_add(sectors).is_some_and(|end| end <= self.sectors())
    }

    /// What was written is on the disk when the driver is told so, if it cannot ask for that (section 5.2.6.2).
    pub(super) fn settle(&self) -> io::Result<()> {
        if self.has(VIRTIO_BLK_F_FLUSH) { Ok(()) } else { self.medium.flush() }
    }
}
