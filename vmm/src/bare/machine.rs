//! One bare guest before it runs: RAM with tables and payload, vCPUs at its entry, a client of the store.

use std::io::Cursor;
use std::sync::Arc;

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_sregs};
use linux_loader::loader::{Elf, KernelLoader};
use tmem_abi::{CPUID_BASE_FIRST, Discovery};
use tmem_bare::boot::{BootInfo, Want};
use tmem_bare::layout;
use tmem_core::{Client, ClientConfig, Store};
use tmem_host::{Dispatcher, Limits, discovery};

use super::{BareError, Payload};
use crate::arch::cpuid::{CpuidConfig, guest_leaves};
use crate::arch::layout::{MIN_RAM, MMIO_HOLE, RamLayout};
use crate::arch::{gdt, paging, regs};
use crate::kvm::{CpuState, Flavour, Kicker, System, Transport, Vcpu, Vm, VmConfig};
use crate::memory::GuestRam;
use crate::tmem::TmemHandler;

/// CR0: monitor coprocessor; with EM clear and CR4.OSFXSR set, SSE instructions work (Intel SDM volume 3, 14.1).
const CR0_MP: u64 = 1 << 1;
const CR0_EM: u64 = 1 << 2;
/// CR4: the system saves SSE state, and takes its exceptions.
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// RFLAGS: the bit that is always set, and I/O privilege level 3.
const RFLAGS_FIXED: u64 = 1 << 1;
const RFLAGS_IOPL_3: u64 = 3 << 12;

/// At which level the payload's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Level 0, as a kernel.
    Kernel,
    /// Level 3 with I/O privilege level 3: the ports may be used, nothing else that is privileged.
    User,
}

impl Privilege {
    /// The level at which guest code runs at full speed on this KVM: `kvm_pvm` emulates level 0.
    pub fn native(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Hardware => Self::Kernel,
            Flavour::Pvm => Self::User,
        }
    }

    /// Who may use the page tables of such code.
    pub(crate) fn access(self) -> paging::Access {
        match self {
            Self::Kernel => paging::Access::Supervisor,
            Self::User => paging::Access::User,
        }
    }

    fn level(self) -> u16 {
        match self {
            Self::Kernel => 0,
            Self::User => 3,
        }
    }
}

/// What guest to make.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// What it runs.
    pub payload: Payload,
    /// How many vCPUs run it, 1 to 64.
    pub vcpus: u32,
    /// How its hypercalls travel.
    pub transport: Transport,
    /// At which level it runs.
    pub privilege: Privilege,
    /// Where its random numbers start.
    pub seed: u64,
    /// Parameters of the payload.
    pub parameters: [u64; 4],
    /// Its limits in the store.
    pub client: ClientConfig,
}

/// A bare guest that is ready to run.
#[derive(Debug)]
pub struct Machine {
    pub(super) name: String,
    pub(super) ram: GuestRam,
    pub(super) vcpus: Vec<(Vcpu, Kicker)>,
    pub(super) tmem: Arc<TmemHandler>,
    pub(super) vm: Vm,
}

impl Machine {
    /// Makes a guest that is a new client of `store`.
    ///
    /// # Errors
    /// [`BareError`] says what this host lacks.
    pub fn new(system: &System, store: &Arc<Store>, config: MachineConfig) -> Result<Self, BareError> {
        if config.vcpus == 0 || config.vcpus > layout::MAX_VCPUS {
            return Err(BareError::Vcpus { asked: config.vcpus });
        }
        let ram_bytes = layout::ram_bytes(config.vcpus).max(MIN_RAM);
        let ram = GuestRam::new(&RamLayout::new(ram_bytes)?)?;
        let vm =
            Vm::new(system, ram.clone(), VmConfig { irqchip: false, transport: Some(config.transport) })?;
        let limits = Limits { max_pools: config.client.max_pools, ..Limits::default() };
        let announced = discovery(config.transport, &limits);
        let entry = load(&ram, &config, &announced, ram_bytes)?;
        let supported = system.supported_cpuid()?;
        let mut vcpus = Vec::new();
        for index in 0..config.vcpus {
            let cpuid = CpuidConfig {
                vcpu: index,
                vcpus: config.vcpus,
                xen_intercept: config.transport == Transport::Xen,
                tsc_deadline: false,
                tmem: Some(announced),
            };
            let (vcpu, kicker) = vm.create_vcpu(index, &guest_leaves(supported.as_slice(), &cpuid))?;
            vcpu.set_state(&start_state(vcpu.sregs()?, entry, index, config.privilege))?;
            vcpus.push((vcpu, kicker));
        }
        let name = config.client.name.clone();
        let client = store.add_client(config.client)?;
        let dispatcher = Dispatcher::new(client, config.vcpus, limits);
        let tmem = Arc::new(TmemHandler::new(dispatcher, ram.clone()));
        Ok(Self { name, ram, vcpus, tmem, vm })
    }

