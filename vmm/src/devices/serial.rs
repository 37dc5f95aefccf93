//! The first serial line: vm-superio's 16550A on the port bus.

use std::io::{self, Write};
use std::ops::Deref;

use parking_lot::Mutex;
use vm_superio::Serial;
use vm_superio::serial::NoEvents;
use vmm_sys_util::eventfd::EventFd;

use super::bus::BusDevice;

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

/// The 16550A at [`crate::arch::layout::COM1_PORTS`].
pub struct SerialPort<W: Write>(Mutex<Serial<IrqTrigger, NoEvents, W>>);

impl<W: Write + Send> SerialPort<W> {
    /// A line that interrupts through `irq` and transmits to `out`.
    pub fn new(irq: EventFd, out: W) -> Self {
        Self(Mutex::new(Serial::new(IrqTrigger(irq), out)))
    }

    /// Lets the guest receive `bytes`; returns how many its FIFO took.
    pub fn receive(&self, bytes: &[u8]) -> usize {
        let mut serial = self.0.lock();
        let room = serial.fifo_capacity().min(bytes.len());
        bytes.get(..room).map_or(0, |taken| serial.enqueue_raw_bytes(taken).unwrap_or(0))
    }
}

impl<W: Write + Send> BusDevice for SerialPort<W> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if let [byte] = data {
            *byte = self.0.lock().read(offset as u8);
        } else {
            data.fill(0xff);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        // String output arrives as many bytes for one register.
        let mut serial = self.0.lock();
        for byte in data {
            // The console's sink never fails, and a lost interrupt only delays the guest.
            let _ = serial.write(offset as u8, *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

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

    fn port() -> (SerialPort<Sink>, Sink, EventFd) {
        let irq = EventFd::new(libc::EFD_NONBLOCK).unwrap();
        let sink = Sink::default();
        (SerialPort::new(irq.try_clone().unwrap(), sink.clone()), sink, irq)
    }

    #[test]
    fn bytes_when_transmitted_reach_the_sink_in_order() {
        let (port, sink, _) = port();
        port.write(0, b"a");
        port.write(0, b"bc");
        assert_eq!(*sink.0.lock(), b"abc");
    }

    #[test]
    fn bytes_when_received_interrupt_and_can_be_read() {
        let (port, _, irq) = port();
        port.write(1, &[1]);
        assert_eq!(port.receive(b"x"), 1);
        assert_eq!(irq.read().unwrap(), 1);
        let mut byte = [0];
        port.read(0, &mut byte);
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn bytes_when_the_fifo_is_full_are_left_to_the_caller() {
        let (port, _, _) = port();
        assert_eq!(port.receive(&[7; 100]), 64);
        assert_eq!(port.receive(&[7; 100]), 0);
    }
}
