//! Reset and power-off: the FADT's registers, and the keyboard controller's reset line for kernels without ACPI.

use std::sync::mpsc::Sender;

use parking_lot::Mutex;
use vm_superio::{I8042Device, Trigger};

use super::bus::BusDevice;
use crate::arch::layout;

/// What a guest asks of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// ACPI sleep state S5.
    PowerOff,
    /// A reset, through whichever register.
    Reset,
}

/// Enable bit of the sleep control register (ACPI 6.5, table 4.24).
const SLEEP_ENABLE: u8 = 1 << 5;

/// Sends power events somewhere. The receiver may be gone, when the guest is being stopped anyway.
struct Line<E>(Mutex<Sender<E>>, fn(PowerEvent) -> E);

impl<E> Line<E> {
    fn raise(&self, event: PowerEvent) {
        let _ = self.0.lock().send((self.1)(event));
    }
}

/// The three registers at [`layout::POWER_PORTS`].
pub struct PowerRegisters<E>(Line<E>);

impl<E> PowerRegisters<E> {
    /// Registers that report through `events`, wrapped by `wrap`.
    pub fn new(events: Sender<E>, wrap: fn(PowerEvent) -> E) -> Self {
        Self(Line(Mutex::new(events), wrap))
    }
}

impl<E: Send> BusDevice for PowerRegisters<E> {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let port = layout::POWER_PORTS.start + offset as u16;
        match (port, data) {
            (layout::SLEEP_CONTROL_PORT, [value, ..])
                if *value & SLEEP_ENABLE != 0 && (*value >> 2) & 7 == layout::SLEEP_TYPE_S5 =>
            {
                self.0.raise(PowerEvent::PowerOff);
            }
            (layout::RESET_PORT, [layout::RESET_VALUE, ..]) => self.0.raise(PowerEvent::Reset),
            _ => {}
        }
    }
}

impl<E> Trigger for Line<E> {
    type E = std::convert::Infallible;

    fn trigger(&self) -> Result<(), Self::E> {
        self.raise(PowerEvent::Reset);
        Ok(())
    }
}

/// The keyboard controller, as far as it can reset the machine.
pub struct KeyboardController<E>(Mutex<I8042Device<Line<E>>>);

impl<E> KeyboardController<E> {
    /// A controller that reports through `events`, wrapped by `wrap`.
    pub fn new(events: Sender<E>, wrap: fn(PowerEvent) -> E) -> Self {
        Self(Mutex::new(I8042Device::new(Line(Mutex::new(events), wrap))))
    }
}

impl<E: Send> BusDevice for KeyboardController<E> {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(self.0.lock().read(offset as u8));
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let [value, ..] = data {
            // Raising a line cannot fail (its error type has no value).
            let _ = self.0.lock().write(offset as u8, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn events(receiver: &Receiver<PowerEvent>) -> Vec<PowerEvent> {
        receiver.try_iter().collect()
    }

    #[test]
    fn sleep_control_when_s5_is_enabled_powers_off() {
        let (to, from) = channel();
        let registers = PowerRegisters::new(to, |e| e);
        registers.write(0, &[layout::SLEEP_TYPE_S5 << 2]);
        registers.write(0, &[(3 << 2) | SLEEP_ENABLE]);
        assert_eq!(events(&from), []);
        registers.write(0, &[(layout::SLEEP_TYPE_S5 << 2) | SLEEP_ENABLE]);
        assert_eq!(events(&from), [PowerEvent::PowerOff]);
    }

    #[test]
    fn reset_register_when_written_with_its_value_resets() {
        let (to, from) = channel();
        let registers = PowerRegisters::new(to, |e| e);
        registers.write(2, &[0]);
        registers.write(2, &[]);
        assert_eq!(events(&from), []);
        registers.write(2, &[layout::RESET_VALUE]);
        assert_eq!(events(&from), [PowerEvent::Reset]);
    }

    #[test]
    fn keyboard_controller_when_told_to_pulse_reset_resets() {
        let (to, from) = channel();
        let controller = KeyboardController::new(to, |e| e);
        controller.write(0, &[0xfe]);
        controller.write(4, &[0xd1]);
        assert_eq!(events(&from), []);
        let mut status = [0xff];
        controller.read(4, &mut status);
        assert_eq!(status[0] & 2, 0, "Linux waits for an empty input buffer before it pulses");
        controller.write(4, &[0xfe]);
        assert_eq!(events(&from), [PowerEvent::Reset]);
    }

    #[test]
    fn events_when_nobody_listens_are_dropped() {
        let (to, from) = channel();
        drop(from);
        PowerRegisters::new(to, |e: PowerEvent| e).write(2, &[layout::RESET_VALUE]);
    }
}
