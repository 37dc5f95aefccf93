//! What stands where a PC has its firmware: enough to end the machine when a kernel hands it back.
//!
//! Linux with CONFIG_EFI on hardware-reduced ACPI resets by a jump to the reset vector in real mode, if there is no EFI
//! (arch/x86/kernel/reboot.c: BOOT_EFI, then BOOT_BIOS). What it finds there resets the machine by a register.

use super::layout;

/// Length of [`reset_code`]: the reset vector is that far below the end of the firmware's area.
pub const RESET_CODE_LEN: usize = 16;

/// 16-bit code for [`layout::RESET_VECTOR`].
pub fn reset_code() -> [u8; RESET_CODE_LEN] {
    let [low, high] = layout::RESET_PORT.to_le_bytes();
    let mut code = [0x90; RESET_CODE_LEN];
    let instructions = [
        0xba,
        low,
        high, // mov dx, RESET_PORT
        0xb0,
        layout::RESET_VALUE, // mov al, RESET_VALUE
        0xee,                // out dx, al
        0xfa,                // cli
        0xf4,                // hlt
        0xeb,
        0xfc, // jmp to the cli
    ];
    code.iter_mut().zip(instructions).for_each(|(byte, from)| *byte = from);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reset_code_when_read_writes_the_reset_register_and_never_leaves() {
        let code = reset_code();
        assert_eq!(u16::from_le_bytes([code[1], code[2]]), layout::RESET_PORT);
        assert_eq!(code[4], layout::RESET_VALUE);
        assert_eq!(10 + i32::from(code[9].cast_signed()), 6, "the jump is to the cli");
    }

    #[test]
    fn reset_vector_when_entered_is_the_last_sixteen_bytes_below_one_mib() {
        assert_eq!(layout::RESET_VECTOR, (0xf000 << 4) + 0xfff0);
        assert_eq!(layout::RESET_VECTOR + RESET_CODE_LEN as u64, layout::HIGH_MEMORY_START);
    }
}
