//! Guests of a few instructions.

use std::time::{Duration, Instant};

use crate::arch::layout::{MIN_RAM, RamLayout};
use crate::arch::paging;
use crate::bare::{BareError, Privilege, start_state};
use crate::kvm::{Exit, ExitHandler, Registers, System, TranslateGva, Vcpu, Vm, VmConfig};
use crate::memory::{Gpa, GuestRam};

/// `cmpxchg16b [rdi]; out 0x60,al`: Linux executes the first long before user space, and no emulator of KVM's knows it.
/// (rdi is 0 at the start: the first bytes of RAM.)
pub(super) const COMPARE_EXCHANGE_16: [u8; 6] = [0x48, 0x0f, 0xc7, 0x0f, 0xe6, 0x60];

/// `mov ecx,n; dec ecx; jnz to dec; out 0x60,al`
pub(super) fn count_down(n: u32) -> [u8; 11] {
    let [a, b, c, d] = n.to_le_bytes();
    [0xb9, a, b, c, d, 0xff, 0xc9, 0x75, 0xfc, 0xe6, 0x60]
}

/// A machine with one vCPU and no devices.
pub(super) struct Tiny {
    vcpu: Vcpu,
    pub(super) vm: Vm,
}

/// A machine with interrupt controllers, its code at the kernel's level.
pub(super) fn pc(system: &System, code: &[u8]) -> Result<Tiny, BareError> {
    machine(system, code, Privilege::Kernel, true)
}

/// How long code runs up to its first exit.
pub(super) fn time(system: &System, code: &[u8], privilege: Privilege) -> Result<Duration, BareError> {
    let mut machine = machine(system, code, privilege, false)?;
    let before = Instant::now();
    match machine.run() {
        Exit::PioOut => Ok(before.elapsed()),
        exit => Err(BareError::Died(format!("{exit:?}"))),
    }
}

impl Tiny {
    /// Runs it up to its first exit.
    pub(super) fn run(&mut self) -> Exit {
        self.vcpu.run(&mut Nothing)
    }
}

fn machine(system: &System, code: &[u8], privilege: Privilege, irqchip: bool) -> Result<Tiny, BareError> {
    const CODE: u64 = tmem_bare::layout::IMAGE;
    const TABLES: u64 = tmem_bare::layout::PAGE_TABLES;
    let ram = GuestRam::new(&RamLayout::new(MIN_RAM)?)?;
    let tables = paging::identity_4gib(TABLES, privilege.access());
    ram.write(&tables.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>(), TABLES)?;
    ram.write(code, CODE)?;
    let vm = Vm::new(system, ram, VmConfig { irqchip, transport: None })?;
    let (vcpu, _) = vm.create_vcpu(0, system.supported_cpuid()?.as_slice())?;
    vcpu.set_state(&start_state(vcpu.sregs()?, CODE, 0, privilege))?;
    Ok(Tiny { vcpu, vm })
}

struct Nothing;

impl ExitHandler for Nothing {
    fn pio_in(&mut self, _: u16, _: &mut [u8]) {}
    fn pio_out(&mut self, _: u16, _: &[u8]) {}
    fn mmio_read(&mut self, _: Gpa, _: &mut [u8]) {}
    fn mmio_write(&mut self, _: Gpa, _: &[u8]) {}
    fn hypercall(&mut self, _: &Registers, _: &dyn TranslateGva) -> i64 {
        -i64::from(libc::ENOSYS)
    }
}
