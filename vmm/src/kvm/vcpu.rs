//! One virtual processor: its initial state, and running it one exit at a time.

use std::sync::Arc;

use kvm_bindings::{
    KVM_EXIT_XEN, KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED, Msrs, kvm_fpu,
    kvm_lapic_state, kvm_msr_entry, kvm_regs, kvm_run, kvm_sregs, kvm_xcrs,
};
use kvm_ioctls::{SyncReg, VcpuExit, VcpuFd, VmFd};

use super::kick::ImmediateExit;
use super::xen::{self, XenExit};
use super::{Exit, ExitHandler, Failure, KvmError, Registers, TranslateGva, Transport};
use crate::arch::msr;
use crate::arch::regs::{self, Entry};
use crate::memory::{Gpa, GuestRam};

/// Offset of a local vector table entry in the APIC page (Intel SDM volume 3, table 11-1).
const APIC_LVT0: usize = 0x350;
const APIC_LVT1: usize = 0x360;
/// Delivery modes of LVT entries, bits 8-10.
const MODE_NMI: u32 = 0x400;
const MODE_EXTINT: u32 = 0x700;
const MODE_MASK: u32 = 0x700;

/// The instruction that waits for an interrupt.
const HLT: u8 = 0xf4;
/// RFLAGS: maskable interrupts are taken.
const RFLAGS_IF: u64 = 1 << 9;

/// A vCPU. It belongs to one thread; [`super::Kicker`] interrupts it from others.
#[derive(Debug)]
pub struct Vcpu {
    index: u32,
    fd: VcpuFd,
    tmem_port: Option<u16>,
    immediate_exit: Arc<ImmediateExit>,
    // Interrupts by event descriptor end when the VM's own descriptor is closed, even while vCPUs are open.
    _vm: Arc<VmFd>,
    // Declared last: the VM maps the RAM until all its descriptors are closed.
    ram: GuestRam,
}

/// A vCPU's registers, for reports about a guest that died or stands still.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuState {
    /// General registers.
    pub regs: kvm_regs,
    /// System registers.
    pub sregs: kvm_sregs,
}

/// What to do once the borrow of an exit has ended.
enum After {
    Done(Exit),
    PortCall,
    XenCall,
    Internal,
    Interrupted,
}

impl Vcpu {
    pub(super) fn new(
        index: u32,
        mut fd: VcpuFd,
        immediate_exit: Arc<ImmediateExit>,
        vm: Arc<VmFd>,
        ram: GuestRam,
        transport: Option<Transport>,
    ) -> Self {
        let tmem_port = transport.and_then(Transport::port);
        if tmem_port.is_some() {
            fd.set_sync_valid_reg(SyncReg::Register);
        }
        Self { index, fd, tmem_port, immediate_exit, _vm: vm, ram }
    }

    /// The vCPU's number, which is its APIC id.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Prepares the processor as firmware would: floating point, MSRs, and the local APIC's pins (LINT0 takes the PIC's
    /// interrupts, LINT1 is NMI). Only for VMs with an interrupt controller.
    ///
    /// # Errors
    /// [`KvmError`] naming the request that KVM refused.
    pub fn init_pc(&self) -> Result<(), KvmError> {
        self.init_fpu()?;
        let entries: Vec<kvm_msr_entry> = msr::boot_msrs()
            .iter()
            .map(|&(index, data)| kvm_msr_entry { index, data, ..Default::default() })
            .collect();
        let msrs = Msrs::from_entries(&entries).map_err(|_| KvmError {
            what: "take so many MSRs",
            source: std::io::ErrorKind::InvalidInput.into(),
        })?;
        self.fd.set_msrs(&msrs).map_err(KvmError::on("set a vCPU's MSRs"))?;
        let mut lapic = self.fd.get_lapic().map_err(KvmError::on("read a local APIC"))?;
        set_delivery_mode(&mut lapic, APIC_LVT0, MODE_EXTINT);
        set_delivery_mode(&mut lapic, APIC_LVT1, MODE_NMI);
        self.fd.set_lapic(&lapic).map_err(KvmError::on("set a local APIC"))
    }

