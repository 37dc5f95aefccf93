//! What is added to a kernel's command line.

use super::layout;

/// The word with which Linux leaves ACPI alone, and which tells here that nothing else will name the devices.
const WITHOUT_ACPI: &str = "acpi=off";
/// What is behind this word is for the init.
const END: &str = "--";

/// The command line, with a word for each of `devices` virtio devices where it has `acpi=off`: Linux's
/// drivers/virtio/virtio_mmio.c takes them, if it has CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES.
pub fn with_devices(cmdline: &str, devices: usize) -> String {
    let kernels = kernels_part(cmdline);
    if !kernels.split_whitespace().any(|word| word == WITHOUT_ACPI) {
        return cmdline.to_owned();
    }
    let added: String = (0..devices).map(|index| format!("{} ", device(index))).collect();
    let inits = cmdline.get(kernels.len()..).unwrap_or_default();
    format!("{} {added}{inits}", kernels.trim_end()).trim_end().to_owned()
}

/// What stands before the word that ends it.
fn kernels_part(cmdline: &str) -> &str {
    let mut at = 0;
    for word in cmdline.split_inclusive(char::is_whitespace) {
        if word.trim_end() == END {
            break;
        }
        at += word.len();
    }
    cmdline.get(..at).unwrap_or(cmdline)
}

/// Size, address and interrupt.
fn device(index: usize) -> String {
    let (size, addr) = (layout::VIRTIO_MMIO_SIZE, layout::virtio_mmio_addr(index));
    format!("virtio_mmio.device={size}@{addr:#x}:{}", layout::virtio_gsi(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_when_acpi_is_on_stays_as_it_is() {
        for line in ["", "console=ttyS0  quiet", "quiet -- acpi=off", "acpi=offline"] {
            assert_eq!(with_devices(line, 2), line);
        }
    }

    #[test]
    fn command_line_when_acpi_is_off_names_the_devices_before_what_is_the_init_s() {
        let words = "virtio_mmio.device=4096@0xd0000000:5 virtio_mmio.device=4096@0xd0001000:6";
        assert_eq!(with_devices("quiet acpi=off", 2), format!("quiet acpi=off {words}"));
        assert_eq!(with_devices("acpi=off -- single", 2), format!("acpi=off {words} -- single"));
        assert_eq!(with_devices("a\tacpi=off\n b", 2), format!("a\tacpi=off\n b {words}"));
        assert_eq!(with_devices("acpi=off", 0), "acpi=off");
    }
}
