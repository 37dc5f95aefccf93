//! What is outside of `tmem run` and slow, full or absent: nobody waits for it. Each test skips, saying why, where there is no KVM.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail loudly

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl, mkfifoat};
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::Signal;
use tmem_host::{Limits, discovery};
use tmem_vmm::arch::layout::RamLayout;
use tmem_vmm::control::{Request, ask};
use tmem_vmm::devices::console::Console;
use tmem_vmm::guest::{End, Guest, GuestReport, GuestSpec, TmemService};
use tmem_vmm::kvm::{HypercallHandler, Registers, System, TranslateGva, Transport};
use tmem_vmm::loader::LinuxImage;
use tmem_vmm::memory::GuestRam;

use common::{echo, flood, has_kvm, kernel, power_off, say, signal, spin, tmem_run};

/// Bytes of a small pipe.
const PIPE: usize = 4096;

fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// A table of a guest whose kernel has its name.
fn guest(name: &str, more: &str) -> String {
    format!("[[guest]]\nname = \"{name}\"\nkernel = \"{name}\"\nmemory = \"16M\"\n{more}\n")
}

/// Waits until `path` has this text.
fn wait_for(path: &Path, text: &str) {
    while !std::fs::read_to_string(path).is_ok_and(|all| all.contains(text)) {
        std::thread::yield_now();
    }
}

/// Waits until `a` and `b` have ended.
fn wait_for_ends(socket: &Path) {
    // A socket that is there is one that answers.
    while !socket.exists() {
        std::thread::yield_now();
    }
    let ended = |name: &str| {
        let answer = ask(socket, &Request::Thaw { guest: name.into() });
        answer.is_err_and(|why| why.to_string().contains("has ended"))
    };
    while !(ended("a") && ended("b")) {
        std::thread::yield_now();
    }
}

/// Asks it to end.
fn terminate(mut child: Child) -> Option<i32> {
    signal(&child, Signal::TERM);
    child.wait().unwrap().code()
}

/// Asks it to end until it does: the first signal stops guests, the next one gives up waiting for them, and the last one ends a program
/// that wants to say something to nobody.
fn terminate_for_good(mut child: Child) -> Option<i32> {
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        signal(&child, Signal::TERM);
        std::thread::yield_now();
    }
}

#[test]
fn guest_when_it_speaks_and_powers_off_is_heard() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    kernel(dir.path(), "kernel", &[say(b"\xc2\x9bhello\x9b\n"), power_off()].concat());
    let output = tmem_run(dir.path(), &["--kernel", "kernel", "--memory", "16M"]).output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(0), &b"\xc2\x9bhello\x9b\n"[..]),
        "a pipe gets every byte"
    );
}

#[test]
fn console_when_it_is_a_fifo_that_nobody_reads_stops_neither_guests_nor_signals() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fifo(&dir.path().join("fifo"));
    kernel(dir.path(), "a", &flood(b"nobody reads this line\n", 80, 3, &power_off()));
    kernel(dir.path(), "b", &[say(b"here\n"), power_off()].concat());
    kernel(dir.path(), "c", &[say(b"here\n"), spin()].concat());
    let toml = |last: &str| [guest("a", "console = \"fifo\""), guest(last, "console = \"log\"")].concat();
    std::fs::write(dir.path().join("ends.toml"), toml("b")).unwrap();
    std::fs::write(dir.path().join("stays.toml"), toml("c")).unwrap();
    // To an end by itself: a FIFO without a reader is not waited for.
    assert_eq!(tmem_run(dir.path(), &["ends.toml"]).status().unwrap().code(), Some(0));
    assert_eq!(std::fs::read(dir.path().join("log")).unwrap(), b"here\n");
    std::fs::remove_file(dir.path().join("log")).unwrap();
    let child = tmem_run(dir.path(), &["stays.toml"]).spawn().unwrap();
    wait_for(&dir.path().join("log"), "here");
    assert_eq!(terminate(child), Some(130));
}

