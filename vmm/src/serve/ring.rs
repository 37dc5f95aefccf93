//! A virtqueue of a front end, and all those of one connection together.
//!
//! Each queue is served by a thread of its own that sees nothing but it. Whether a front end comes with a device that has just been
//! made, or with one that has been in use, is told by all of its rings together.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use vhost_user_backend::{VringMutex, VringStateGuard, VringStateMutGuard, VringT};
use virtio_queue::{Error, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};

/// Memory of a front end's guest, which may be mapped anew at any time.
pub(super) type Memory = GuestMemoryAtomic<GuestMemoryMmap<()>>;

/// Where the used ring's entries begin, and what each takes: id and length (virtio 1.2, section 2.7.8).
const USED_HEADER: u64 = 4;
const USED_ENTRY: u64 = 8;

thread_local! {
    /// Rings that were made by this thread since it began to gather them.
    static MADE: RefCell<Vec<Ring>> = const { RefCell::new(Vec::new()) };
}

/// One virtqueue.
#[derive(Clone)]
pub(super) struct Ring {
    state: VringMutex<Memory>,
    memory: Memory,
}

/// Runs `make`, and returns with its answer the rings that it made.
pub(super) fn gather<T>(make: impl FnOnce() -> T) -> (T, Vec<Ring>) {
    MADE.take();
    let made = make();
    (made, MADE.take())
}

impl Ring {
    /// Whether the device was in use before: requests were taken from this ring. A driver makes its rings of zeros, and the length
    /// of every request that was served is at least that of its status.
    pub(super) fn was_used(&self) -> bool {
        let state = self.state.get_ref();
        let queue = state.get_queue();
        if !queue.ready() {
            return false;
        }
        let memory = self.memory.memory();
        let mut entries = 0..u64::from(queue.size());
        let served = |entry| {
            let at = queue.used_ring().checked_add(USED_HEADER + entry * USED_ENTRY + 4);
            at.is_some_and(|at| memory.read_obj::<u32>(GuestAddress(at)).is_ok_and(|length| length != 0))
        };
        queue.next_avail() != 0
            || queue.used_idx(&*memory, Ordering::Acquire).is_ok_and(|index| index.0 != 0)
            || entries.any(served)
    }
}

impl<'a> VringStateGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateGuard<'a, Memory>>::G;
}

impl<'a> VringStateMutGuard<'a, Memory> for Ring {
    type G = <VringMutex<Memory> as VringStateMutGuard<'a, Memory>>::G;
}

/// All of it is the library's ring, but that it is remembered when it is made.
impl VringT<Memory> for Ring {
    fn new(memory: Memory, max_queue_size: u16) -> Result<Self, Error> {
        let ring = Self { state: VringMutex::new(memory.clone(), max_queue_size)?, memory };
        MADE.with_borrow_mut(|made| made.push(ring.clone()));
        Ok(ring)
    }

    fn get_ref(&self) -> <Self as VringStateGuard<'_, Memory>>::G {
        self.state.get_ref()
    }

    fn get_mut(&self) -> <Self as VringStateMutGuard<'_, Memory>>::G {
        self.state.get_mut()
    }

    fn add_used(&self, desc_index: u16, len: u32) -> Result<(), Error> {
        self.state.add_used(desc_index, len)
    }

    fn signal_used_queue(&self) -> io::Result<()> {
        self.state.signal_used_queue()
    }

    fn enable_notification(&self) -> Result<bool, Error> {
        self.state.enable_notification()
    }

    fn disable_notification(&self) -> Result<(), Error> {
        self.state.disable_notification()
    }

    fn needs_notification(&self) -> Result<bool, Error> {
        self.state.needs_notification()
    }

    fn set_enabled(&self, enabled: bool) {
        self.state.set_enabled(enabled);
    }

    fn set_queue_info(&self, desc_table: u64, avail_ring: u64, used_ring: u64) -> Result<(), Error> {
        self.state.set_queue_info(desc_table, avail_ring, used_ring)
    }

    fn queue_next_avail(&self) -> u16 {
        self.state.queue_next_avail()
    }

    fn set_queue_next_avail(&self, base: u16) {
        self.state.set_queue_next_avail(base);
    }

    fn set_queue_next_used(&self, idx: u16) {
        self.state.set_queue_next_used(idx);
    }

    fn queue_used_idx(&self) -> Result<u16, Error> {
        self.state.queue_used_idx()
    }

    fn set_queue_size(&self, num: u16) {
        self.state.set_queue_size(num);
    }

    fn set_queue_event_idx(&self, enabled: bool) {
        self.state.set_queue_event_idx(enabled);
    }

    fn set_queue_ready(&self, ready: bool) {
        self.state.set_queue_ready(ready);
    }

    fn set_kick(&self, file: Option<File>) {
        self.state.set_kick(file);
    }

    fn read_kick(&self) -> io::Result<bool> {
        self.state.read_kick()
    }

    fn set_call(&self, file: Option<File>) {
        self.state.set_call(file);
    }

    fn set_err(&self, file: Option<File>) {
        self.state.set_err(file);
    }
}
