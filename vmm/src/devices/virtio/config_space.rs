//! A device's configuration space: bytes that both sides read and of which the driver may write some.

use std::ops::Range;

use parking_lot::Mutex;

/// Shared by the device and its transport. What one access reads or writes is whole; a number that the driver reads in several is, if
/// the generation is the same before and after.
#[derive(Debug)]
pub struct ConfigSpace {
    state: Mutex<State>,
    writable: Range<usize>,
    /// The bytes that the driver may write, as they were at first.
    first: Box<[u8]>,
}

#[derive(Debug)]
struct State {
    bytes: Box<[u8]>,
    /// Changes of the device's.
    generation: u32,
}

impl ConfigSpace {
    /// A space that the driver can only read.
    pub fn read_only(bytes: &[u8]) -> Self {
        Self::new(bytes, 0..0)
    }

    /// A space of which the driver may write the bytes of `writable`.
    pub fn new(bytes: &[u8], writable: Range<usize>) -> Self {
        let first = bytes.get(writable.clone()).unwrap_or_default().into();
        Self { state: Mutex::new(State { bytes: bytes.into(), generation: 0 }), writable, first }
    }

    /// Copies what is from `at` on into `data`; what lies behind the end leaves it as it is.
    pub fn read(&self, at: usize, data: &mut [u8]) {
        let state = self.state.lock();
        data.iter_mut().zip(state.bytes.iter().skip(at)).for_each(|(to, from)| *to = *from);
    }

    /// The device's write. Its transport has to tell the driver, who reads again.
    pub fn set(&self, at: usize, data: &[u8]) {
        let mut state = self.state.lock();
        state.bytes.iter_mut().skip(at).zip(data).for_each(|(byte, from)| *byte = *from);
        state.generation = state.generation.wrapping_add(1);
    }

    /// Another number after each of the device's writes (virtio 1.2, section 4.2.2: `ConfigGeneration`).
    pub fn generation(&self) -> u32 {
        self.state.lock().generation
    }

    /// The device was reset: what the driver has written is as it was at first.
    pub fn reset(&self) {
        for (index, byte) in self.state.lock().bytes.iter_mut().enumerate() {
            if let Some(first) = index.checked_sub(self.writable.start).and_then(|at| self.first.get(at)) {
                *byte = *first;
            }
        }
    }

    /// The driver's write: what it may not write stays as it is.
    pub fn write(&self, at: usize, data: &[u8]) {
        for ((index, byte), from) in self.state.lock().bytes.iter_mut().enumerate().skip(at).zip(data) {
            if self.writable.contains(&index) {
                *byte = *from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_when_over_both_parts_changes_only_the_writable_one() {
        let space = ConfigSpace::new(&[1, 2, 3, 4], 2..4);
        space.write(1, &[9; 8]);
        let mut data = [0xff; 6];
        space.read(0, &mut data);
        assert_eq!(data, [1, 2, 9, 9, 0xff, 0xff]);
    }

    #[test]
    fn reset_when_the_driver_has_written_undoes_it() {
        let space = ConfigSpace::new(&[1, 2, 3, 4, 5], 2..4);
        space.set(0, &[7]);
        space.write(2, &[9, 9]);
        space.reset();
        let mut data = [0xff; 5];
        space.read(0, &mut data);
        assert_eq!(data, [7, 2, 3, 4, 5]);
    }

    #[test]
    fn set_when_the_device_does_it_changes_bytes_and_generation() {
        let space = ConfigSpace::new(&[1, 2, 3, 4], 2..4);
        let before = space.generation();
        space.set(0, &[9, 8]);
        let mut data = [0; 4];
        space.read(0, &mut data);
        assert_eq!((data, space.generation() != before), ([9, 8, 3, 4], true));
        space.write(2, &[7]);
        assert_eq!(space.generation(), before + 1, "the driver's writes are no news to it");
    }

    #[test]
    fn access_when_behind_the_end_does_nothing() {
        let space = ConfigSpace::new(&[1, 2], 0..2);
        space.write(usize::MAX, &[9]);
        let mut data = [7];
        space.read(2, &mut data);
        assert_eq!(data, [7]);
    }
}
