//! Getting a vCPU thread out of `KVM_RUN` without a race.
//!
//! Scheme (also Firecracker's): the controller maps `kvm_run` a second time, sets `immediate_exit` there and signals the
//! thread. Whether the signal arrives before, during or after the entry, the next `KVM_RUN` returns `EINTR`; the vCPU
//! clears the flag and looks at what the controller wanted.

use std::os::fd::AsRawFd;
use std::sync::Once;
use std::sync::atomic::{Ordering, fence};
use std::thread::JoinHandle;

use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::signal::{Killable, register_signal_handler};

use super::KvmError;

/// The signal that interrupts a vCPU thread: the first that no library claims.
fn kick_signal() -> i32 {
    libc::SIGRTMIN()
}

/// The controller's hold on one vCPU.
#[derive(Debug)]
pub struct Kicker {
    run: VcpuFd,
}

impl Kicker {
    pub(super) fn new(vm: &VmFd, vcpu: &VcpuFd) -> Result<Self, KvmError> {
        install_handler()?;
        // SAFETY: the descriptor is open, as `vcpu` owns it; dup has no other precondition.
        let fd = unsafe { libc::fcntl(vcpu.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
        if fd < 0 {
            return Err(KvmError { what: "duplicate a vCPU", source: std::io::Error::last_os_error() });
        }
        // SAFETY: `fd` is a fresh duplicate of a vCPU descriptor of this VM, owned by nobody else.
        let run = unsafe { vm.create_vcpu_from_rawfd(fd) }.map_err(KvmError::on("map a vCPU twice"))?;
        Ok(Self { run })
    }

    /// Makes the vCPU's current or next run end with [`super::Exit::Interrupted`]. `thread` is the one that runs it.
    ///
    /// Whatever the vCPU is to find when it looks must have been stored before.
    pub fn kick<T>(&mut self, thread: &JoinHandle<T>) {
        fence(Ordering::SeqCst);
        self.run.set_kvm_immediate_exit(1);
        fence(Ordering::SeqCst);
        // A thread that has ended already needs no signal, and that is the only way this fails.
        let _ = thread.kill(kick_signal());
    }
}

/// The signal only has to interrupt the system call.
extern "C" fn on_kick(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    fence(Ordering::Acquire);
}

fn install_handler() -> Result<(), KvmError> {
    static INSTALLED: Once = Once::new();
    let mut result = Ok(());
    INSTALLED.call_once(|| {
        result = register_signal_handler(kick_signal(), on_kick)
            .map_err(|e| KvmError { what: "install the vCPU signal", source: e.into() });
    });
    result
}
