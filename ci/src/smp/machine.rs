//! The emulator's command line: a small machine with several processors, each a thread of this one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::command;
use crate::lab::qemu::PROGRAM;

/// Processors of a guest.
pub(super) const CPUS: u32 = 4;

/// Words for the kernel without which one boot in eight hangs: on a busy machine the emulated timers do not tick while the kernel
/// measures its processors against them.
pub(super) const WORDS: &str = "tsc_early_khz=2000000 lpj=4000000 no_timer_check";

/// What the monitor that shares the console takes for a break, on which a kernel reads the next byte as a request (sysrq).
const BREAK: [u8; 2] = [0x01, b'b'];

/// What a silent guest is asked: every message on the console, tasks that wait, locks that are held, every processor's stack.
const QUESTIONS: &[u8] = b"9wdl";

/// One machine.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    /// Its kernel.
    pub(super) kernel: &'a Path,
    /// The initramfs.
    pub(super) initrd: &'a Path,
    /// The kernel's command line, without [`WORDS`].
    pub(super) words: &'a str,
    /// Its memory in MiB.
    pub(super) memory_mib: u32,
    /// Disks, in the order of their names in the guest; what is true is read-only.
    pub(super) disks: &'a [(PathBuf, bool)],
    /// Whether it can be suspended.
    pub(super) sleeps: bool,
}

impl Machine<'_> {
    fn arguments(&self) -> Vec<OsString> {
        // A microvm has no sleep but that of an idle machine, from which its clock does not wake it.
        let (machine, disk) = if self.sleeps {
            ("pc", "virtio-blk-pci")
        } else {
            ("microvm,acpi=on,pic=on,pit=on,rtc=on", "virtio-blk-device")
        };
        let mut arguments: Vec<OsString> = [
            "-M",
            machine,
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "Nehalem",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
            "-nic",
            "none",
            "-serial",
            "mon:stdio",
        ]
        .map(OsString::from)
        .to_vec();
        arguments.extend(["-smp".into(), CPUS.to_string().into()]);
        arguments.extend(["-m".into(), format!("{}M", self.memory_mib).into()]);
        arguments.extend(["-kernel".into(), self.kernel.into(), "-initrd".into(), self.initrd.into()]);
        arguments.extend(["-append".into(), format!("{} {WORDS}", self.words).into()]);
        for (index, (path, read_only)) in self.disks.iter().enumerate() {
            let path = path.display().to_string().replace(',', ",,");
            let read_only = if *read_only { "on" } else { "off" };
            let drive = format!(
                "id=disk{index},if=none,format=raw,cache=unsafe,discard=unmap,read-only={read_only},file={path}"
            );
            arguments.extend(["-drive".into(), drive.into()]);
            arguments.extend(["-device".into(), format!("{disk},drive=disk{index}").into()]);
        }
        arguments
    }

    /// Starts it; its console is the child's standard output, and the standard input goes to it.
    pub(super) fn start(&self) -> std::io::Result<Child> {
        self.command().spawn()
    }

    fn command(&self) -> Command {
        let mut command = command::dying_with_us(PROGRAM);
        command.args(self.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// The bytes for the console that ask a silent guest what it waits for.
pub(super) fn questions() -> Vec<u8> {
    QUESTIONS.iter().flat_map(|&question| [BREAK[0], BREAK[1], question]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_several_processors_and_its_disks_in_order() {
        let disks = [("/a,b".into(), false), ("/c".into(), true)];
        let machine = Machine {
            kernel: Path::new("/k"),
            initrd: Path::new("/i"),
            words: "quiet",
            memory_mib: 256,
            disks: &disks,
            sleeps: false,
        };
        let words: Vec<_> =
            machine.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let text = words.join(" ");
        assert!(text.contains("-smp 4 -m 256M") && text.contains("tcg,thread=multi"), "{text}");
        assert!(text.contains(&format!("-append quiet {WORDS}")), "{text}");
        let (first, last) = (text.find("file=/a,,b").unwrap(), text.find("read-only=on,file=/c").unwrap());
        assert!(first < last, "{text}");
    }

    #[test]
    fn a_silent_guest_is_asked_by_breaks() {
        assert_eq!(questions(), b"\x01b9\x01bw\x01bd\x01bl");
    }
}
