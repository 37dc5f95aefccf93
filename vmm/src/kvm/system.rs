//! `/dev/kvm`: opening it, and what it can do.

use std::path::Path;

use kvm_bindings::{
    CpuId, KVM_API_VERSION, KVM_CAP_PMU_CAPABILITY, KVM_MAX_CPUID_ENTRIES, KVM_PMU_CAP_DISABLE,
    KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL,
};
use kvm_ioctls::{Cap, Kvm};
use thiserror::Error;

use super::KvmError;

/// The device node.
const DEVICE: &str = "/dev/kvm";
/// Exists while the para-virtual flavour of KVM is loaded.
const PVM_MODULE: &str = "/sys/module/kvm_pvm";

/// CPUID leaf with the sizes of addresses, and what holds where a processor does not have it.
const ADDRESS_SIZES: u32 = 0x8000_0008;
const ADDRESS_BITS: u32 = 36;

/// Why this machine's KVM cannot be used.
#[derive(Debug, Error)]
pub enum SystemError {
    /// No device node.
    #[error(
        "/dev/kvm does not exist: load the module kvm_intel or kvm_amd (modprobe), enable virtualisation in the firmware, \
         or use the emulated host (cargo xtask lab)"
    )]
    Missing,
    /// The node is there, but not for this user.
    #[error(
        "/dev/kvm may not be opened by this user: run as root, or join the group that owns it (usually kvm)"
    )]
    NotPermitted,
    /// Any other failure to open.
    #[error("/dev/kvm cannot be opened: {0}; `tmem doctor` tells what this machine can do")]
    Open(std::io::Error),
    /// Not the API that has been stable since 2007.
    #[error("/dev/kvm speaks API version {0} instead of {KVM_API_VERSION}: it is not Linux's KVM")]
    ApiVersion(i32),
    /// The flavour cannot run Linux.
    #[error(
        "this machine's KVM is kvm_pvm, on which unmodified Linux does not boot (only bare guests run): \
         use the emulated host (cargo xtask lab), or a machine with Intel or AMD virtualisation"
    )]
    Pvm,
}

/// Which KVM this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// Hardware virtualisation: runs Linux.
    Hardware,
    /// `kvm_pvm`: guest kernel code is emulated instruction by instruction, and a `vmcall` never returns.
    Pvm,
}

/// What KVM offers of the things this program uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// In-kernel PIC, I/O APIC and local APICs.
    pub irqchip: bool,
    /// In-kernel timer.
    pub pit2: bool,
    /// Interrupts through event descriptors.
    pub irqfd: bool,
    /// Doorbells through event descriptors.
    pub ioeventfd: bool,
    /// `immediate_exit`, without which a vCPU cannot be stopped reliably.
    pub immediate_exit: bool,
    /// General registers in `kvm_run`: the port transport.
    pub sync_regs: bool,
    /// Hypercalls as exits: the Xen transport.
    pub xen_intercept: bool,
    /// TSC-deadline timer in the local APIC.
    pub tsc_deadline: bool,
    /// A VM can be made without performance counters.
    pub pmu_off: bool,
    /// Most vCPUs of one VM.
    pub max_vcpus: usize,
}

/// The open `/dev/kvm`.
#[derive(Debug)]
pub struct System {
    pub(super) kvm: Kvm,
    capabilities: Capabilities,
    flavour: Flavour,
}

impl System {
    /// Opens `/dev/kvm` and asks what it can do.
    ///
    /// # Errors
    /// [`SystemError`], each saying what to do about it. [`Flavour::Pvm`] is not an error here: bare guests run on it.
    pub fn open() -> Result<Self, SystemError> {
        Self::open_at(Path::new(DEVICE))
    }

    fn open_at(path: &Path) -> Result<Self, SystemError> {
        let name =
            std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| SystemError::Missing)?;
        let kvm = Kvm::new_with_path(name.as_c_str()).map_err(|errno| match errno.errno() {
            libc::ENOENT | libc::ENXIO | libc::ENODEV => SystemError::Missing,
            libc::EACCES | libc::EPERM => SystemError::NotPermitted,
            _ => SystemError::Open(errno.into()),
        })?;
        let version = kvm.get_api_version();
        if version != KVM_API_VERSION as i32 {
            return Err(SystemError::ApiVersion(version));
        }
        let capabilities = Capabilities {
            irqchip: kvm.check_extension(Cap::Irqchip),
            pit2: kvm.check_extension(Cap::Pit2),
            irqfd: kvm.check_extension(Cap::Irqfd),
            ioeventfd: kvm.check_extension(Cap::Ioeventfd),
            immediate_exit: kvm.check_extension(Cap::ImmediateExit),
            sync_regs: kvm.check_extension_int(Cap::SyncRegs) & kvm_bindings::KVM_SYNC_X86_REGS as i32 != 0,
            xen_intercept: kvm.check_extension_int(Cap::XenHvm) & KVM_XEN_HVM_CONFIG_INTERCEPT_HCALL as i32
                != 0,
            tsc_deadline: kvm.check_extension(Cap::TscDeadlineTimer),
            pmu_off: kvm.check_extension_raw(KVM_CAP_PMU_CAPABILITY.into()) & KVM_PMU_CAP_DISABLE as i32 != 0,
            max_vcpus: kvm.get_max_vcpus(),
        };
        let flavour = if Path::new(PVM_MODULE).exists() { Flavour::Pvm } else { Flavour::Hardware };
        Ok(Self { kvm, capabilities, flavour })
    }

    /// What this KVM offers.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Which KVM this is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Answers `Ok` where unmodified Linux can run.
    ///
    /// # Errors
    /// [`SystemError::Pvm`].
    pub fn require_linux(&self) -> Result<(), SystemError> {
        match self.flavour {
            Flavour::Hardware => Ok(()),
            Flavour::Pvm => Err(SystemError::Pvm),
        }
    }

    /// Bits of the addresses that a guest's memory may have, as CPUID tells guests (leaf 0x80000008: bits 7:0 of EAX, and 23:16 where
    /// nested paging reaches less far).
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn address_bits(&self) -> Result<u32, KvmError> {
        let leaves = self.supported_cpuid()?;
        let leaf = leaves.as_slice().iter().find(|leaf| leaf.function == ADDRESS_SIZES);
        Ok(leaf.map_or(ADDRESS_BITS, |leaf| match (leaf.eax & 0xff, leaf.eax >> 16 & 0xff) {
            (processor, 0) => processor,
            (processor, guest) => processor.min(guest),
        }))
    }

    /// The CPUID leaves that KVM can give a guest.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn supported_cpuid(&self) -> Result<CpuId, KvmError> {
        self.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(KvmError::on("list its CPUID leaves"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_when_node_is_absent_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let error = System::open_at(&dir.path().join("kvm")).unwrap_err();
        assert!(matches!(error, SystemError::Missing), "{error}");
    }

    #[test]
    fn open_when_node_is_not_kvm_is_an_error_with_a_next_step() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = System::open_at(file.path()).unwrap_err();
        assert!(matches!(error, SystemError::ApiVersion(_)), "{error}");
    }

    #[test]
    fn errors_when_shown_say_what_to_do() {
        assert!(SystemError::Missing.to_string().contains("modprobe"));
        assert!(SystemError::NotPermitted.to_string().contains("group"));
        assert!(SystemError::Pvm.to_string().contains("cargo xtask lab"));
    }
}
