//! Getting a vCPU thread out of `KVM_RUN` without a race.
//!
//! Scheme (also Firecracker's): the controller sets `immediate_exit` in `kvm_run` and signals the thread. Whether the signal arrives
//! before, during or after the entry, the next `KVM_RUN` returns `EINTR`; the vCPU clears the flag and looks at what the controller wanted.
//! Both threads write the flag, so it is an atomic, in a mapping of `kvm_run` that is used for nothing else.

use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;

use kvm_ioctls::{VcpuFd, VmFd};
use vmm_sys_util::signal::{Killable, register_signal_handler};

use super::KvmError;

/// The signal that interrupts a vCPU thread: the first that no library claims.
fn kick_signal() -> i32 {
    libc::SIGRTMIN()
}

/// The flag that makes `KVM_RUN` return at once.
#[derive(Debug)]
pub(super) struct ImmediateExit {
    flag: NonNull<AtomicU8>,
    /// Its mapping, which nothing else is read or written through.
    _map: VcpuFd,
}

// SAFETY: `flag` is read and written as an atomic only, and points into a mapping of the process that lives as long as `_map`, which is a
// descriptor and the address of that mapping and is not used.
unsafe impl Send for ImmediateExit {}
// SAFETY: as above.
unsafe impl Sync for ImmediateExit {}

impl ImmediateExit {
    fn new(vm: &VmFd, vcpu: &VcpuFd) -> Result<Self, KvmError> {
        // SAFETY: the descriptor is open, as `vcpu` owns it; dup has no other precondition.
        let fd = unsafe { libc::fcntl(vcpu.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) };
        if fd < 0 {
            return Err(KvmError { what: "duplicate a vCPU", source: std::io::Error::last_os_error() });
        }
        // SAFETY: `fd` is a fresh duplicate of a vCPU descriptor of this VM, owned by nobody else.
        let mut map = unsafe { vm.create_vcpu_from_rawfd(fd) }.map_err(KvmError::on("map a vCPU twice"))?;
        // An atomic has the size and alignment of its byte. The reference ends here, and there is no other one to this mapping.
        let flag = NonNull::from(&mut map.get_kvm_run().immediate_exit).cast();
        Ok(Self { flag, _map: map })
    }

    fn set(&self, value: u8) {
        // SAFETY: `flag` is valid as long as `_map` is, and only atomics use what it points to (besides the kernel).
        unsafe { self.flag.as_ref() }.store(value, Ordering::SeqCst);
    }

    /// Lets the next `KVM_RUN` enter the guest. What the controller wants is looked for after this, never before: else a kick in between
    /// would be lost.
    pub(super) fn clear(&self) {
        self.set(0);
        fence(Ordering::SeqCst);
    }
}

/// The controller's hold on one vCPU.
#[derive(Debug)]
pub struct Kicker(Arc<ImmediateExit>);

impl Kicker {
    pub(super) fn new(vm: &VmFd, vcpu: &VcpuFd) -> Result<(Self, Arc<ImmediateExit>), KvmError> {
        install_handler()?;
        let flag = Arc::new(ImmediateExit::new(vm, vcpu)?);
        Ok((Self(flag.clone()), flag))
    }

    /// Makes the vCPU's current or next run end with [`super::Exit::Interrupted`]. `thread` is the one that runs it.
    ///
    /// Whatever the vCPU is to find when it looks must have been stored before.
    pub fn kick<T>(&self, thread: &JoinHandle<T>) {
        fence(Ordering::SeqCst);
        self.0.set(1);
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