    /// The guest's client, for the host's switches.
    pub fn client(&self) -> &Client {
        self.tmem.dispatcher().client()
    }
}

/// Writes page tables, boot information and payload into RAM; returns the payload's entry.
fn load(
    ram: &GuestRam,
    config: &MachineConfig,
    announced: &Discovery,
    ram_bytes: u64,
) -> Result<u64, BareError> {
    let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let tables = paging::identity_4gib(layout::PAGE_TABLES, config.privilege.access());
    ram.write(&bytes(&tables), layout::PAGE_TABLES)?;
    let info = BootInfo {
        vcpus: config.vcpus,
        ram_bytes,
        hole: MMIO_HOLE.start,
        seed: config.seed,
        transport: match config.transport {
            Transport::Xen => Want::Hypercall,
            Transport::Port(_) => Want::Port,
        },
        announced: announced.leaves(CPUID_BASE_FIRST),
        parameters: config.parameters,
    };
    ram.write(&bytes(&info.to_words()), layout::BOOT_INFO)?;
    let mut image = Cursor::new(config.payload.image());
    let loaded = Elf::load(ram.mmap(), None, &mut image, None)
        .map_err(|source| BareError::Image { payload: config.payload, source })?;
    Ok(loaded.kernel_load.0)
}

/// The state in which a vCPU starts at `entry`; `sregs` is what KVM has made.
pub(crate) fn start_state(sregs: kvm_sregs, entry: u64, vcpu: u32, privilege: Privilege) -> CpuState {
    CpuState { regs: registers(entry, vcpu, privilege), sregs: system_registers(sregs, privilege) }
}

fn registers(entry: u64, vcpu: u32, privilege: Privilege) -> kvm_regs {
    kvm_regs {
        rip: entry,
        rdi: u64::from(vcpu),
        rsp: layout::stack_pointer(vcpu),
        rflags: RFLAGS_FIXED | if privilege == Privilege::User { RFLAGS_IOPL_3 } else { 0 },
        ..Default::default()
    }
}

fn system_registers(mut sregs: kvm_sregs, privilege: Privilege) -> kvm_sregs {
    let level = privilege.level();
    let data = gdt::DATA.with_dpl(level).segment(gdt::BOOT_DS | level);
    sregs.cs = gdt::CODE_64.with_dpl(level).segment(gdt::BOOT_CS | level);
    sregs.ds = data;
    sregs.es = data;
    sregs.fs = data;
    sregs.gs = data;
    sregs.ss = data;
    sregs.tr = gdt::TSS.segment(gdt::BOOT_TSS);
    // No tables: the payload takes no interrupt and loads no segment, and an exception is the end of it.
    sregs.gdt = kvm_dtable::default();
    sregs.idt = kvm_dtable::default();
    regs::enter_long_mode(&mut sregs, layout::PAGE_TABLES);
    sregs.cr0 = (sregs.cr0 | CR0_MP) & !CR0_EM;
    sregs.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
    sregs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Gpa;

    fn config(payload: Payload, privilege: Privilege) -> MachineConfig {
        MachineConfig {
            payload,
            vcpus: 2,
            transport: Transport::Port(tmem_abi::DEFAULT_PORT),
            privilege,
            seed: 1,
            parameters: [0; 4],
            client: ClientConfig::default(),
        }
    }

    #[test]
    fn every_payload_loads_where_the_layout_says_and_clears_the_stacks() {
        for payload in [Payload::Selftest, Payload::Bench, Payload::Hostile] {
            let bytes = layout::ram_bytes(2);
            let ram = GuestRam::new(&RamLayout::new(bytes).unwrap()).unwrap();
            let config = config(payload, Privilege::Kernel);
            let announced = discovery(config.transport, &Limits::default());
            let entry = load(&ram, &config, &announced, bytes).unwrap();
            assert!((layout::IMAGE..layout::STACKS).contains(&entry));
            let mut code = [0; 4096];
            ram.page(Gpa(layout::IMAGE)).unwrap().copy_to(&mut code);
            assert_ne!(code, [0; 4096]);
            ram.page(Gpa(layout::STACKS)).unwrap().copy_to(&mut code);
            assert_eq!(code, [0; 4096]);
        }
    }

    #[test]
    fn user_level_has_user_segments_and_may_use_ports() {
        let sregs = system_registers(kvm_sregs::default(), Privilege::User);
        assert_eq!((sregs.cs.dpl, sregs.cs.selector & 3, sregs.ss.dpl), (3, 3, 3));
        assert_eq!(registers(0, 0, Privilege::User).rflags, 0x3002);
        assert_eq!(registers(0, 0, Privilege::Kernel).rflags, 2);
    }
}