    /// Floating point as after power-on, plus the default MXCSR.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn init_fpu(&self) -> Result<(), KvmError> {
        let fpu = kvm_fpu { fcw: 0x37f, mxcsr: 0x1f80, ..Default::default() };
        self.fd.set_fpu(&fpu).map_err(KvmError::on("set a vCPU's floating point"))
    }

    /// Switches `components` of the extended state on in XCR0, as firmware may. KVM computes the sizes in CPUID leaf 0Dh from the
    /// XCR0 that it knows of, and on an emulated AMD machine (QEMU 7.2, TCG) it does not see the guest's XSETBV: Linux would
    /// find sizes that do not fit what it has just switched on.
    ///
    /// # Errors
    /// When KVM refuses, for instance a component that the vCPU's CPUID does not have.
    pub fn enable_state(&self, components: u64) -> Result<(), KvmError> {
        let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
        xcrs.xcrs[0].value = components;
        self.fd.set_xcrs(&xcrs).map_err(KvmError::on("set a vCPU's extended state"))
    }

    /// Lets this vCPU start at a kernel's entry; the others wait for it to send them start-up interrupts.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn start_at(&self, entry: Entry) -> Result<(), KvmError> {
        let sregs = regs::entry_sregs(entry, self.sregs()?);
        self.set_state(&CpuState { regs: regs::entry_regs(entry), sregs })
    }

    /// The system registers as they are, to be changed and set again.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn sregs(&self) -> Result<kvm_sregs, KvmError> {
        self.fd.get_sregs().map_err(KvmError::on("read a vCPU's system registers"))
    }

    /// All registers.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn state(&self) -> Result<CpuState, KvmError> {
        let regs = self.fd.get_regs().map_err(KvmError::on("read a vCPU's registers"))?;
        Ok(CpuState { regs, sregs: self.sregs()? })
    }

    /// Whether it sleeps and no interrupt can wake it: halted with interrupts off, or never started.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn is_halted_for_good(&self) -> Result<bool, KvmError> {
        let state = self.fd.get_mp_state().map_err(KvmError::on("tell whether a vCPU runs"))?.mp_state;
        if matches!(state, KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED) {
            return Ok(true);
        }
        let regs = self.fd.get_regs().map_err(KvmError::on("read a vCPU's registers"))?;
        // With an interrupt pending in the PIC, KVM may let a halted vCPU run from HLT to HLT.
        let halted = state == KVM_MP_STATE_HALTED || self.has_halted_at(regs.rip);
        Ok(halted && regs.rflags & RFLAGS_IF == 0)
    }

    /// Whether the instruction before `rip` is HLT.
    fn has_halted_at(&self, rip: u64) -> bool {
        let mut byte = [0];
        let gpa = Translator(&self.fd).translate(rip.wrapping_sub(1));
        gpa.is_some_and(|gpa| self.ram.read(&mut byte, gpa.0).is_ok()) && byte == [HLT]
    }

    /// Sets all registers.
    ///
    /// # Errors
    /// When KVM refuses.
    pub fn set_state(&self, state: &CpuState) -> Result<(), KvmError> {
        self.fd.set_sregs(&state.sregs).map_err(KvmError::on("set a vCPU's system registers"))?;
        self.fd.set_regs(&state.regs).map_err(KvmError::on("set a vCPU's registers"))
    }

    /// Runs the guest up to its next exit and handles that through `world`.
    pub fn run(&mut self, world: &mut impl ExitHandler) -> Exit {
        let tmem_port = self.tmem_port;
        let after = match self.fd.run() {
            Ok(VcpuExit::IoOut(port, _)) if Some(port) == tmem_port => After::PortCall,
            Ok(VcpuExit::Unsupported(KVM_EXIT_XEN)) => After::XenCall,
            Ok(VcpuExit::IoOut(port, data)) => {
                world.pio_out(port, data);
                After::Done(Exit::PioOut)
            }
            Ok(VcpuExit::IoIn(port, data)) => {
                world.pio_in(port, data);
                After::Done(Exit::PioIn)
            }
            Ok(VcpuExit::MmioRead(gpa, data)) => {
                world.mmio_read(Gpa(gpa), data);
                After::Done(Exit::MmioRead)
            }
            Ok(VcpuExit::MmioWrite(gpa, data)) => {
                world.mmio_write(Gpa(gpa), data);
                After::Done(Exit::MmioWrite)
            }
            Ok(VcpuExit::Hlt) => After::Done(Exit::Halt),
            Ok(VcpuExit::Shutdown) => After::Done(Exit::Shutdown),
            Ok(VcpuExit::Intr) => After::Interrupted,
            Ok(VcpuExit::InternalError) => After::Internal,
            Ok(VcpuExit::FailEntry(reason, _)) => After::Done(Exit::Failed(Failure::Entry { reason })),
            Ok(other) => After::Done(Exit::Failed(Failure::Unexpected(format!("{other:?}")))),
            Err(errno) if matches!(errno.errno(), libc::EINTR | libc::EAGAIN) => After::Interrupted,
            Err(errno) => After::Done(Exit::Failed(Failure::Run(errno.errno()))),
        };
        match after {
            After::Done(exit) => exit,
            After::PortCall => self.port_call(world),
            After::XenCall => self.xen_call(world),
            After::Internal => Exit::Failed(internal_error(self.fd.get_kvm_run())),
            After::Interrupted => {
                self.immediate_exit.clear();
                Exit::Interrupted
            }
        }
    }

    fn port_call(&mut self, world: &mut impl ExitHandler) -> Exit {
        let regs = self.fd.sync_regs_mut().regs;
        if regs.rax != tmem_abi::CALL_NUMBER {
            return Exit::PioOut;
        }
        let call = Registers {
            rax: regs.rax,
            rdi: regs.rdi,
            rsi: regs.rsi,
            // The instruction itself needs dx for the port.
            rdx: regs.r11,
            r10: regs.r10,
            r8: regs.r8,
            r9: regs.r9,
            cpl: None,
        };
        let result = world.hypercall(&call, &Translator(&self.fd));
        self.fd.sync_regs_mut().regs.rax = result.cast_unsigned();
        self.fd.set_sync_dirty_reg(SyncReg::Register);
        Exit::Hypercall
    }

    fn xen_call(&mut self, world: &mut impl ExitHandler) -> Exit {
        let result = match xen::decode(self.fd.get_kvm_run()) {
            XenExit::Hypercall(call) => world.hypercall(&call, &Translator(&self.fd)),
            XenExit::NotPrivileged => -i64::from(libc::EPERM),
            XenExit::Unknown => -i64::from(libc::ENOSYS),
        };
        xen::complete(self.fd.get_kvm_run(), result);
        Exit::Hypercall
    }
}

