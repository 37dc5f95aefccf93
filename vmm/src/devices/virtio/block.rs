//! virtio-blk (virtio 1.2, section 5.2) over a file or block device of the host.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thiserror::Error;
use virtio_bindings::virtio_blk::*;
use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, ReadVolatile, WriteVolatile};

use super::config_space::ConfigSpace;
use super::drain::drain;
use super::{BrokenRing, VirtioDevice};

/// Bytes of a sector: virtio-blk's only unit.
const SECTOR: u64 = 512;
/// Most data descriptors of a request, which leaves room for header and status in a queue of 256.
const SEGMENTS_MAX: u32 = 254;
/// Most bytes of a data descriptor. With [`SEGMENTS_MAX`] it bounds how long a guest can keep the host's disk busy with one
/// request, and so how long the end of a guest may have to wait.
const SEGMENT_BYTES_MAX: u32 = 64 << 10;
/// Length of the answer to a request for the device's id.
const ID_LEN: usize = 20;

/// Why a disk cannot be attached.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The file cannot be opened as asked.
    #[error("cannot open disk {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// The size is no whole number of sectors.
    #[error("disk {} has {size} bytes; it must have a whole number of 512-byte sectors, and at least one", path.display())]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
}

/// What the driver asked of a disk so far.
#[derive(Debug, Default)]
pub struct DiskCounters {
    /// Read requests.
    pub reads: AtomicU64,
    /// Write requests.
    pub writes: AtomicU64,
    /// Flush requests.
    pub flushes: AtomicU64,
    /// Requests that were answered with an error.
    pub errors: AtomicU64,
    /// 512-byte sectors read.
    pub sectors_read: AtomicU64,
    /// 512-byte sectors written.
    pub sectors_written: AtomicU64,
}

/// A disk.
#[derive(Debug)]
pub struct Block {
    file: File,
    sectors: u64,
    read_only: bool,
    id: [u8; ID_LEN],
    config: Arc<ConfigSpace>,
    counters: Arc<DiskCounters>,
}

/// The fixed head of a request: type, reserved word, sector.
const HEADER_LEN: usize = 16;

/// How a request ended, and how many bytes of the guest's buffers were filled.
type Outcome = Result<u32, u32>;

