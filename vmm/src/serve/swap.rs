//! A disk to swap to whose blocks are pages of a guest's persistent pool: block n is page n.
//!
//! A page that the store refuses goes to the backing file, if there is one; without, the write fails, which a guest that swaps
//! survives: the page stays in its memory. What was written and is gone reads as an error, never as zeros.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use tmem_core::{Client, Key, ObjectId, OpError, PAGE_SIZE, Page, PageRange, PoolId, PoolKind};
use vm_memory::VolatileSlice;

use super::buffers::Buffers;
use super::slots::{Slot, Slots};
use crate::disk::{Image, Medium, SECTOR};

/// Bytes of a block.
const BLOCK: u64 = PAGE_SIZE as u64;
/// Most bytes of a swap disk: 1 TiB, for which the places of its blocks take 256 MiB.
pub const LARGEST: u64 = 1 << 40;

/// What a swap disk did beside what its client counts.
#[derive(Debug, Default)]
pub struct SwapCounters {
    /// Blocks that the store refused and the backing file took.
    pub backed: AtomicU64,
    /// Blocks that the store refused and that had no other place.
    pub refused: AtomicU64,
    /// Blocks that were asked for and are gone.
    pub lost: AtomicU64,
}

/// A swap disk.
pub struct SwapDisk {
    client: Client,
    /// The number of its pool; 0xffff_ffff, which names none, when the client cannot have one.
    pool: AtomicU32,
    bytes: u64,
    slots: Slots,
    backing: Option<Image>,
    /// What nobody has written since this disk was made was perhaps written before: it is lost.
    lost: AtomicBool,
    counters: SwapCounters,
}

impl SwapDisk {
    /// A disk of `bytes` bytes, whole blocks and at most [`LARGEST`], for `client`; the backing file is at least as large.
    ///
    /// # Errors
    /// When the client may have no persistent pool.
    pub fn new(client: Client, bytes: u64, backing: Option<Image>) -> Result<Self, OpError> {
        let pool = client.new_pool(PoolKind::Persistent)?;
        Ok(Self {
            client,
            pool: AtomicU32::new(pool.get()),
            bytes,
            slots: Slots::new((bytes / BLOCK) as usize),
            backing,
            lost: AtomicBool::new(false),
            counters: SwapCounters::default(),
        })
    }

    /// The client whose pages they are.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it did.
    pub fn counters(&self) -> &SwapCounters {
        &self.counters
    }

    /// A front end has come. If its guest has `used` the disk, what is not here is lost; if not, it is a new disk.
    pub fn begin(&self, used: bool) {
        self.lost.store(used, Ordering::Release);
    }

    /// The front end has gone, and its guest with it: nobody will ask for these pages again.
    pub fn end(&self) {
        let _ = self.client.destroy_pool(self.pool());
        let pool = self.client.new_pool(PoolKind::Persistent).map_or(u32::MAX, PoolId::get);
        self.pool.store(pool, Ordering::Release);
        self.slots.clear();
    }

    fn pool(&self) -> PoolId {
        PoolId::new(self.pool.load(Ordering::Acquire))
    }

    /// Where a block is.
    fn slot(&self, block: u32) -> Slot {
        match self.slots.get(block) {
            Slot::Untouched if self.lost.load(Ordering::Acquire) => Slot::Lost,
            Slot::Untouched => Slot::Zeros,
            slot => slot,
        }
    }

    /// Reads a block.
    fn load(&self, block: u32, page: &mut Page) -> io::Result<()> {
        match self.slot(block) {
            Slot::Untouched | Slot::Zeros => page.fill(0),
            Slot::Stored if self.client.get(self.pool(), &key(block), page) == Ok(true) => {}
            Slot::Backed => self.backing()?.read(&[page.as_mut_slice().into()], u64::from(block) * BLOCK)?,
            Slot::Stored | Slot::Lost => {
                self.slots.set(block, Slot::Lost);
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
                return Err(io::Error::other("the page is gone"));
            }
        }
        Ok(())
    }

    /// Writes a whole block whose bytes are in `from`.
    fn store(&self, block: u32, from: &VolatileSlice<'_>) -> io::Result<()> {
        let put = match tmem_host::live_page(from) {
            Some(page) => self.client.put(self.pool(), &key(block), page),
            None => Err(OpError::NoMemory),
        };
        match put {
            Ok(()) => self.slots.set(block, Slot::Stored),
            Err(_) => self.refused(block, from)?,
        }
        Ok(())
    }