#[test]
fn console_when_its_reader_is_slow_stops_no_vcpu_and_loses_nothing() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    fifo(&path);
    let last_words = [say(b"last words\n"), power_off()].concat();
    kernel(dir.path(), "a", &flood(b"nobody reads this line\n", 80, 7, &last_words));
    kernel(dir.path(), "b", &power_off());
    kernel(dir.path(), "stays", &spin());
    let toml = [guest("a", "console = \"fifo\""), guest("b", ""), guest("stays", "")].concat();
    std::fs::write(dir.path().join("guests.toml"), toml).unwrap();
    let child = tmem_run(dir.path(), &["guests.toml", "--control", "control"]).spawn().unwrap();
    let mut reader = File::open(&path).unwrap();
    fcntl_setpipe_size(&reader, PIPE).unwrap();
    // It is there and reads nothing until both have ended.
    wait_for_ends(&dir.path().join("control"));
    let expected = "nobody reads this line\n".repeat(80 * 7) + "last words\n";
    let mut text = vec![0; expected.len()];
    reader.read_exact(&mut text).unwrap();
    assert!(text == expected.as_bytes());
    assert_eq!(terminate(child), Some(130));
}

#[test]
fn output_when_nobody_reads_it_delays_no_guest_and_is_fair_afterwards() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    kernel(dir.path(), "a", &flood(b"flood flood flood\n", 100, 20, &power_off()));
    kernel(dir.path(), "b", &[say(b"one\ntwo\n"), power_off()].concat());
    kernel(dir.path(), "stays", &spin());
    let toml = [guest("a", ""), guest("b", "start-delay = 0.01"), guest("stays", "")].concat();
    std::fs::write(dir.path().join("guests.toml"), toml).unwrap();
    let (mut reader, stdout) = std::io::pipe().unwrap();
    fcntl_setpipe_size(&stdout, PIPE).unwrap();
    let child =
        tmem_run(dir.path(), &["guests.toml", "--control", "control"]).stdout(stdout).spawn().unwrap();
    wait_for_ends(&dir.path().join("control"));
    let mut text = vec![0; "a| flood flood flood\n".len() * 100 * 20 + "b| one\nb| two\n".len()];
    reader.read_exact(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(terminate(child), Some(130));
    let of = |name: &str| text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
    assert_eq!(of("b| "), ["b| one", "b| two"]);
    assert_eq!(of("a| ").len(), 100 * 20, "lines are whole and named");
    // Beside what was in the pipe and on its way, the other guest's lines wait for one turn of the flood at most.
    let before = text.find("b| one").unwrap();
    assert!(before <= PIPE + 2 * 8192, "{before} bytes of the flood before");
}

#[test]
fn errors_when_nobody_reads_them_hold_neither_reports_nor_signals() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    kernel(dir.path(), "kernel", &[say(b"here\n"), spin()].concat());
    let (_reader, mut full) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(full.as_fd()).unwrap();
    fcntl_setfl(full.as_fd(), flags | OFlags::NONBLOCK).unwrap();
    while full.write(&[b'x'; 512]).is_ok() {}
    fcntl_setfl(full.as_fd(), flags).unwrap();
    let args = ["--kernel", "kernel", "--memory", "16M", "--console", "log", "--log", "debug"];
    let child = tmem_run(dir.path(), &args).stderr(Stdio::from(full)).spawn().unwrap();
    wait_for(&dir.path().join("log"), "here");
    (0..3).for_each(|_| signal(&child, Signal::USR1));
    // What the last lines say has no reader either, and then a signal does what it does to any program.
    assert!(matches!(terminate_for_good(child), Some(130) | None));
}

#[test]
fn kernel_when_it_cannot_be_opened_for_ever_stops_neither_others_nor_signals() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fifo(&dir.path().join("a"));
    kernel(dir.path(), "b", &[say(b"here\n"), spin()].concat());
    std::fs::write(
        dir.path().join("guests.toml"),
        [guest("a", ""), guest("b", "console = \"log\"")].concat(),
    )
    .unwrap();
    let child = tmem_run(dir.path(), &["guests.toml"]).spawn().unwrap();
    wait_for(&dir.path().join("log"), "here");
    assert_eq!(terminate(child), Some(130));
}

