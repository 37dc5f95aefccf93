//! A driver that goes through the registers, as Linux's virtio_mmio does and as it should not.

use std::time::Duration;

use virtio_bindings::virtio_config::{VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER};

use super::super::BrokenRing;
use super::super::drain::drain;
use super::super::testing::{AVAIL, DESC, Driver, USED};
use super::*;

const DATA: u64 = 0x30_0000;
const EMPTY: u64 = 0x40_0000;

/// Answers every chain with its first part's length in the used ring.
struct Echo;

impl VirtioDevice for Echo {
    fn id(&self) -> u32 {
        77
    }
    fn features(&self) -> u64 {
        1 << 5
    }
    fn config(&self) -> Arc<ConfigSpace> {
        Arc::new(ConfigSpace::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 4..8))
    }
    fn queues(&self) -> usize {
        2
    }
    fn serve(
        &self,
        _index: usize,
        queue: &mut Queue,
        memory: &vm_memory::GuestMemoryMmap<()>,
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing> {
        drain(memory, queue, stop, |mut chain| chain.next().unwrap().len())
    }
}

/// Its first queue is stuck until somebody lets it go.
struct Stuck(Mutex<std::sync::mpsc::Receiver<()>>);

impl VirtioDevice for Stuck {
    fn id(&self) -> u32 {
        Echo.id()
    }
    fn features(&self) -> u64 {
        Echo.features()
    }
    fn config(&self) -> Arc<ConfigSpace> {
        Echo.config()
    }
    fn queues(&self) -> usize {
        Echo.queues()
    }
    fn serve(
        &self,
        index: usize,
        queue: &mut Queue,
        memory: &vm_memory::GuestMemoryMmap<()>,
        stop: &AtomicBool,
    ) -> Result<bool, BrokenRing> {
        if index == 0 {
            // An error says that nobody is left to wait for.
            let _ = self.0.lock().recv();
            return Ok(false);
        }
        Echo.serve(index, queue, memory, stop)
    }
}

struct Fixture {
    transport: MmioTransport,
    driver: Driver,
    irq: EventFd,
}

fn fixture() -> Fixture {
    with(Arc::new(Echo))
}

fn with(device: Arc<dyn VirtioDevice>) -> Fixture {
    let driver = Driver::new();
    let irq = EventFd::new(0).unwrap();
    let transport = MmioTransport::new(device, driver.ram.clone(), irq.try_clone().unwrap()).unwrap();
    Fixture { transport, driver, irq }
}

impl Fixture {
    fn get(&self, register: u32) -> u32 {
        let mut data = [0; 4];
        self.transport.read(u64::from(register), &mut data);
        u32::from_le_bytes(data)
    }

    fn set(&self, register: u32, value: u32) {
        self.transport.write(u64::from(register), &value.to_le_bytes());
    }

    fn negotiate(&self, features: u64) {
        self.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
        for half in 0..2 {
            self.set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
            self.set(VIRTIO_MMIO_DRIVER_FEATURES, (features >> (32 * half)) as u32);
        }
        self.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FEATURES_OK);
    }

    fn set_up_queue(&self, desc: u64) {
        self.set_up(0, desc);
    }

    fn set_up(&self, queue: u32, desc: u64) {
        self.set(VIRTIO_MMIO_QUEUE_SEL, queue);
        self.set(VIRTIO_MMIO_QUEUE_NUM, 256);
        self.set(VIRTIO_MMIO_QUEUE_DESC_LOW, desc as u32);
        self.set(VIRTIO_MMIO_QUEUE_DESC_HIGH, (desc >> 32) as u32);
        self.set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, AVAIL as u32);
        self.set(VIRTIO_MMIO_QUEUE_USED_LOW, USED as u32);
        self.set(VIRTIO_MMIO_QUEUE_READY, 1);
    }

    /// Starts with requests on the second queue; the rings of the first lie where nobody offers anything.
    fn start_second(&self) {
        self.negotiate(1 << VIRTIO_F_VERSION_1);
        self.set_up(0, DESC);
        self.set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, EMPTY as u32);
        self.set(VIRTIO_MMIO_QUEUE_USED_LOW, EMPTY as u32 + 0x1000);
        self.set_up(1, DESC);
        self.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    }

    fn start(&self) {
        self.negotiate(1 << VIRTIO_F_VERSION_1);
        self.set_up_queue(DESC);
        self.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    }
}