struct Translator<'a>(&'a VcpuFd);

impl TranslateGva for Translator<'_> {
    fn translate(&self, gva: u64) -> Option<Gpa> {
        let found = self.0.translate_gva(gva).ok()?;
        (found.valid != 0).then_some(Gpa(found.physical_address))
    }
}

fn set_delivery_mode(lapic: &mut kvm_lapic_state, register: usize, mode: u32) {
    if let Some((bytes, _)) = lapic.regs.get_mut(register..).and_then(|r| r.split_first_chunk_mut::<4>()) {
        let old = u32::from_le_bytes(bytes.map(i8::cast_unsigned));
        *bytes = ((old & !MODE_MASK) | mode).to_le_bytes().map(u8::cast_signed);
    }
}

fn internal_error(run: &kvm_run) -> Failure {
    // SAFETY: the exit reason is KVM_EXIT_INTERNAL_ERROR (the caller matched it), so the kernel filled `internal`, which
    // is made of plain integers.
    let internal = unsafe { run.__bindgen_anon_1.internal };
    let data = internal.data.iter().take(internal.ndata as usize).copied().collect();
    Failure::Internal { suberror: internal.suberror, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delivery_mode_when_set_keeps_the_other_bits() {
        let mut lapic = kvm_lapic_state::default();
        lapic.regs[APIC_LVT0 + 2] = 1;
        set_delivery_mode(&mut lapic, APIC_LVT0, MODE_EXTINT);
        assert_eq!(lapic.regs[APIC_LVT0..APIC_LVT0 + 4], [0, 7, 1, 0]);
    }
}
