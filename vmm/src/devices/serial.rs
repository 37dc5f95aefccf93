//! The first serial line: vm-superio's 16550A on the port bus, and input that waits until the guest takes it.
//!
//! A real line loses what its FIFO has no room for. Here input waits in the host: it goes into the FIFO when that is empty and the guest
//! listens, and who types or pipes more than waits here, waits too. A thread fills the FIFO, and not the vCPU that has just emptied it:
//! so the guest's interrupt handler comes to an end in between, and what is to read the bytes gets its turn.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::Deref;

use parking_lot::{Condvar, Mutex, MutexGuard};
use vm_superio::Serial;
use vm_superio::serial::NoEvents;
use vmm_sys_util::eventfd::EventFd;

use super::bus::BusDevice;

/// Most bytes of input that wait in the host.
const INPUT_MAX: usize = 1 << 16;
/// Bytes that the FIFO holds.
const FIFO: usize = 64;
/// So many looks at the line status, and nothing else, are those of a guest that waits for input without interrupts.
const POLLS: u8 = 16;

/// Registers of the 16550A (National Semiconductor PC16550D, table II), and their bits that matter here.
const DATA: u64 = 0;
const INTERRUPT_ENABLE: u64 = 1;
const ENABLE_RECEIVED: u8 = 1;
const ENABLE_TRANSMITTED: u8 = 2;
/// Read: interrupt identification.
const CAUSE: u64 = 2;
const CAUSE_MASK: u8 = 0x0f;
const CAUSE_TRANSMITTED: u8 = 2;
const CAUSE_RECEIVED: u8 = 4;
/// Written: FIFO control.
const FIFO_CONTROL: u64 = 2;
const CLEAR_RECEIVED: u8 = 2;
const LINE_CONTROL: u64 = 3;
const DIVISOR_LATCH: u8 = 0x80;
const MODEM_CONTROL: u64 = 4;
const REQUEST_TO_SEND: u8 = 2;
const LOOPBACK: u8 = 0x10;
const LINE_STATUS: u64 = 5;

/// An interrupt line made of an event descriptor.
#[derive(Debug)]
pub struct IrqTrigger(EventFd);

impl vm_superio::Trigger for IrqTrigger {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

impl Deref for IrqTrigger {
    type Target = EventFd;

    fn deref(&self) -> &EventFd {
        &self.0
    }
}

struct Line<W: Write> {
    uart: Serial<IrqTrigger, NoEvents, W>,
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    /// The guest has lowered the line by which it asks for bytes: its reader cannot keep up (`stty crtscts`).
    held: bool,
    /// Looks at the line status since anything else was done.
    polls: u8,
    /// A cause that was hidden behind another one.
    transmitted: bool,
    waiting: VecDeque<u8>,
    hung_up: bool,
}

/// The 16550A at [`crate::arch::layout::COM1_PORTS`].
pub struct SerialPort<W: Write> {
    line: Mutex<Line<W>>,
    /// There is room for input, the guest listens, or the line is hung up.
    changed: Condvar,
}

impl<W: Write> Line<W> {
    fn received(&self) -> usize {
        FIFO.saturating_sub(self.uart.fifo_capacity())
    }

    fn interrupts(&self) -> bool {
        self.interrupt_enable & ENABLE_RECEIVED != 0
    }

    /// Whether the guest would take a byte: its driver is there, by what it has switched on, and is not testing the chip.
    fn listens(&self) -> bool {
        let polls = self.polls >= POLLS;
        (self.interrupts() || polls) && !self.held && self.modem_control & LOOPBACK == 0
    }

    fn wants_input(&self) -> bool {
        !self.waiting.is_empty() && self.received() == 0 && self.listens()
    }

    /// Fills the FIFO, which interrupts.
    fn fill(&mut self) {
        let part: Vec<u8> = self.waiting.drain(..self.waiting.len().min(FIFO)).collect();
        // There is room, and a lost interrupt only delays the guest.
        let _ = self.uart.enqueue_raw_bytes(&part);
    }

    /// Takes back what the guest has not read and does not want now: a driver clears the FIFO when it starts and when it stops.
    fn take_back(&mut self) {
        let latched = self.line_control & DIVISOR_LATCH != 0;
        // The divisor hides the data. Neither write can fail: only the data register's can.
        if latched {
            let _ = self.uart.write(LINE_CONTROL as u8, self.line_control & !DIVISOR_LATCH);
        }
        let unread: Vec<u8> = (0..self.received()).map(|_| self.uart.read(DATA as u8)).collect();
        if latched {
            let _ = self.uart.write(LINE_CONTROL as u8, self.line_control);
        }
        unread.into_iter().rev().for_each(|byte| self.waiting.push_front(byte));
    }