#[test]
fn identity_when_read_is_that_of_a_version_2_device() {
    let f = fixture();
    assert_eq!([f.get(0), f.get(4), f.get(8)], [0x7472_6976, 2, 77]);
    assert_eq!(f.get(VIRTIO_MMIO_QUEUE_NUM_MAX), 256);
    f.set(VIRTIO_MMIO_QUEUE_SEL, 2);
    assert_eq!(f.get(VIRTIO_MMIO_QUEUE_NUM_MAX), 0, "there are only two queues");
}

#[test]
fn config_when_read_in_any_width_is_the_device_s_and_zero_behind_it() {
    let f = fixture();
    let mut wide = [0xff; 8];
    f.transport.read(0x100, &mut wide);
    assert_eq!(wide, [1, 2, 3, 4, 5, 6, 7, 8]);
    let mut end = [0xff; 4];
    f.transport.read(0x108, &mut end);
    assert_eq!(end, [9, 0, 0, 0]);
    f.transport.read(0xffc, &mut end);
    assert_eq!(end, [0; 4]);
}

#[test]
fn config_when_written_changes_only_where_the_driver_may_write() {
    let f = fixture();
    f.transport.write(0x102, &[0xaa; 4]);
    let mut wide = [0; 8];
    f.transport.read(0x100, &mut wide);
    assert_eq!(wide, [1, 2, 3, 4, 0xaa, 0xaa, 7, 8]);
    f.set(VIRTIO_MMIO_STATUS, 0);
    f.transport.read(0x100, &mut wide);
    assert_eq!(wide, [1, 2, 3, 4, 5, 6, 7, 8], "a reset forgets it");
}

#[test]
fn second_queue_when_set_up_is_served_and_remembered_as_ready() {
    let mut f = fixture();
    f.start_second();
    assert_eq!(f.get(VIRTIO_MMIO_QUEUE_READY), 1);
    f.driver.offer(&[(DATA, 42, true)]);
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    f.irq.read().unwrap();
    assert_eq!(f.driver.used(), [42]);
}

#[test]
fn second_queue_when_the_first_is_stuck_is_served() {
    let (let_go, stuck) = std::sync::mpsc::channel();
    let mut f = with(Arc::new(Stuck(Mutex::new(stuck))));
    f.start_second();
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    f.driver.offer(&[(DATA, 42, true)]);
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 1);
    f.irq.read().unwrap();
    assert_eq!(f.driver.used(), [42]);
    drop(let_go);
    f.transport.shut_down();
}

