//! `tmem run` with kernels of a few instructions, which run on every KVM.
#![allow(dead_code)] // each test uses a part

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tmem_vmm::kvm::System;

/// Where the code is and starts.
const ENTRY: u64 = 0x10_0000;
/// Where in the code a text is.
const TEXT: u32 = 0x800;
const COM1: u16 = 0x3f8;

/// Whether there is a KVM; if not, it says that the test is skipped.
pub(crate) fn has_kvm() -> bool {
    System::open().inspect_err(|why| println!("skipped: {why}")).is_ok()
}

/// `tmem run` for kernels that are not Linux, in `dir`.
pub(crate) fn tmem_run(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tmem"));
    command.args(["run", "--any-kvm"]).args(args).current_dir(dir);
    // What a test that fails has started ends with the test.
    // SAFETY: one system call, and no memory is asked for.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    command
}

pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Writes an ELF kernel of `code` into `dir`.
pub(crate) fn kernel(dir: &Path, name: &str, code: &[u8]) -> PathBuf {
    let mut image = Vec::new();
    // ELF-64, little-endian, version 1 (System V ABI, chapter 4): an executable for x86-64, one program header behind this one.
    image.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    image.extend([2, 62_u16].iter().flat_map(|value| value.to_le_bytes()));
    image.extend(1_u32.to_le_bytes());
    image.extend([ENTRY, 64, 0].iter().flat_map(|value| value.to_le_bytes()));
    image.extend(0_u32.to_le_bytes());
    image.extend([64, 56, 1, 0, 0, 0_u16].iter().flat_map(|value| value.to_le_bytes()));
    // To be loaded, readable, writable, executable.
    image.extend([1, 7_u32].iter().flat_map(|value| value.to_le_bytes()));
    let len = code.len() as u64;
    image.extend([120, ENTRY, ENTRY, len, len, 0x1000].iter().flat_map(|value| value.to_le_bytes()));
    image.extend(code);
    let path = dir.join(name);
    std::fs::write(&path, image).unwrap();
    path
}

/// `out` of `value` to `port`.
fn out(port: u16, value: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    // mov edx, port; mov al, value; out dx, al
    vec![0xba, low, high, 0, 0, 0xb0, value, 0xee]
}

/// Says `text` on the serial line.
pub(crate) fn say(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|byte| out(COM1, *byte)).collect()
}

/// Powers the machine off, and waits for it.
pub(crate) fn power_off() -> Vec<u8> {
    [out(0x600, 0x34), spin()].concat()
}

/// jmp $
pub(crate) fn spin() -> Vec<u8> {
    vec![0xeb, 0xfe]
}

/// Says what it is told, byte by byte, and powers off after an EOT (Ctrl-D).
pub(crate) fn echo() -> Vec<u8> {
    // 0: mov dx, 0x3fd; 4: in al, dx; test al, 1; jz 4; mov dx, 0x3f8; in al, dx; out dx, al; cmp al, 4; jnz 0
    let code = [
        0x66, 0xba, 0xfd, 3, 0xec, 0xa8, 1, 0x74, 0xfb, 0x66, 0xba, 0xf8, 3, 0xec, 0xee, 0x3c, 4, 0x75, 0xed,
    ];
    [code.to_vec(), power_off()].concat()
}

/// Says `line` `lines` times `times`, as fast as it can, and then does `then`. The whole is a kernel.
pub(crate) fn flood(line: &[u8], lines: usize, times: u32, then: &[u8]) -> Vec<u8> {
    let text = line.repeat(lines);
    let word = |value: u32| value.to_le_bytes();
    let mut code = vec![0xbb];
    // mov ebx, times; 5: mov esi, text; mov ecx, length; mov edx, 0x3f8; rep outsb; dec ebx; jnz 5
    code.extend(word(times));
    code.push(0xbe);
    code.extend(word(ENTRY as u32 + TEXT));
    code.push(0xb9);
    code.extend(word(text.len() as u32));
    code.push(0xba);
    code.extend(word(COM1.into()));
    code.extend([0xf3, 0x6e, 0xff, 0xcb, 0x75, 0xeb]);
    code.extend(then);
    code.resize(TEXT as usize, 0x90);
    code.extend(text);
    code
}
