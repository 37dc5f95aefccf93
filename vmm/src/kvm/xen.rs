//! The Xen-style transport: `vmcall`/`vmmcall` as `KVM_EXIT_XEN`.
//!
//! kvm-ioctls has no variant for this exit; it reports [`KVM_EXIT_XEN`] as unsupported, and the exit's fields are read
//! from `kvm_run` here (`Documentation/virt/kvm/api.rst`, KVM_EXIT_XEN and KVM_XEN_HVM_CONFIG).

use kvm_bindings::{
    KVM_EXIT_XEN_HCALL, KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL, KVMIO, kvm_run, kvm_xen_hvm_config,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::ioctl_with_ref;
use vmm_sys_util::ioctl_iow_nr;

use super::{KvmError, Registers};

ioctl_iow_nr!(KVM_XEN_HVM_CONFIG, KVMIO, 0x7a, kvm_xen_hvm_config);

/// MSR through which a guest could ask for a hypercall page; the number that Xen uses.
const HYPERCALL_PAGE_MSR: u32 = 0x4000_0000;

/// Sends every hypercall of the VM to user space, KVM's own included.
pub(super) fn intercept_hypercalls(vm: &VmFd) -> Result<(), KvmError> {
    let config = kvm_xen_hvm_config {
        flags: KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
        msr: HYPERCALL_PAGE_MSR,
        ..Default::default()
    };
    // SAFETY: `vm` is an open VM descriptor and `config` is the structure that this ioctl reads; it lives for the call.
    let status = unsafe { ioctl_with_ref(vm, KVM_XEN_HVM_CONFIG(), &config) };
    if status == 0 {
        Ok(())
    } else {
        Err(KvmError {
            what: "intercept hypercalls (KVM_XEN_HVM_CONFIG)",
            source: std::io::Error::last_os_error(),
        })
    }
}

/// What a Xen exit carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum XenExit {
    /// A hypercall from kernel mode of a 64-bit guest.
    Hypercall(Registers),
    /// A hypercall from user mode: to be refused.
    NotPrivileged,
    /// A hypercall from 32-bit code, or a kind of exit that was never enabled: to be refused.
    Unknown,
}

/// Reads a Xen exit out of `run`; only meaningful when the exit reason is `KVM_EXIT_XEN`.
pub(super) fn decode(run: &kvm_run) -> XenExit {
    // SAFETY: `exit_reason` is KVM_EXIT_XEN (the caller's contract), so the kernel filled `xen`; every bit pattern of
    // its integer fields is valid.
    let xen = unsafe { run.__bindgen_anon_1.xen };
    if xen.type_ != KVM_EXIT_XEN_HCALL {
        return XenExit::Unknown;
    }
    // SAFETY: `hcall` is the only member of the union, plain integers.
    let call = unsafe { xen.u.hcall };
    if call.cpl != 0 {
        return XenExit::NotPrivileged;
    }
    if call.longmode == 0 {
        return XenExit::Unknown;
    }
    let [rdi, rsi, rdx, r10, r8, r9] = call.params;
    XenExit::Hypercall(Registers { rax: call.input, rdi, rsi, rdx, r10, r8, r9, cpl: Some(0) })
}

/// Puts the answer where KVM takes it from when the vCPU runs again.
pub(super) fn complete(run: &mut kvm_run, result: i64) {
    run.__bindgen_anon_1.xen.u.hcall.result = result.cast_unsigned();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(cpl: u32, longmode: u32) -> kvm_run {
        let mut run = kvm_run::default();
        let mut xen = kvm_bindings::kvm_xen_exit { type_: KVM_EXIT_XEN_HCALL, ..Default::default() };
        xen.u.hcall.cpl = cpl;
        xen.u.hcall.longmode = longmode;
        xen.u.hcall.input = 0x746d_656d;
        xen.u.hcall.params = [1, 2, 3, 4, 5, 6];
        run.__bindgen_anon_1.xen = xen;
        run
    }

    #[test]
    fn decode_when_kernel_calls_gives_registers_in_xen_order() {
        let XenExit::Hypercall(regs) = decode(&run_with(0, 1)) else { panic!("not a hypercall") };
        let args = [regs.rax, regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        assert_eq!(args, [0x746d_656d, 1, 2, 3, 4, 5, 6]);
        assert_eq!(regs.cpl, Some(0));
    }

    #[test]
    fn decode_when_user_mode_or_32_bit_calls_refuses() {
        assert_eq!(decode(&run_with(3, 1)), XenExit::NotPrivileged);
        assert_eq!(decode(&run_with(0, 0)), XenExit::Unknown);
    }

    #[test]
    fn complete_when_negative_stores_the_two_s_complement() {
        let mut run = run_with(0, 1);
        complete(&mut run, -22);
        // SAFETY: `run_with` made `xen.u.hcall` the active member.
        assert_eq!(unsafe { run.__bindgen_anon_1.xen.u.hcall.result }, (-22i64) as u64);
    }
}