impl Block {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`DiskError`] naming the file.
    pub fn open(path: &Path, read_only: bool) -> Result<Self, DiskError> {
        let cannot = |source| DiskError::Open { path: path.into(), source };
        let mut file = OpenOptions::new().read(true).write(!read_only).open(path).map_err(cannot)?;
        let size = file.seek(SeekFrom::End(0)).map_err(cannot)?;
        if size == 0 || !size.is_multiple_of(SECTOR) {
            return Err(DiskError::Size { path: path.into(), size });
        }
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let mut id = [0; ID_LEN];
        id.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        let sectors = size / SECTOR;
        let mut config = [0; 16];
        let limits = SEGMENT_BYTES_MAX.to_le_bytes().into_iter().chain(SEGMENTS_MAX.to_le_bytes());
        let fields = sectors.to_le_bytes().into_iter().chain(limits);
        config.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let config = Arc::new(ConfigSpace::read_only(&config));
        Ok(Self { file, sectors, read_only, id, config, counters: Arc::default() })
    }

    /// The counters, which stay readable while a worker serves the disk.
    pub fn counters(&self) -> Arc<DiskCounters> {
        self.counters.clone()
    }

    /// Serves one request; returns the length for the used ring.
    fn request(&mut self, memory: &GuestMemoryMmap<()>, chain: DescriptorChain<&GuestMemoryMmap<()>>) -> u32 {
        // One more than allowed is enough to see that it is too much.
        let parts: Vec<Descriptor> = chain.take(SEGMENTS_MAX as usize + 3).collect();
        let [head, data @ .., status] = parts.as_slice() else { return 0 };
        if !status.is_write_only() || status.len() == 0 || data.len() > SEGMENTS_MAX as usize {
            return 0;
        }
        let outcome = self.execute(memory, head, data);
        let (code, filled) = match outcome {
            Ok(filled) => (VIRTIO_BLK_S_OK, filled),
            Err(code) => {
                tracing::debug!(sectors = self.sectors, code, "a disk refused a request");
                count(&self.counters.errors, 1);
                (code, 0)
            }
        };
        match memory.write_obj(code as u8, status.addr()) {
            Ok(()) => filled.saturating_add(1),
            Err(_) => 0,
        }
    }

    fn execute(&mut self, memory: &GuestMemoryMmap<()>, head: &Descriptor, data: &[Descriptor]) -> Outcome {
        if head.is_write_only() || (head.len() as usize) < HEADER_LEN {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        let header: [u8; HEADER_LEN] = memory.read_obj(head.addr()).map_err(|_| VIRTIO_BLK_S_IOERR)?;
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        match u32::from_le_bytes([k0, k1, k2, k3]) {
            VIRTIO_BLK_T_IN => self.read(memory, sector, data),
            VIRTIO_BLK_T_OUT => self.write(memory, sector, data),
            VIRTIO_BLK_T_FLUSH => {
                count(&self.counters.flushes, 1);
                self.file.sync_data().map(|()| 0).map_err(|_| VIRTIO_BLK_S_IOERR)
            }
            VIRTIO_BLK_T_GET_ID => match data {
                [buffer] if buffer.is_write_only() && buffer.len() as usize >= ID_LEN => {
                    memory.write_slice(&self.id, buffer.addr()).map_err(|_| VIRTIO_BLK_S_IOERR)?;
                    Ok(ID_LEN as u32)
                }
                _ => Err(VIRTIO_BLK_S_IOERR),
            },
            _ => Err(VIRTIO_BLK_S_UNSUPP),
        }
    }

    /// Checks that `data` is whole sectors inside the disk, all for the same direction, and seeks there.
    fn prepare(&mut self, sector: u64, data: &[Descriptor], device_writes: bool) -> Result<u64, u32> {
        if data.iter().any(|d| d.is_write_only() != device_writes || d.len() > SEGMENT_BYTES_MAX) {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        let bytes: u64 = data.iter().map(|d| u64::from(d.len())).sum();
        let count = bytes / SECTOR;
        let end = sector.checked_add(count).filter(|end| *end <= self.sectors);
        if end.is_none() || !bytes.is_multiple_of(SECTOR) {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        self.file.seek(SeekFrom::Start(sector * SECTOR)).map_err(|_| VIRTIO_BLK_S_IOERR)?;
        Ok(count)
    }

    fn read(&mut self, memory: &GuestMemoryMmap<()>, sector: u64, data: &[Descriptor]) -> Outcome {
        count(&self.counters.reads, 1);
        let sectors = self.prepare(sector, data, true)?;
        for part in data {
            let mut slice = slice(memory, part)?;
            self.file.read_exact_volatile(&mut slice).map_err(|_| VIRTIO_BLK_S_IOERR)?;
        }
        count(&self.counters.sectors_read, sectors);
        Ok((sectors * SECTOR) as u32)
    }

    fn write(&mut self, memory: &GuestMemoryMmap<()>, sector: u64, data: &[Descriptor]) -> Outcome {
        count(&self.counters.writes, 1);
        if self.read_only {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        let sectors = self.prepare(sector, data, false)?;
        for part in data {
            let slice = slice(memory, part)?;
            self.file.write_all_volatile(&slice).map_err(|_| VIRTIO_BLK_S_IOERR)?;
        }
        count(&self.counters.sectors_written, sectors);
        Ok(0)
    }
}

fn slice<'a>(
    memory: &'a GuestMemoryMmap<()>,
    part: &Descriptor,
) -> Result<vm_memory::VolatileSlice<'a>, u32> {
    memory.get_slice(GuestAddress(part.addr().0), part.len() as usize).map_err(|_| VIRTIO_BLK_S_IOERR)
}

/// Only the disk's own worker adds to a counter; readers may see it a little late.
fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl VirtioDevice for Block {
    fn id(&self) -> u32 {
        VIRTIO_ID_BLOCK
    }

    fn features(&self) -> u64 {
        let read_only = if self.read_only { 1 << VIRTIO_BLK_F_RO } else { 0 };
        1 << VIRTIO_BLK_F_FLUSH | 1 << VIRTIO_BLK_F_SIZE_MAX | 1 << VIRTIO_BLK_F_SEG_MAX | read_only
    }

    fn config(&self) -> Arc<ConfigSpace> {
        self.config.clone()
    }

    fn serve(
        &mut self,
        memory: &GuestMemoryMmap<()>,
        queues: &mut [Queue],
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing> {
        let [queue, ..] = queues else { return Ok(false) };
        drain(memory, queue, stop, |chain| self.request(memory, chain))
    }
}

#[cfg(test)]
mod tests;
