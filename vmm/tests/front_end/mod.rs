//! A front end and its guest in a few lines: memory in a memfd, rings filled by hand, requests one at a time.

use std::fs::File;
use std::path::Path;

use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

pub(crate) const MEMORY: u64 = 4 << 20;
/// Where a request's data is.
pub(crate) const DATA: u64 = 0x10_0000;
const HEADER: u64 = 0x8000;
const STATUS: u64 = 0x9000;
/// Rings of queue n are at this address and n times [`RING`] further.
const RINGS: u64 = 0x1_0000;
const RING: u64 = 0x1_0000;
const SIZE: u16 = 64;
const NEXT: u16 = 1;
const WRITE: u16 = 2;

pub(crate) const READ: u32 = 0;
pub(crate) const OUT: u32 = 1;
pub(crate) const DISCARD: u32 = 11;

/// What a guest has of its disk.
pub(crate) struct Guest {
    pub(crate) memory: GuestMemoryMmap<()>,
    queues: Vec<Queue>,
}

struct Queue {
    kick: EventFd,
    call: EventFd,
    next: u16,
}

/// Memory that can be shared, of a guest that has not begun.
pub(crate) fn guest(queues: usize) -> Guest {
    let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let file = File::from(file);
    file.set_len(MEMORY).unwrap();
    let range = (GuestAddress(0), MEMORY as usize, Some(FileOffset::new(file, 0)));
    let memory = GuestMemoryMmap::from_ranges_with_files([range]).unwrap();
    let queue = || Queue { kick: EventFd::new(0).unwrap(), call: EventFd::new(0).unwrap(), next: 0 };
    Guest { memory, queues: (0..queues).map(|_| queue()).collect() }
}

/// Connects a guest's front end, as a virtual machine monitor does when the driver starts, or again after the back end has gone.
pub(crate) fn connect(path: &Path, guest: &Guest) -> Frontend {
    let mut front = Frontend::connect(path, guest.queues.len() as u64).unwrap();
    front.set_owner().unwrap();
    let features = front.get_features().unwrap();
    front.set_features(features).unwrap();
    let protocol = front.get_protocol_features().unwrap();
    front
        .set_protocol_features(protocol & (VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::CONFIG))
        .unwrap();
    let region = guest.memory.iter().next().unwrap();
    front.set_mem_table(&[VhostUserMemoryRegionInfo::from_guest_region(region).unwrap()]).unwrap();
    for (index, queue) in guest.queues.iter().enumerate() {
        let at = region.as_ptr() as u64 + RINGS + index as u64 * RING;
        front.set_vring_num(index, SIZE).unwrap();
        // What QEMU does when nobody is there to be asked: what was used is what was taken.
        let used: u16 = guest.memory.read_obj(GuestAddress(at - region.as_ptr() as u64 + 0x2002)).unwrap();
        front.set_vring_base(index, used).unwrap();
        let config = VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: at,
            avail_ring_addr: at + 0x1000,
            used_ring_addr: at + 0x2000,
            log_addr: None,
        };
        front.set_vring_addr(index, &config).unwrap();
        front.set_vring_call(index, &queue.call).unwrap();
        front.set_vring_kick(index, &queue.kick).unwrap();
        front.set_vring_enable(index, true).unwrap();
    }
    // An answer means that all of it was done.
    front.get_queue_num().unwrap();
    front
}

/// The device's configuration space.
pub(crate) fn config(front: &mut Frontend) -> Vec<u8> {
    front.get_config(0, 60, VhostUserConfigFlags::empty(), &[0; 60]).unwrap().1
}

impl Guest {
    /// Makes a request at queue `queue` and waits for its end; returns its status.
    pub(crate) fn request(&mut self, queue: usize, kind: u32, sector: u64, data: &[(u64, u32)]) -> u8 {
        self.offer(queue, kind, sector, data);
        self.queues[queue].kick.write(1).unwrap();
        let at = RINGS + queue as u64 * RING;
        // Interrupts may be suppressed or come late; the used index does not lie.
        while self.memory.read_obj::<u16>(GuestAddress(at + 0x2002)).unwrap() != self.queues[queue].next {
            self.queues[queue].call.read().unwrap();
        }
        self.memory.read_obj(GuestAddress(STATUS)).unwrap()
    }

    /// Puts a request into a ring, and nothing more.
    pub(crate) fn offer(&mut self, queue: usize, kind: u32, sector: u64, data: &[(u64, u32)]) {
        let put = |at: u64, bytes: &[u8]| self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
        put(HEADER, &[kind.to_le_bytes(), [0; 4]].concat());
        put(HEADER + 8, &sector.to_le_bytes());
        put(STATUS, &[0xee]);
        let device_writes = if kind == READ { WRITE } else { 0 };
        let mut parts = vec![(HEADER, 16, 0)];
        parts.extend(data.iter().map(|(at, len)| (*at, *len, device_writes)));
        parts.push((STATUS, 1, WRITE));
        let at = RINGS + queue as u64 * RING;
        for (n, (address, len, flags)) in parts.iter().enumerate() {
            let last = n + 1 == parts.len();
            let descriptor = at + n as u64 * 16;
            put(descriptor, &address.to_le_bytes());
            put(descriptor + 8, &len.to_le_bytes());
            put(descriptor + 12, &(flags | if last { 0 } else { NEXT }).to_le_bytes());
            put(descriptor + 14, &(n as u16 + 1).to_le_bytes());
        }
        let next = self.queues[queue].next;
        put(at + 0x1004 + u64::from(next % SIZE) * 2, &0u16.to_le_bytes());
        // An event index that asks for an interrupt after this one.
        put(at + 0x1004 + u64::from(SIZE) * 2, &next.to_le_bytes());
        self.queues[queue].next = next.wrapping_add(1);
        put(at + 0x1002, &self.queues[queue].next.to_le_bytes());
    }

    pub(crate) fn kick(&self, queue: usize) {
        self.queues[queue].kick.write(1).unwrap();
    }

    pub(crate) fn ring(queue: usize) -> u64 {
        RINGS + queue as u64 * RING
    }

    pub(crate) fn fill(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    pub(crate) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }
}
