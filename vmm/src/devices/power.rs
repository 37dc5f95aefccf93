//! How a guest ends: the FADT's registers, the PC's older ways to reset, the register that tells of a panic, and the power button.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::Sender;

use parking_lot::Mutex;
use vm_superio::{I8042Device, Trigger};
use vmm_sys_util::eventfd::EventFd;

use super::bus::BusDevice;
use crate::arch::layout;

/// What a guest asks of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerEvent {
    /// ACPI sleep state S5.
    PowerOff,
    /// A reset, through whichever register.
    Reset,
    /// Nothing more: its kernel has panicked, and goes on as it was told to in that case.
    Panicked,
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

/// A register of which one bit resets the machine when it is written: [`layout::RESET_CONTROL_PORT`] and
/// [`layout::SYSTEM_CONTROL_PORT`].
pub struct ResetBit<E> {
    line: Line<E>,
    bit: u8,
    value: AtomicU8,
}

impl<E> ResetBit<E> {
    /// A register whose bit number `bit` resets; it reports through `events`, wrapped by `wrap`.
    pub fn new(bit: u8, events: Sender<E>, wrap: fn(PowerEvent) -> E) -> Self {
        Self { line: Line(Mutex::new(events), wrap), bit: 1 << bit, value: AtomicU8::new(0) }
    }
}

impl<E: Send> BusDevice for ResetBit<E> {
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(self.value.load(Ordering::Relaxed));
    }

    fn write(&self, _: u64, data: &[u8]) {
        let &[value, ..] = data else { return };
        self.value.store(value & !self.bit, Ordering::Relaxed);
        if value & self.bit != 0 {
            self.line.raise(PowerEvent::Reset);
        }
    }
}

/// The power button, which the host presses: an interrupt that the tables call so.
#[derive(Debug)]
pub struct PowerButton(EventFd);

impl PowerButton {
    /// A button that interrupts through `irq`.
    pub fn new(irq: EventFd) -> Self {
        Self(irq)
    }

    /// Presses it. What the guest makes of that is its own business.
    pub fn press(&self) {
        // A full counter means that the interrupt is about to be raised anyway.
        let _ = self.0.write(1);
    }
}

/// pvpanic: a register through which a kernel tells that it has panicked. It is told once, however often the guest writes.
pub struct PanicRegister<E> {
    line: Line<E>,
    told: AtomicBool,
}

/// The kernel has panicked.
const PANICKED: u8 = 1 << 0;
/// The kernel has panicked, and another one, loaded for this case, takes over.
const CRASH_KERNEL: u8 = 1 << 1;

impl<E> PanicRegister<E> {
    /// A register that reports through `events`, wrapped by `wrap`.
    pub fn new(events: Sender<E>, wrap: fn(PowerEvent) -> E) -> Self {
        Self { line: Line(Mutex::new(events), wrap), told: AtomicBool::new(false) }
    }
}

impl<E: Send> BusDevice for PanicRegister<E> {
    /// What may be told.
    fn read(&self, _: u64, data: &mut [u8]) {
        data.fill(PANICKED | CRASH_KERNEL);
    }

    /// A crash kernel is left to do its work, and ends the guest when it has.
    fn write(&self, _: u64, data: &[u8]) {
        if let [value, ..] = data
            && value & PANICKED != 0
            && !self.told.swap(true, Ordering::Relaxed)
        {
            self.line.raise(PowerEvent::Panicked);
        }
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
    fn reset_bit_when_written_by_itself_or_among_others_resets() {
        let (to, from) = channel();
        let control = ResetBit::new(2, to, |e| e);
        control.write(0, &[0b1010]);
        let mut value = [0xff];
        control.read(0, &mut value);
        assert_eq!((value, events(&from)), ([0b1010], vec![]));
        control.write(0, &[0b1110]);
        control.read(0, &mut value);
        assert_eq!((value, events(&from)), ([0b1010], vec![PowerEvent::Reset]));
    }

    #[test]
    fn power_button_when_pressed_signals_once() {
        let button = PowerButton::new(EventFd::new(libc::EFD_NONBLOCK).unwrap());
        assert!(button.0.read().is_err());
        button.press();
        assert_eq!(button.0.read().unwrap(), 1);
    }

    #[test]
    fn panic_register_when_told_of_a_panic_tells_it_once_and_leaves_a_crash_kernel_alone() {
        let (to, from) = channel();
        let register = PanicRegister::new(to, |e| e);
        let mut known = [0];
        register.read(0, &mut known);
        assert_eq!(known, [3]);
        register.write(0, &[CRASH_KERNEL]);
        register.write(0, &[]);
        assert_eq!(events(&from), []);
        register.write(0, &[PANICKED]);
        register.write(0, &[PANICKED]);
        assert_eq!(events(&from), [PowerEvent::Panicked]);
    }

    #[test]
    fn events_when_nobody_listens_are_dropped() {
        let (to, from) = channel();
        drop(from);
        PowerRegisters::new(to, |e: PowerEvent| e).write(2, &[layout::RESET_VALUE]);
    }
}
