//! A swap disk as a vhost-user device: the back end's half of the protocol, by the crate `vhost-user-backend`.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VringT};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use vm_memory::GuestAddressSpace;
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};

use super::ring::{Memory, Ring};
use super::swap::SwapDisk;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::block::Block;

/// Most entries of a queue.
const QUEUE_SIZE: usize = 256;

/// One connection of a front end to a disk.
pub(super) struct Backend {
    disk: Arc<Block<SwapDisk>>,
    memory: Memory,
    /// All queues of the connection, known as soon as it has them.
    rings: OnceLock<Vec<Ring>>,
    /// It was looked whether the guest had used the disk before.
    begun: AtomicBool,
    /// The queues, by number, whose driver broke them. Nothing more is taken out of them.
    broken: Box<[AtomicBool]>,
    stop: AtomicBool,
    /// What ends the threads of the library, which takes the numbers of these descriptors and never closes them.
    exits: Mutex<Vec<OwnedFd>>,
}

impl Backend {
    pub(super) fn new(disk: Arc<Block<SwapDisk>>, memory: Memory) -> Self {
        let broken = (0..disk.queues()).map(|_| AtomicBool::new(false)).collect();
        Self {
            disk,
            memory,
            rings: OnceLock::new(),
            begun: AtomicBool::new(false),
            broken,
            stop: AtomicBool::new(false),
            exits: Mutex::new(Vec::new()),
        }
    }

    /// The connection has these queues.
    pub(super) fn set_rings(&self, rings: Vec<Ring>) {
        // Once, by who made them.
        let _ = self.rings.set(rings);
    }

    /// Ends what is under way, as soon as its step is done.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the guest has given it memory.
    pub(super) fn has_memory(&self) -> bool {
        use vm_memory::GuestMemoryBackend;
        self.memory.memory().num_regions() > 0
    }

    /// The first request of a connection: is it a new disk to its guest, or one that has been in use?
    fn begin(&self) {
        if !self.begun.swap(true, Ordering::AcqRel) {
            let used = self.rings.get().is_some_and(|rings| rings.iter().any(Ring::was_used));
            if used {
                tracing::warn!(
                    disk = self.disk.id(),
                    "its guest used this disk before this store held its pages: they are lost, and read as errors"
                );
            }
            self.disk.medium().begin(used);
        }
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = Ring;

    fn num_queues(&self) -> usize {
        self.disk.queues()
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        let ring = 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;
        self.disk.features()
            | ring
            | 1 << VIRTIO_F_VERSION_1
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn acked_features(&self, features: u64) {
        self.disk.accepted(features);
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let mut bytes = vec![0; size as usize];
        self.disk.config().read(offset as usize, &mut bytes);
        bytes
    }

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        // It is the one that it was given.
        Ok(())
    }

    fn queues_per_thread(&self) -> Vec<u64> {
        (0..self.num_queues()).map(|queue| 1 << queue).collect()
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        let (consumer, notifier) =
            new_event_consumer_and_notifier(EventFlag::NONBLOCK | EventFlag::CLOEXEC).ok()?;
        let number = consumer.into_raw_fd();
        // SAFETY: the number was just given up by its owner. The library is given it too, as a number, which it watches until its
        // threads have ended, before this back end is dropped, and never closes.
        let (kept, lent) = unsafe { (OwnedFd::from_raw_fd(number), EventConsumer::from_raw_fd(number)) };
        self.exits.lock().push(kept);
        Some((lent, notifier))
    }

    fn handle_event(&self, _event: u16, _set: EventSet, rings: &[Ring], queue: usize) -> io::Result<()> {
        let (Some(ring), Some(broken)) = (rings.first(), self.broken.get(queue)) else { return Ok(()) };
        if broken.load(Ordering::Acquire) {
            return Ok(());
        }
        self.begin();
        let memory = self.memory.memory();
        let mut state = ring.get_mut();
        match self.disk.serve(queue, state.get_queue_mut(), &memory, &self.stop) {
            Ok(true) => state.signal_used_queue(),
            Ok(false) => Ok(()),
            Err(_) => {
                tracing::warn!(
                    disk = self.disk.id(),
                    queue,
                    "the guest broke a ring; the queue is left alone until it connects again"
                );
                broken.store(true, Ordering::Release);
                Ok(())
            }
        }
    }
}
