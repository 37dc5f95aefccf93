//! The emulator: its command line, its process and the streams to it.
//!
//! One emulated CPU, always: with two, the host kernel or its guests hang or panic in up to one run of six (measured; see
//! the README beside this crate).

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

use crate::command;

use super::host_init::{CONTROL_PORT, FILES_PORT, OUTPUT_PORT};

/// The program, from Debian's package qemu-system-x86.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// The stock host kernel's command line. `panic=-1` turns a panic into a reboot and `-no-reboot` that into an exit, so that
/// a dead host ends the run at once. `loglevel=6` shows a slow boot's progress to the watch. Mitigations and address
/// randomisation cost emulated instructions and protect nobody here; without the latter, registers name symbols. On a busy machine
/// the emulator's timer may not tick while the kernel counts whether it does, and without `no_timer_check` that is a panic.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 loglevel=6 panic=-1 mitigations=off nokaslr no_timer_check";

/// How long a write to the emulator may block.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// A stream from the emulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// The host kernel's serial console.
    Console,
    /// The command's output.
    Output,
    /// Signed lines from the init.
    Control,
    /// QEMU's human monitor.
    Monitor,
    /// QEMU's own standard error; its end is QEMU's end.
    Stderr,
}

const SOCKETS: [Channel; 4] = [Channel::Console, Channel::Output, Channel::Control, Channel::Monitor];

impl Channel {
    fn name(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Output => "output",
            Self::Control => "control",
            Self::Monitor => "monitor",
            Self::Stderr => "stderr",
        }
    }
}

/// What the reader threads report.
#[derive(Debug)]
pub(super) enum Event {
    /// A channel is connected; writes to it can start.
    Connected(Channel, UnixStream),
    /// Bytes arrived.
    Bytes(Channel, Vec<u8>),
    /// A channel has ended.
    Closed(Channel),
}

/// The machine to emulate.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    /// The host kernel, a bzImage.
    pub(super) kernel: &'a Path,
    /// Its initramfs.
    pub(super) initrd: &'a Path,
    /// Its memory in MiB.
    pub(super) memory_mib: u32,
    /// Folder for the sockets; its path is short, a socket's may have 107 bytes.
    pub(super) sockets: &'a Path,
    /// File that receives the bytes of the file port.
    pub(super) files: &'a Path,
}

impl Machine<'_> {
    fn socket(&self, channel: Channel) -> PathBuf {
        self.sockets.join(channel.name())
    }

    fn chardev(&self, channel: Channel) -> OsString {
        // A comma in a QEMU option is written twice.
        let path = self.socket(channel).display().to_string().replace(',', ",,");
        format!("socket,id={},path={path}", channel.name()).into()
    }

    /// QEMU's arguments.
    fn arguments(&self) -> Vec<OsString> {
        let files = self.files.display().to_string().replace(',', ",,");
        let mut arguments: Vec<OsString> = [
            "-accel",
            "tcg",
            "-cpu",
            "EPYC,+svm,+npt",
            "-smp",
            "1",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
            "-nic",
            "none",
            "-no-user-config",
            "-append",
            KERNEL_COMMAND_LINE,
        ]
        .map(OsString::from)
        .to_vec();
        arguments.extend(["-m".into(), format!("{}M", self.memory_mib).into()]);
        arguments.extend(["-kernel".into(), self.kernel.into(), "-initrd".into(), self.initrd.into()]);
        for channel in SOCKETS {
            arguments.extend(["-chardev".into(), self.chardev(channel)]);
        }
        arguments.extend(["-chardev".into(), format!("file,id=files,path={files}").into()]);
        arguments.extend(["-serial".into(), "chardev:console".into()]);
        arguments.extend(["-mon".into(), "chardev=monitor,mode=readline".into()]);
        arguments.extend(["-device".into(), "virtio-serial-pci".into()]);
        for (chardev, port) in [("output", OUTPUT_PORT), ("control", CONTROL_PORT), ("files", FILES_PORT)] {
            arguments
                .extend(["-device".into(), format!("virtserialport,chardev={chardev},name={port}").into()]);
        }
        arguments
    }

    /// Starts QEMU; every byte from it goes to `events`.
    pub(super) fn start(&self, events: &Sender<Event>) -> std::io::Result<Emulator> {
        let listeners = SOCKETS
            .iter()
            .map(|&channel| Ok((channel, UnixListener::bind(self.socket(channel))?)))
            .collect::<std::io::Result<Vec<_>>>()?;
        let mut child = command::dying_with_us(PROGRAM)
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        for (channel, listener) in listeners {
            let events = events.clone();
            thread::spawn(move || {
                match listener.accept().and_then(|(one, _)| {
                    // A host that no longer reads must not stop the watch.
                    one.set_write_timeout(Some(PATIENCE))?;
                    Ok((one.try_clone()?, one))
                }) {
                    Ok((writer, reader)) => {
                        // The receiver is gone only when the run is over: nothing is left to tell it.
                        let _ = events.send(Event::Connected(channel, writer));
                        forward(channel, reader, &events);
                    }
                    Err(_) => drop(events.send(Event::Closed(channel))),
                }
            });
        }
        if let Some(stderr) = child.stderr.take() {
            let events = events.clone();
            thread::spawn(move || forward(Channel::Stderr, stderr, &events));
        }
        Ok(Emulator { child, sockets: SOCKETS.map(|channel| self.socket(channel)) })
    }
}

/// What the emulator calls itself, for reports.
pub(crate) fn version() -> String {
    let said = command::stdout_of(Command::new(PROGRAM).arg("--version")).unwrap_or_default();
    said.lines().next().unwrap_or("unknown").to_owned()
}

fn forward(channel: Channel, mut from: impl Read, events: &Sender<Event>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let bytes = buffer.get(..length).unwrap_or_default().to_vec();
                if events.send(Event::Bytes(channel, bytes)).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = events.send(Event::Closed(channel));
}

/// A running QEMU. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Emulator {
    child: Child,
    sockets: [PathBuf; 4],
}

impl Emulator {
    /// Ends QEMU at once.
    pub(super) fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
    }

    /// Waits for QEMU and releases readers of channels that it never connected.
    pub(super) fn wait(&mut self) -> std::io::Result<ExitStatus> {
        let status = self.child.wait()?;
        for socket in &self.sockets {
            drop(UnixStream::connect(socket));
        }
        Ok(status)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.kill();
        let _ = self.wait();
    }
}

/// Writes a line to a channel; tells whether it went. A channel that has gone away is noticed by its reader.
pub(super) fn write_line(stream: Option<&UnixStream>, line: &str) -> bool {
    stream.is_some_and(|mut stream| stream.write_all(format!("{line}\n").as_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> String {
        let machine = Machine {
            kernel: Path::new("/k"),
            initrd: Path::new("/i"),
            memory_mib: 3072,
            sockets: Path::new("/s,x"),
            files: Path::new("/f"),
        };
        let words: Vec<_> =
            machine.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn the_emulated_host_has_one_cpu_with_svm() {
        let text = arguments();
        assert!(text.contains("-smp 1 "));
        assert!(text.contains("-cpu EPYC,+svm,+npt"));
        assert!(text.contains("-m 3072M"));
    }

    #[test]
    fn commas_in_paths_are_doubled() {
        assert!(arguments().contains("path=/s,,x/console"));
    }
}