    fn write(&mut self, offset: u64, byte: u8) {
        let latched = self.line_control & DIVISOR_LATCH != 0;
        match offset {
            INTERRUPT_ENABLE if !latched => self.interrupt_enable = byte,
            FIFO_CONTROL if byte & CLEAR_RECEIVED != 0 => self.take_back(),
            LINE_CONTROL => self.line_control = byte,
            MODEM_CONTROL => {
                match (self.modem_control & REQUEST_TO_SEND, byte & REQUEST_TO_SEND) {
                    (_, REQUEST_TO_SEND) => self.held = false,
                    (REQUEST_TO_SEND, _) => self.held = true,
                    _ => {}
                }
                self.modem_control = byte;
            }
            _ => {}
        }
        // The console's sink never fails, and a lost interrupt only delays the guest.
        let _ = self.uart.write(offset as u8, byte);
    }

    fn read(&mut self, offset: u64) -> u8 {
        let byte = self.uart.read(offset as u8);
        if offset != CAUSE {
            return byte;
        }
        // vm-superio forgets every cause once it was read. In the chip a cause stays as long as it is there, and a driver that does not
        // read the FIFO to its end in one go relies on it.
        let flags = byte & !CAUSE_MASK;
        self.transmitted |= byte & CAUSE_TRANSMITTED != 0;
        if self.interrupts() && self.received() > 0 {
            flags | CAUSE_RECEIVED
        } else if std::mem::take(&mut self.transmitted) && self.interrupt_enable & ENABLE_TRANSMITTED != 0 {
            flags | CAUSE_TRANSMITTED
        } else {
            byte
        }
    }
}

impl<W: Write + Send> SerialPort<W> {
    /// A line that interrupts through `irq` and transmits to `out`.
    pub fn new(irq: EventFd, out: W) -> Self {
        let line = Line {
            uart: Serial::new(IrqTrigger(irq), out),
            interrupt_enable: 0,
            line_control: 0,
            modem_control: 0,
            held: false,
            polls: 0,
            transmitted: false,
            waiting: VecDeque::new(),
            hung_up: false,
        };
        Self { line: Mutex::new(line), changed: Condvar::new() }
    }

    /// Sends `bytes` to the guest. Waits while as many wait as may; false once the line is hung up.
    pub fn send(&self, mut bytes: &[u8]) -> bool {
        let mut line = self.line.lock();
        while !bytes.is_empty() {
            self.changed.wait_while(&mut line, |line| !line.hung_up && line.waiting.len() >= INPUT_MAX);
            if line.hung_up {
                return false;
            }
            let (now, later) = bytes.split_at(bytes.len().min(INPUT_MAX - line.waiting.len()));
            line.waiting.extend(now);
            bytes = later;
            self.changed.notify_all();
        }
        !line.hung_up
    }

    /// Hands the guest what was sent, whenever it takes more, until the line is hung up.
    pub fn carry(&self) {
        let mut line = self.line.lock();
        while !line.hung_up {
            self.changed.wait_while(&mut line, |line| !line.hung_up && !line.wants_input());
            if !line.hung_up {
                line.fill();
                self.changed.notify_all();
            }
        }
    }

    /// Ends [`Self::send`] and [`Self::carry`]: the guest has ended.
    pub fn hang_up(&self) {
        self.line.lock().hung_up = true;
        self.changed.notify_all();
    }

