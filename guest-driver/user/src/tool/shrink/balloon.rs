//! The virtio-balloon device, through which free memory reaches the host, and how small a free block may be for that.

use std::fs;
use std::io;

const DEVICES: &str = "/sys/bus/virtio/devices";
/// virtio 1.3, section 5.5: the device's id, and numbers of features.
const BALLOON: &str = "0x0005";
const DEFLATE_ON_OOM: usize = 2;
const REPORTING: usize = 5;
/// The order from which on free pages are reported (mm/page_reporting.c); by itself that of a huge page, which a guest that is
/// short of memory has none of.
const ORDER: &str = "/sys/module/page_reporting/parameters/page_reporting_order";

/// What a balloon's device and driver have agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Balloon {
    /// Free pages are reported to the host.
    pub(super) reports: bool,
    /// Pages in the balloon are still counted in MemTotal (fill_balloon() in drivers/virtio/virtio_balloon.c).
    pub(super) deflates_on_oom: bool,
}

impl Balloon {
    /// The one that this guest's kernel drives; without one, nothing of all this.
    pub(super) fn find() -> Self {
        let devices = fs::read_dir(DEVICES).into_iter().flatten().flatten().map(|entry| entry.path());
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        devices
            .filter(|device| device.join("driver").exists())
            .map(|device| (text(device.join("device")), text(device.join("features"))))
            .find_map(|(device, features)| Self::of(&device, &features))
            .unwrap_or_default()
    }

    /// Of the files `device` and `features` of a virtio device: an id, and a digit for each feature.
    fn of(device: &str, features: &str) -> Option<Self> {
        let has = |feature: usize| features.as_bytes().get(feature) == Some(&b'1');
        let found = Self { reports: has(REPORTING), deflates_on_oom: has(DEFLATE_ON_OOM) };
        (device.trim() == BALLOON).then_some(found)
    }
}

/// Has smaller free blocks reported as long as it lives; then it is as before.
#[derive(Debug)]
pub(super) struct Order {
    before: String,
}

impl Order {
    /// Blocks of 2^`order` pages and more. A kernel that reports has the parameter.
    pub(super) fn set(order: u32) -> io::Result<Self> {
        let before = fs::read_to_string(ORDER)?;
        fs::write(ORDER, order.to_string())?;
        Ok(Self { before })
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        // What was read can be written, and there is nobody left to be told.
        let _ = fs::write(ORDER, self.before.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_digits_from_bit_0_on_and_only_a_balloon_counts() {
        let found = |reports, deflates_on_oom| Some(Balloon { reports, deflates_on_oom });
        assert_eq!(Balloon::of("0x0005\n", "0010010000\n"), found(true, true));
        assert_eq!(Balloon::of("0x0005\n", "0010000000\n"), found(false, true));
        assert_eq!(Balloon::of("0x0005\n", "000001"), found(true, false));
        assert_eq!(Balloon::of("0x0005\n", ""), found(false, false));
        assert_eq!(Balloon::of("0x0002\n", "0010010000\n"), None);
    }
}