    /// A whole block that the store refused. What it had under that name is gone, too.
    fn refused(&self, block: u32, from: &VolatileSlice<'_>) -> io::Result<()> {
        let Some(backing) = &self.backing else {
            self.slots.set(block, Slot::Lost);
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(io::ErrorKind::StorageFull.into());
        };
        // Until it is there, it is nowhere.
        self.slots.set(block, Slot::Lost);
        backing.write(std::slice::from_ref(from), u64::from(block) * BLOCK)?;
        self.slots.set(block, Slot::Backed);
        self.counters.backed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a part of a block.
    fn patch(&self, block: u32, range: PageRange, bytes: &[u8]) -> io::Result<()> {
        let mut page = [0; PAGE_SIZE];
        let inside = range.offset()..range.offset() + range.len();
        page.get_mut(inside.clone()).unwrap_or_default().copy_from_slice(bytes);
        match self.slot(block) {
            Slot::Lost => Err(io::Error::other("the rest of the page is gone")),
            Slot::Backed => {
                let part = page.get_mut(inside).unwrap_or_default();
                self.backing()?.write(&[part.into()], u64::from(block) * BLOCK + range.offset() as u64)
            }
            Slot::Stored => {
                if self.client.write(self.pool(), &key(block), range, &page).is_ok() {
                    return Ok(());
                }
                // Refused, and with it the page is gone.
                self.slots.set(block, Slot::Lost);
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                Err(io::ErrorKind::StorageFull.into())
            }
            Slot::Untouched | Slot::Zeros => self.store(block, &page.as_mut_slice().into()),
        }
    }

    fn backing(&self) -> io::Result<&Image> {
        self.backing.as_ref().ok_or_else(|| io::Error::other("there is no backing file"))
    }

    /// Whole blocks are zeros from now on.
    fn forget(&self, first: u64, beyond: u64, stop: &AtomicBool) -> io::Result<()> {
        if first >= beyond {
            return Ok(());
        }
        // Nothing that the store answers keeps them: a pool that there is not has no pages either.
        let _ =
            self.client.flush_range(self.pool(), ObjectId::default(), first as u32, beyond - first, u32::MAX);
        (first..beyond).for_each(|block| self.slots.set(block as u32, Slot::Zeros));
        match &self.backing {
            Some(backing) => {
                backing.discard(first * BLOCK, (beyond - first) * BLOCK, stop).or_else(|error| {
                    // Its room is not given back; nothing is read from there any more.
                    if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) }
                })
            }
            None => Ok(()),
        }
    }
}

impl Medium for SwapDisk {
    fn read_only(&self) -> bool {
        false
    }

    fn block(&self) -> u32 {
        BLOCK as u32
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes)
    }

    fn grow(&self, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read(&self, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()> {
        let mut buffers = Buffers::new(parts);
        let mut page = [0; PAGE_SIZE];
        pieces(at, length(parts), |block, range| {
            self.load(block, &mut page)?;
            buffers.fill(page.get(range.offset()..range.offset() + range.len()).unwrap_or_default());
            Ok(())
        })
    }

    fn write(&self, parts: &[VolatileSlice<'_>], at: u64) -> io::Result<()> {
        let mut buffers = Buffers::new(parts);
        pieces(at, length(parts), |block, range| {
            if range.len() == PAGE_SIZE
                && let Some(page) = buffers.whole(PAGE_SIZE)
            {
                return self.store(block, &page);
            }
            let mut page = [0; PAGE_SIZE];
            let bytes = page.get_mut(..range.len()).unwrap_or_default();
            buffers.take(bytes);
            match range.len() {
                PAGE_SIZE => self.store(block, &bytes.into()),
                _ => self.patch(block, range, bytes),
            }
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.backing.as_ref().map_or(Ok(()), Medium::flush)
    }

    fn discard(&self, at: u64, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
        // Parts of blocks stay: a discard is only advice.
        self.forget(at.div_ceil(BLOCK), (at + bytes) / BLOCK, stop)
    }

    fn write_zeros(&self, at: u64, bytes: u64, _unmap: bool, stop: &AtomicBool) -> io::Result<()> {
        let end = at + bytes;
        let (first, beyond) = (at.div_ceil(BLOCK), end / BLOCK);
        let zero = |from: u64, to: u64| {
            pieces(from, to.saturating_sub(from), |block, range| {
                self.patch(block, range, [0; PAGE_SIZE].get(..range.len()).unwrap_or_default())
            })
        };
        if first > beyond {
            return zero(at, end);
        }
        zero(at, first * BLOCK)?;
        self.forget(first, beyond, stop)?;
        zero(beyond * BLOCK, end)
    }
}

fn key(block: u32) -> Key {
    Key::new(ObjectId::default(), block)
}

fn length(parts: &[VolatileSlice<'_>]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

/// Hands the `bytes` bytes from `at` on, whole sectors, to `work`, block by block.
fn pieces(at: u64, bytes: u64, mut work: impl FnMut(u32, PageRange) -> io::Result<()>) -> io::Result<()> {
    debug_assert!(at.is_multiple_of(SECTOR) && bytes.is_multiple_of(SECTOR));
    let (mut at, end) = (at, at + bytes);
    while at < end {
        let offset = (at % BLOCK) as usize;
        let len = (BLOCK - at % BLOCK).min(end - at) as usize;
        let range = PageRange::new(offset, len).map_err(|_| io::ErrorKind::InvalidInput)?;
        work((at / BLOCK) as u32, range)?;
        at += len as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