#[test]
fn console_when_it_takes_no_output_is_told_and_a_full_one_ends_nobody() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    kernel(dir.path(), "kernel", &[say(b"x"), power_off()].concat());
    let run = |console: &str| {
        let args = ["--kernel", "kernel", "--memory", "16M", "--console", console];
        let output = tmem_run(dir.path(), &args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, text) = run("socket");
    assert_eq!(status, Some(4));
    assert!(text.contains("socket: it is a socket; give a file, a FIFO or a terminal"), "{text}");
    assert_eq!(run("/dev/full").0, Some(0));
    assert_eq!(run("/dev/null").0, Some(0));
}

#[test]
fn input_when_it_comes_through_a_pipe_arrives_whole() {
    if !has_kvm() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    kernel(dir.path(), "kernel", &echo());
    let mut child = tmem_run(dir.path(), &["--kernel", "kernel", "--memory", "16M"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // No EOT in it but the last; Ctrl-A is a byte like others.
    let sent: Vec<u8> =
        (0..5_000).map(|n| (n % 251) as u8).map(|byte| if byte == 4 { 1 } else { byte }).chain([4]).collect();
    child.stdin.take().unwrap().write_all(&sent).unwrap();
    let mut received = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut received).unwrap();
    assert!(received == sent, "{} of {}", received.len(), sent.len());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A call that does not come back before it is told to.
struct Held {
    entered: Mutex<Sender<()>>,
    release: Mutex<Receiver<()>>,
}

impl HypercallHandler for Held {
    fn hypercall(&self, _: u32, _: &Registers, _: &dyn TranslateGva) -> i64 {
        self.entered.lock().unwrap().send(()).unwrap();
        // Whoever holds it may be gone.
        let _ = self.release.lock().unwrap().recv();
        0
    }
}

#[test]
fn guest_when_a_vcpu_is_in_a_call_keeps_neither_questions_nor_a_stop_waiting() {
    let Ok(system) = System::open() else {
        println!("skipped: there is no usable KVM");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let [low, high] = tmem_abi::DEFAULT_PORT.to_le_bytes();
    // mov eax, CALL_NUMBER; mov edx, port; out dx, eax; jmp $
    let code = [0xb8, 0x6d, 0x65, 0x6d, 0x74, 0xba, low, high, 0, 0, 0xef, 0xeb, 0xfe];
    let memory = RamLayout::new(16 << 20).unwrap();
    let spec = GuestSpec {
        name: "a".into(),
        image: LinuxImage {
            kernel: kernel(dir.path(), "kernel", &code),
            initrd: None,
            cmdline: String::new(),
        },
        memory,
        vcpus: 1,
        disks: vec![],
        balloon: None,
    };
    let ((entered, in_call), (let_go, release), (ended, end)) = (channel(), channel(), channel());
    let transport = Transport::Port(tmem_abi::DEFAULT_PORT);
    let service = TmemService {
        handler: Arc::new(Held { entered: Mutex::new(entered), release: Mutex::new(release) }),
        discovery: discovery(transport, &Limits::default()),
        transport,
    };
    let ram = GuestRam::new(&spec.memory).unwrap();
    let (console, _unwritten) = Console::open(&dir.path().join("log")).unwrap();
    let on_end = move |report: GuestReport| ended.send(report.end).unwrap();
    let guest = Guest::start(&system, &spec, vec![], &ram, Some(&service), console, on_end).unwrap();
    in_call.recv().unwrap();
    std::thread::scope(|scope| {
        let (guest, (to, answers)) = (&guest, channel());
        for to in [to.clone(), to] {
            scope.spawn(move || to.send(guest.snapshot()).unwrap());
        }
        // The later question is taken while the earlier one waits, and replaces it.
        assert_eq!(answers.recv().unwrap(), None);
        let_go.send(()).unwrap();
        assert!(answers.recv().unwrap().is_some_and(|snapshot| snapshot.vcpus.iter().all(Option::is_some)));
    });
    guest.stop();
    assert_eq!(end.recv().unwrap(), End::Stopped);
}
