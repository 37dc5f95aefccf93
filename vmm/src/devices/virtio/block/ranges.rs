//! Ranges that a driver discards or wants to be zeros (virtio 1.2, section 5.2.6: `virtio_blk_discard_write_zeroes`).

use std::sync::atomic::AtomicBool;

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestMemoryMmap};

use super::request::{Outcome, Refusal};
use super::{Block, RANGE_SECTORS_MAX, RANGES_MAX, SECTOR, count};
use crate::disk::Medium;

/// The only flag that there is (`VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP`).
const UNMAP: u32 = 1;
/// Bytes of a range as the driver writes it: sector, number of sectors, flags.
const RANGE_LEN: usize = 16;

/// A range that lies on the disk.
struct Range {
    sector: u64,
    sectors: u64,
    /// It may become a hole.
    unmap: bool,
}

impl Range {
    fn at(&self) -> u64 {
        self.sector * SECTOR
    }

    fn bytes(&self) -> u64 {
        self.sectors * SECTOR
    }
}

impl<M: Medium> Block<M> {
    /// Makes holes.
    pub(super) fn discard(
        &self,
        memory: &GuestMemoryMmap<()>,
        data: &[Descriptor],
        stop: &AtomicBool,
    ) -> Outcome {
        count(&self.counters.discards, 1);
        let ranges = self.ranges(memory, data)?;
        // The flag belongs to zeros; a discard that has it is one that the driver does not mean.
        if ranges.iter().any(|range| range.unmap) {
            return Err(Refusal::Unsupported);
        }
        for range in &ranges {
            self.medium.discard(range.at(), range.bytes(), stop)?;
            count(&self.counters.sectors_discarded, range.sectors);
        }
        self.settle()?;
        Ok(0)
    }

    /// Makes zeros.
    pub(super) fn write_zeros(
        &self,
        memory: &GuestMemoryMmap<()>,
        data: &[Descriptor],
        stop: &AtomicBool,
    ) -> Outcome {
        count(&self.counters.zeroings, 1);
        for range in self.ranges(memory, data)? {
            self.medium.write_zeros(range.at(), range.bytes(), range.unmap, stop)?;
            count(&self.counters.sectors_zeroed, range.sectors);
        }
        self.settle()?;
        Ok(0)
    }

    /// The ranges of a request, all of them checked before the first is touched.
    fn ranges(&self, memory: &GuestMemoryMmap<()>, data: &[Descriptor]) -> Result<Vec<Range>, Refusal> {
        if self.medium.read_only() || data.iter().any(Descriptor::is_write_only) {
            return Err(Refusal::Error);
        }
        let len: u64 = data.iter().map(|part| u64::from(part.len())).sum();
        if len == 0 || !len.is_multiple_of(RANGE_LEN as u64) || len > u64::from(RANGES_MAX) * RANGE_LEN as u64
        {
            return Err(Refusal::Error);
        }
        // A driver may cut them where it likes.
        let mut bytes = vec![0; len as usize];
        let mut rest = bytes.as_mut_slice();
        for part in data {
            let (to, behind) = rest.split_at_mut_checked(part.len() as usize).ok_or(Refusal::Error)?;
            memory.read_slice(to, part.addr()).map_err(|_| Refusal::Error)?;
            rest = behind;
        }
        bytes.as_chunks::<RANGE_LEN>().0.iter().map(|range| self.range(*range)).collect()
    }

    fn range(&self, bytes: [u8; RANGE_LEN]) -> Result<Range, Refusal> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = bytes;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        let flags = u32::from_le_bytes(flags);
        if flags & !UNMAP != 0 {
            return Err(Refusal::Unsupported);
        }
        if sectors > RANGE_SECTORS_MAX || !self.holds(sector, sectors.into()) {
            return Err(Refusal::Error);
        }
        Ok(Range { sector, sectors: sectors.into(), unmap: flags != 0 })
    }
}