    /// The guest has done something after which it may take input.
    fn look(&self, line: &MutexGuard<'_, Line<W>>) {
        if line.wants_input() {
            self.changed.notify_all();
        }
    }
}

impl<W: Write + Send> BusDevice for SerialPort<W> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let [byte] = data else {
            data.fill(0xff);
            return;
        };
        let mut line = self.line.lock();
        line.polls = if offset == LINE_STATUS { line.polls.saturating_add(1) } else { 0 };
        *byte = line.read(offset);
        self.look(&line);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        // String output arrives as many bytes for one register.
        let mut line = self.line.lock();
        line.polls = 0;
        data.iter().for_each(|byte| line.write(offset, *byte));
        self.look(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const CAUSE_NONE: u8 = 1;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A line, and the thread that carries input.
    struct Port {
        port: Arc<SerialPort<Sink>>,
        sink: Sink,
        irq: EventFd,
        carrier: Option<std::thread::JoinHandle<()>>,
    }

    impl Port {
        fn new() -> Self {
            let irq = EventFd::new(0).unwrap();
            let sink = Sink::default();
            let port = Arc::new(SerialPort::new(irq.try_clone().unwrap(), sink.clone()));
            let carried = port.clone();
            let carrier = Some(std::thread::spawn(move || carried.carry()));
            Self { port, sink, irq, carrier }
        }

        fn read(&self, offset: u64) -> u8 {
            let mut byte = [0];
            self.port.read(offset, &mut byte);
            byte[0]
        }

        fn write(&self, offset: u64, byte: u8) {
            self.port.write(offset, &[byte]);
        }

        fn data_ready(&self) -> bool {
            self.read(LINE_STATUS) & 1 != 0
        }

        /// What Linux does at an interrupt (drivers/tty/serial/8250: at most 256 bytes a pass, passes until there is no cause).
        fn handle(&self, bytes: &mut Vec<u8>) {
            while self.read(CAUSE) & CAUSE_NONE == 0 {
                for _ in 0..256 {
                    if !self.data_ready() {
                        break;
                    }
                    bytes.push(self.read(DATA));
                }
            }
        }

        /// What Linux's driver does to the chip when it starts or stops: clears the FIFO, and reads once what it has no use for.
        fn reset(&self) {
            self.write(INTERRUPT_ENABLE, 0);
            for value in [1, 7, 0] {
                self.write(FIFO_CONTROL, value);
            }
            for register in [LINE_STATUS, DATA, CAUSE, 6] {
                self.read(register);
            }
        }
    }

    impl Drop for Port {
        fn drop(&mut self) {
            self.port.hang_up();
            self.carrier.take().unwrap().join().unwrap();
        }
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn bytes_when_transmitted_reach_the_sink_in_order() {
        let port = Port::new();
        port.port.write(0, b"a");
        port.port.write(0, b"bc");
        assert_eq!(*port.sink.0.lock(), b"abc");
    }

    #[test]
    fn input_when_it_is_a_megabyte_arrives_whole() {
        let port = Port::new();
        let sent = bytes(1 << 20);
        let sender = {
            let (port, sent) = (port.port.clone(), sent.clone());
            std::thread::spawn(move || assert!(port.send(&sent)))
        };
        port.write(INTERRUPT_ENABLE, ENABLE_RECEIVED);
        let mut received = Vec::new();
        while received.len() < sent.len() {
            // Blocks: a FIFO that fills without an interrupt hangs this test.
            port.irq.read().unwrap();
            port.handle(&mut received);
        }
        sender.join().unwrap();
        assert!(received == sent);
    }

    #[test]
    fn input_when_it_comes_before_the_driver_waits_for_it_through_resets() {
        let port = Port::new();
        let sent = bytes(90);
        assert!(port.port.send(&sent));
        port.reset();
        assert!(!port.data_ready());
        port.write(INTERRUPT_ENABLE, ENABLE_RECEIVED);
        port.irq.read().unwrap();
        let mut received = vec![port.read(DATA)];
        // Closed and opened again, with a full FIFO.
        port.reset();
        port.reset();
        assert!(!port.data_ready());
        port.write(INTERRUPT_ENABLE, ENABLE_RECEIVED);
        while received.len() < sent.len() {
            port.irq.read().unwrap();
            port.handle(&mut received);
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn fifo_when_cleared_while_the_divisor_is_latched_keeps_its_bytes() {
        let port = Port::new();
        port.write(INTERRUPT_ENABLE, ENABLE_RECEIVED);
        assert!(port.port.send(b"xyz"));
        port.irq.read().unwrap();
        port.write(LINE_CONTROL, DIVISOR_LATCH);
        port.write(FIFO_CONTROL, 7);
        port.write(LINE_CONTROL, 3);
        let mut received = Vec::new();
        while received.len() < 3 {
            port.irq.read().unwrap();
            port.handle(&mut received);
        }
        assert_eq!(received, b"xyz");
    }

    #[test]
    fn cause_when_bytes_are_left_stays_and_hides_no_other() {
        let port = Port::new();
        port.write(INTERRUPT_ENABLE, ENABLE_RECEIVED | ENABLE_TRANSMITTED);
        assert_eq!(port.read(CAUSE) & CAUSE_MASK, CAUSE_TRANSMITTED);
        assert!(port.port.send(b"ab"));
        while !port.data_ready() {
            std::thread::yield_now();
        }
        port.write(DATA, b'!');
        assert_eq!(port.read(CAUSE) & CAUSE_MASK, CAUSE_RECEIVED);
        assert_eq!(port.read(CAUSE) & CAUSE_MASK, CAUSE_RECEIVED);
        assert_eq!([port.read(DATA), port.read(DATA)], *b"ab");
        assert_eq!(port.read(CAUSE) & CAUSE_MASK, CAUSE_TRANSMITTED);
        assert_eq!(port.read(CAUSE) & CAUSE_MASK, CAUSE_NONE);
    }

    #[test]
    fn input_when_the_guest_only_looks_arrives_too() {
        let port = Port::new();
        assert!(port.port.send(b"polled"));
        let mut received = Vec::new();
        while received.len() < 6 {
            while !port.data_ready() {}
            received.push(port.read(DATA));
        }
        assert_eq!(received, b"polled");
    }

    #[test]
    fn input_when_the_guest_asks_to_wait_waits() {
        let port = Port::new();
        port.write(INTERRUPT_ENABLE, ENABLE_RECEIVED);
        port.write(MODEM_CONTROL, REQUEST_TO_SEND);
        port.write(MODEM_CONTROL, 0);
        assert!(port.port.send(b"x"));
        assert!(!port.port.line.lock().wants_input());
        port.write(MODEM_CONTROL, REQUEST_TO_SEND);
        port.irq.read().unwrap();
        assert_eq!(port.read(DATA), b'x');
    }

    #[test]
    fn sender_when_the_guest_ends_is_let_go() {
        let port = Port::new();
        let sender = {
            let port = port.port.clone();
            std::thread::spawn(move || port.send(&bytes(INPUT_MAX + 1)))
        };
        while port.port.line.lock().waiting.len() < INPUT_MAX {
            std::thread::yield_now();
        }
        port.port.hang_up();
        assert!(!sender.join().unwrap());
        assert!(!port.port.send(b""));
    }
}
