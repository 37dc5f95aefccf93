//! How a payload talks to its host about anything but tmem: a port, and a mailbox in memory.
//!
//! A command is one 32-bit write to [`PORT`]: bits 0-7 the command, bits 8-15 the vCPU. What goes with it lies in the
//! vCPU's mailbox: words first, then text.

use core::fmt::{self, Write};
use core::sync::atomic::Ordering::Relaxed;

use crate::layout;
use crate::memory::{bytes, words};

/// The control port.
pub const PORT: u16 = 0x7460;
/// Words at the start of a mailbox.
pub const WORDS: usize = 8;
/// Byte offset of the text in a mailbox; the word before it holds its length in bytes.
pub const TEXT: u64 = 0x100;
/// Longest text in bytes; what is longer is cut.
pub const TEXT_MAX: usize = 0x700;
/// Byte offset of the histograms in a mailbox.
pub const HISTOGRAMS: u64 = 0x1000;

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        /// What a payload tells its host.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Command {
            $($(#[$doc])* $name = $number,)*
        }

        impl Command {
            /// The command with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    /// This vCPU has finished; it is not run again.
    Done = 1;
    /// The payload panicked: the text says where and why.
    Panic = 2;
    /// Wait until every vCPU of every guest of this run is here.
    Barrier = 3;
    /// A case has ended: the text is its name, a line end, and the reason if it failed; word 0 is a [`Verdict`].
    Case = 4;
    /// Refuse this guest's puts from now on.
    Freeze = 5;
    /// Accept them again.
    Thaw = 6;
    /// Forbid this guest the shared pool [`crate::selftest::SHARED`].
    RevokeShared = 7;
    /// Allow it again.
    AllowShared = 8;
    /// The measurement starts: word 0 is the time stamp counter.
    Start = 9;
    /// The measurement has ended: word 0 is the time stamp counter, the words after it are the payload's counters.
    Stop = 10;
    /// A case begins: the text is its name.
    Begin = 11;
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Verdict {
    /// As it should.
    Passed = 0,
    /// Not as it should.
    Failed = 1,
    /// The host does not offer what it tests.
    Skipped = 2,
}

impl Verdict {
    /// From a mailbox's word.
    pub const fn from_word(word: u64) -> Option<Self> {
        match word {
            0 => Some(Self::Passed),
            1 => Some(Self::Failed),
            2 => Some(Self::Skipped),
            _ => None,
        }
    }
}

/// Reads a value written to [`PORT`]: the command, and the vCPU that gave it.
pub const fn decode(value: u32) -> (Option<Command>, u32) {
    (Command::from_number((value & 0xff) as u8), value >> 8 & 0xff)
}

/// One vCPU's line to its host.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox {
    vcpu: u32,
}

impl Mailbox {
    /// That of this vCPU.
    pub const fn new(vcpu: u32) -> Self {
        Self { vcpu }
    }

    /// Tells the host a command; returns when the host has acted on it.
    pub fn tell(&self, command: Command) {
        let value = u32::from(command as u8) | self.vcpu << 8;
        // SAFETY: the port belongs to the host, which reads this guest's mailbox and writes nothing of its memory.
        unsafe { core::arch::asm!("out dx, eax", in("dx") PORT, in("eax") value, options(nostack)) };
    }

    /// The same with words.
    pub fn tell_words(&self, command: Command, values: &[u64]) {
        let to = words(layout::mailbox(self.vcpu), WORDS);
        to.iter().zip(values).for_each(|(word, value)| word.store(*value, Relaxed));
        self.tell(command);
    }

    /// The same with text and one word.
    pub fn tell_text(&self, command: Command, word: u64, text: fmt::Arguments<'_>) {
        let mut writer = Text { vcpu: self.vcpu, length: 0 };
        // The writer never fails; a text that is too long is cut.
        let _ = writer.write_fmt(text);
        let length_at = layout::mailbox(self.vcpu) + TEXT - 8;
        words(length_at, 1).iter().for_each(|word| word.store(writer.length as u64, Relaxed));
        self.tell_words(command, &[word]);
    }
}

struct Text {
    vcpu: u32,
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = bytes(layout::mailbox(self.vcpu) + TEXT, TEXT_MAX).iter().skip(self.length);
        for (to, byte) in room.zip(s.bytes()) {
            to.store(byte, Relaxed);
            self.length += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_the_port_names_command_and_vcpu() {
        assert_eq!(decode(3 | 63 << 8), (Some(Command::Barrier), 63));
        assert_eq!(decode(0xff), (None, 0));
    }
}
