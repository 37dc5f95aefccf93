//! virtio-balloon (virtio 1.2, section 5.5): pages that the guest gives up go back to the host.
//!
//! Two ways lead here. *Inflating*: the host asked for a number of pages (`num_pages`), the driver takes them out of its
//! kernel and names them. *Reporting*: the kernel names pages that are free anyway; it may use them again without asking,
//! for one page fault of the host's. Either way the content is gone at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::config_space::ConfigSpace;
use super::drain::drain;
use super::{BrokenRing, VirtioDevice};
use crate::memory::{DiscardError, Gpa, GuestRam, PAGE_SIZE};

/// Feature bits (section 5.5.3): under memory pressure the driver may take pages back without being told.
const F_DEFLATE_ON_OOM: u32 = 2;
/// The driver reports free pages.
const F_REPORTING: u32 = 5;

/// Queues: 0 inflates, 1 deflates, 4 reports by section 5.5.2. Linux before and after 6.12 numbers the queues that it has
/// without gaps (drivers/virtio/virtio_mmio.c), so that its reports come through queue 2. Queues 2 and 3 have no other
/// meaning here, as the features that they belong to are not offered: they report, too.
const QUEUES: usize = 5;
/// Most descriptors that are looked at in one request: as many as a queue has.
const PARTS_MAX: usize = 256;
/// Most page numbers that are looked at in one request. Linux sends 256 (VIRTIO_BALLOON_ARRAY_PFNS_MAX).
const FRAMES_MAX: u64 = 1024;
/// Bytes of the configuration space: `num_pages`, which the host sets, and `actual`, which the driver sets.
const CONFIG_LEN: usize = 8;
/// Where `num_pages` begins.
const TARGET: usize = 0;
/// Where `actual` begins.
const ACTUAL: usize = 4;

/// What came through a balloon so far, and what shall be in it.
#[derive(Debug)]
pub struct BalloonCounters {
    /// Pages that the driver put into the balloon.
    pub inflated: AtomicU64,
    /// Pages that it took out.
    pub deflated: AtomicU64,
    /// Free pages that it reported.
    pub reported: AtomicU64,
    /// Bytes that the host held and got back, for either reason. A page that nobody has touched since the last time does not
    /// count again.
    pub given_back: AtomicU64,
    /// Pages and ranges that are not RAM of this guest, and what exceeded a request: not touched.
    pub ignored: AtomicU64,
    /// Ranges that the host did not take back.
    pub failed: AtomicU64,
    config: Arc<ConfigSpace>,
}

impl BalloonCounters {
    /// Pages in the balloon, as the driver says.
    pub fn actual(&self) -> u32 {
        self.number(ACTUAL)
    }

    /// Pages that the host wants in it.
    pub fn target(&self) -> u32 {
        self.number(TARGET)
    }

    /// Wants so many pages in it from now on. The transport has to tell the driver.
    pub fn set_target(&self, pages: u32) {
        self.config.set(TARGET, &pages.to_le_bytes());
    }

    fn number(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.config.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }
}

/// A balloon over one guest's RAM.
#[derive(Debug)]
pub struct Balloon {
    ram: GuestRam,
    config: Arc<ConfigSpace>,
    counters: Arc<BalloonCounters>,
}

impl Balloon {
    /// A balloon into which the guest shall put `target` pages; 0 leaves only the reports.
    pub fn new(ram: GuestRam, target: u32) -> Self {
        let config = Arc::new(ConfigSpace::new(&[0; CONFIG_LEN], ACTUAL..CONFIG_LEN));
        config.set(TARGET, &target.to_le_bytes());
        let counters = Arc::new(BalloonCounters {
            inflated: AtomicU64::new(0),
            deflated: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            given_back: AtomicU64::new(0),
            ignored: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            config: config.clone(),
        });
        Self { ram, config, counters }
    }

    /// The counters, which stay readable while workers serve the balloon.
    pub fn counters(&self) -> Arc<BalloonCounters> {
        self.counters.clone()
    }

    /// The page numbers of a request, each once and in order, all of them RAM. The only place where they are checked.
    fn frames(&self, chain: DescriptorChain<&GuestMemoryMmap<()>>) -> Vec<u32> {
        let mut frames = Vec::new();
        let mut seen = 0;
        for part in chain.take(PARTS_MAX).filter(|part| !part.is_write_only()) {
            for at in (0..u64::from(part.len() / 4)).map(|n| n * 4) {
                if seen == FRAMES_MAX {
                    count(&self.counters.ignored, 1);
                    break;
                }
                let address = part.addr().0.checked_add(at);
                let frame = address.and_then(|at| self.ram.mmap().read_obj::<[u8; 4]>(GuestAddress(at)).ok());
                let Some(frame) = frame.map(u32::from_le_bytes) else {
                    count(&self.counters.ignored, 1);
                    break;
                };
                seen += 1;
                match self.ram.page(gpa(frame)) {
                    Ok(_) => frames.push(frame),
                    Err(_) => count(&self.counters.ignored, 1),
                }
            }
        }
        frames.sort_unstable();
        frames.dedup();
        frames
    }

    fn inflate(&self, chain: DescriptorChain<&GuestMemoryMmap<()>>) {
        let frames = self.frames(chain);
        count(&self.counters.inflated, frames.len() as u64);
        for run in frames.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
            if let Some(first) = run.first() {
                self.give_back(gpa(*first), (run.len() * PAGE_SIZE) as u64);
            }
        }
    }

    fn deflate(&self, chain: DescriptorChain<&GuestMemoryMmap<()>>) {
        count(&self.counters.deflated, self.frames(chain).len() as u64);
    }

    fn report(&self, chain: DescriptorChain<&GuestMemoryMmap<()>>) {
        for part in chain.take(PARTS_MAX).filter(Descriptor::is_write_only) {
            let bytes = u64::from(part.len());
            if self.give_back(Gpa(part.addr().0), bytes) {
                count(&self.counters.reported, bytes / PAGE_SIZE as u64);
            }
        }
    }

    fn give_back(&self, gpa: Gpa, bytes: u64) -> bool {
        let given = self.ram.discard(gpa, bytes);
        match &given {
            Ok(held) => count(&self.counters.given_back, *held),
            Err(DiscardError::NotRam(_)) => count(&self.counters.ignored, 1),
            Err(error @ DiscardError::Host { .. }) => {
                tracing::debug!(%error, "the balloon");
                count(&self.counters.failed, 1);
            }
        }
        given.is_ok()
    }
}

fn gpa(frame: u32) -> Gpa {
    Gpa(u64::from(frame) * PAGE_SIZE as u64)
}

/// Readers may see it a little late.
fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

impl VirtioDevice for Balloon {
    fn id(&self) -> u32 {
        VIRTIO_ID_BALLOON
    }

    fn features(&self) -> u64 {
        1 << F_DEFLATE_ON_OOM | 1 << F_REPORTING
    }

    fn config(&self) -> Arc<ConfigSpace> {
        self.config.clone()
    }

    fn queues(&self) -> usize {
        QUEUES
    }

    fn serve(
        &self,
        index: usize,
        queue: &mut Queue,
        memory: &GuestMemoryMmap<()>,
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing> {
        drain(memory, queue, stop, |chain| {
            match index {
                0 => self.inflate(chain),
                1 => self.deflate(chain),
                _ => self.report(chain),
            }
            0
        })
    }
}

#[cfg(test)]
mod tests;
