//! One virtual machine: memory slots, interrupt controllers, event descriptors, transport.

use std::sync::Arc;

use kvm_bindings::{
    CpuId, KVM_CAP_PMU_CAPABILITY, KVM_IRQCHIP_IOAPIC, KVM_PIT_SPEAKER_DUMMY, KVM_PMU_CAP_DISABLE,
    kvm_cpuid_entry2, kvm_enable_cap, kvm_irqchip, kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, VmFd};
use vmm_sys_util::eventfd::EventFd;

use super::{Kicker, KvmError, System, Vcpu, xen};
use tmem_host::Transport;

use crate::arch::layout;
use crate::memory::GuestRam;

/// An I/O APIC's redirection entry: the guest does not take the interrupt.
const IOAPIC_MASKED: u64 = 1 << 16;

/// What kind of machine to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmConfig {
    /// In-kernel interrupt controllers and timer: Linux needs them, bare guests run without (and see `hlt` exit).
    pub irqchip: bool,
    /// How hypercalls travel; `None` leaves them to KVM, for a guest without tmem.
    pub transport: Option<Transport>,
}

/// One virtual machine.
#[derive(Debug)]
pub struct Vm {
    // Declared before `ram`: the VM lets go of the memory before the memory goes.
    fd: Arc<VmFd>,
    ram: GuestRam,
    config: VmConfig,
}

/// Raises interrupts of a VM from any thread, and rings doorbells without an exit to user space.
#[derive(Clone, Debug)]
pub struct IrqLines {
    fd: Arc<VmFd>,
}

impl Vm {
    /// Makes a VM over `ram`.
    ///
    /// # Errors
    /// [`KvmError`] naming the request that KVM refused, among them a transport that this KVM lacks.
    pub fn new(system: &System, ram: GuestRam, config: VmConfig) -> Result<Self, KvmError> {
        let fd = system.kvm.create_vm().map_err(KvmError::on("create a virtual machine"))?;
        for (number, (range, host)) in ram.slots().enumerate() {
            let region = kvm_userspace_memory_region {
                slot: number as u32,
                flags: 0,
                guest_phys_addr: range.start,
                memory_size: range.end - range.start,
                userspace_addr: host,
            };
            // SAFETY: `host` is a mapping of exactly this size owned by `ram`, which this VM and each of its vCPUs keep
            // alive; the regions of a layout do not overlap.
            unsafe { fd.set_user_memory_region(region) }.map_err(KvmError::on("map guest memory"))?;
        }
        if system.capabilities().pmu_off {
            disable_counters(&fd)?;
        }
        if config.irqchip {
            create_interrupt_controllers(&fd)?;
        }
        match config.transport {
            Some(Transport::Xen) => xen::intercept_hypercalls(&fd)?,
            Some(Transport::Port(_)) if !system.capabilities().sync_regs => {
                return Err(KvmError {
                    what: "carry hypercalls through a port (KVM_CAP_SYNC_REGS is missing)",
                    source: std::io::ErrorKind::Unsupported.into(),
                });
            }
            Some(Transport::Port(_)) | None => {}
        }
        Ok(Self { fd: Arc::new(fd), ram, config })
    }

    /// The guest's RAM.
    pub fn ram(&self) -> &GuestRam {
        &self.ram
    }

    /// Makes vCPU number `index`, and the handle that interrupts it.
    ///
    /// # Errors
    /// [`KvmError`] naming the request that KVM refused.
    pub fn create_vcpu(&self, index: u32, cpuid: &[kvm_cpuid_entry2]) -> Result<(Vcpu, Kicker), KvmError> {
        let fd = self.fd.create_vcpu(u64::from(index)).map_err(KvmError::on("create a vCPU"))?;
        let (kicker, immediate_exit) = Kicker::new(&self.fd, &fd)?;
        let cpuid = CpuId::from_entries(cpuid).map_err(|_| KvmError {
            what: "take so many CPUID leaves",
            source: std::io::ErrorKind::InvalidInput.into(),
        })?;
        fd.set_cpuid2(&cpuid).map_err(KvmError::on("set a vCPU's CPUID"))?;
        let (vm, ram) = (self.fd.clone(), self.ram.clone());
        Ok((Vcpu::new(index, fd, immediate_exit, vm, ram, self.config.transport), kicker))
    }

    /// A handle for devices.
    pub fn irq_lines(&self) -> IrqLines {
        IrqLines { fd: self.fd.clone() }
    }
}

impl IrqLines {
    /// From now on, writing `event` pulses interrupt `gsi`.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn connect(&self, event: &EventFd, gsi: u32) -> Result<(), KvmError> {
        self.fd.register_irqfd(event, gsi).map_err(KvmError::on("connect an interrupt"))
    }

    /// Whether the guest takes interrupt `gsi`, as its I/O APIC says.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn is_heard(&self, gsi: u32) -> Result<bool, KvmError> {
        let mut chip = kvm_irqchip { chip_id: KVM_IRQCHIP_IOAPIC, ..Default::default() };
        self.fd.get_irqchip(&mut chip).map_err(KvmError::on("read the I/O APIC"))?;
        // SAFETY: KVM filled the part of the union that belongs to the chip that was asked for.
        let table = unsafe { chip.chip.ioapic.redirtbl };
        Ok(table.get(gsi as usize).is_some_and(|entry| {
            // SAFETY: an entry is 64 bits, whatever the guest wrote.
            let bits = unsafe { entry.bits };
            bits & IOAPIC_MASKED == 0
        }))
    }

    /// From now on, the guest's 32-bit write of `value` to `addr` signals `event` instead of leaving the kernel.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn doorbell(&self, event: &EventFd, addr: u64, value: u32) -> Result<(), KvmError> {
        self.fd
            .register_ioevent(event, &IoEventAddress::Mmio(addr), value)
            .map_err(KvmError::on("connect a doorbell"))
    }
}

/// Takes the performance counters away, which a guest could use whatever its CPUID says.
fn disable_counters(fd: &VmFd) -> Result<(), KvmError> {
    let cap = kvm_enable_cap {
        cap: KVM_CAP_PMU_CAPABILITY,
        args: [u64::from(KVM_PMU_CAP_DISABLE), 0, 0, 0],
        ..Default::default()
    };
    fd.enable_cap(&cap).map_err(KvmError::on("take performance counters away"))
}

fn create_interrupt_controllers(fd: &VmFd) -> Result<(), KvmError> {
    fd.set_identity_map_address(layout::KVM_IDENTITY_MAP_ADDR)
        .map_err(KvmError::on("place its identity map"))?;
    fd.set_tss_address(layout::KVM_TSS_ADDR as usize).map_err(KvmError::on("place its task segment"))?;
    fd.create_irq_chip().map_err(KvmError::on("create interrupt controllers"))?;
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    fd.create_pit2(pit).map_err(KvmError::on("create a timer"))
}