#[test]
fn notification_when_of_a_queue_that_there_is_not_does_nothing() {
    let f = fixture();
    f.start();
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 2);
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, u32::MAX);
    assert_eq!(f.get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

#[test]
fn start_when_only_the_second_queue_is_set_up_asks_for_a_reset() {
    let f = fixture();
    f.negotiate(1 << VIRTIO_F_VERSION_1);
    f.set_up(1, DESC);
    f.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    assert_ne!(f.get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

#[test]
fn features_when_accepted_need_version_1_and_nothing_unoffered() {
    let version = 1 << VIRTIO_F_VERSION_1;
    for (accepted, ok) in
        [(version, true), (version | 1 << 5, true), (1 << 5, false), (version | 1 << 6, false)]
    {
        let f = fixture();
        f.negotiate(accepted);
        assert_eq!(f.get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK != 0, ok, "{accepted:#x}");
    }
}

#[test]
fn notification_when_active_is_served_by_the_worker_with_an_interrupt() {
    let mut f = fixture();
    f.start();
    f.driver.offer(&[(DATA, 99, true)]);
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    f.irq.read().unwrap();
    assert_eq!(f.driver.used(), [99]);
    assert_eq!(f.get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    f.set(VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    assert_eq!(f.get(VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

#[test]
fn ring_when_broken_asks_for_a_reset_and_the_device_can_be_stopped_and_started_again() {
    let mut f = fixture();
    f.start();
    f.driver.ram.write(&300u16.to_le_bytes(), AVAIL + 2).unwrap();
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    f.irq.read().unwrap();
    assert_eq!(f.get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
    assert_ne!(f.get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    f.set(VIRTIO_MMIO_STATUS, 0);
    assert_eq!(f.get(VIRTIO_MMIO_STATUS), 0);
    f.driver.ram.write(&0u16.to_le_bytes(), AVAIL + 2).unwrap();
    f.start();
    f.driver.offer(&[(DATA, 5, true)]);
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    f.irq.read().unwrap();
    assert_eq!(f.driver.used(), [5]);
    f.transport.shut_down();
}

#[test]
fn reset_when_active_stops_the_worker_and_the_device_can_start_again() {
    let mut f = fixture();
    f.start();
    f.set(VIRTIO_MMIO_STATUS, 0);
    assert_eq!((f.get(VIRTIO_MMIO_STATUS), f.get(VIRTIO_MMIO_QUEUE_READY)), (0, 0));
    f.start();
    assert_eq!(f.get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
    f.driver.offer(&[(DATA, 5, true)]);
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    f.irq.read().unwrap();
    assert_eq!(f.driver.used(), [5]);
}

#[test]
fn start_when_the_queue_is_not_in_memory_asks_for_a_reset() {
    let f = fixture();
    f.negotiate(1 << VIRTIO_F_VERSION_1);
    f.set_up_queue(1 << 40);
    f.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    assert_ne!(f.get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

#[test]
fn start_when_features_were_not_agreed_asks_for_a_reset() {
    let f = fixture();
    f.set_up_queue(DESC);
    f.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    assert_ne!(f.get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

#[test]
fn queue_when_active_cannot_be_moved() {
    let mut f = fixture();
    f.start();
    f.set_up_queue(0);
    f.set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    f.driver.offer(&[(DATA, 3, true)]);
    f.set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
    f.irq.read().unwrap();
    assert_eq!(f.driver.used(), [3]);
}

#[test]
fn access_when_of_odd_width_or_to_a_read_only_register_does_nothing() {
    let f = fixture();
    f.transport.write(u64::from(VIRTIO_MMIO_STATUS), &[1]);
    f.transport.write(0x100, &[0xff; 4]);
    f.set(VIRTIO_MMIO_MAGIC_VALUE, 0);
    let mut byte = [0xff];
    f.transport.read(0, &mut byte);
    assert_eq!((f.get(VIRTIO_MMIO_STATUS), f.get(0), byte), (0, MAGIC, [0]));
}

#[test]
fn shut_down_when_active_ends_the_worker_in_time() {
    let f = fixture();
    f.start();
    let (done, ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        f.transport.shut_down();
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(20)).expect("the worker stops when told");
    thread.join().unwrap();
}

#[test]
fn configuration_when_it_changes_interrupts_only_a_driver_that_is_there() {
    let fixture = fixture();
    fixture.transport.config_changed();
    assert_eq!(fixture.get(VIRTIO_MMIO_INTERRUPT_STATUS), 0, "it reads everything when it comes");
    fixture.start();
    let before = fixture.get(VIRTIO_MMIO_CONFIG_GENERATION);
    fixture.transport.config.set(0, &[9]);
    fixture.transport.config_changed();
    assert_eq!(fixture.get(VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
    assert_eq!(fixture.irq.read().unwrap(), 1);
    assert_ne!(fixture.get(VIRTIO_MMIO_CONFIG_GENERATION), before);
}

#[test]
fn configuration_when_it_changes_during_a_slow_reset_waits_for_nothing() {
    let fixture = fixture();
    fixture.start();
    let _resetting = fixture.transport.registers.lock();
    fixture.transport.config_changed();
    assert_eq!(fixture.irq.read().unwrap(), 1);
}
