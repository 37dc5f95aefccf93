//! Guests of a few instructions on the real `/dev/kvm`: what the KVM layer reports, and what it gives back.
//!
//! Skips, saying why, where there is no usable KVM.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may fail loudly

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use tmem_vmm::arch::cpuid::{CpuidConfig, guest_leaves};
use tmem_vmm::arch::layout::{self, RamLayout};
use tmem_vmm::arch::{gdt, paging, regs};
use tmem_vmm::kvm::{
    CpuState, Exit, ExitHandler, Registers, System, TranslateGva, Transport, Vcpu, Vm, VmConfig,
};
use tmem_vmm::memory::{Gpa, GuestRam};

const CODE: u64 = 0x10_0000;
const PORT: u16 = tmem_abi::DEFAULT_PORT;

/// Records what the guest did; hypercalls answer `rdi` negated.
#[derive(Default)]
struct Recorder {
    calls: Vec<Registers>,
    out: Vec<(u16, Vec<u8>)>,
    mmio: Vec<(u64, Vec<u8>)>,
    translated: Option<Gpa>,
}

impl ExitHandler for Recorder {
    fn pio_in(&mut self, _: u16, data: &mut [u8]) {
        data.fill(0x5a);
    }
    fn pio_out(&mut self, port: u16, data: &[u8]) {
        self.out.push((port, data.to_vec()));
    }
    fn mmio_read(&mut self, _: Gpa, data: &mut [u8]) {
        data.fill(0xa5);
    }
    fn mmio_write(&mut self, gpa: Gpa, data: &[u8]) {
        self.mmio.push((gpa.0, data.to_vec()));
    }
    fn hypercall(&mut self, regs: &Registers, gva: &dyn TranslateGva) -> i64 {
        self.calls.push(*regs);
        self.translated = gva.translate(CODE + 5);
        -(regs.rdi as i64)
    }
}

fn open() -> Option<System> {
    System::open().inspect_err(|why| println!("skipped: {why}")).ok()
}

fn machine(code: &[u8], transport: Transport) -> Option<(Vm, Vcpu, tmem_vmm::kvm::Kicker)> {
    let system = open()?;
    if transport == Transport::Xen && !system.capabilities().xen_intercept {
        println!("skipped: this KVM has no Xen hypercall intercept (KVM_CAP_XEN_HVM)");
        return None;
    }
    let ram = GuestRam::new(&RamLayout::new(16 << 20).unwrap()).unwrap();
    let words = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    ram.write(&words(&paging::boot_tables()), layout::PAGE_TABLES_START).unwrap();
    ram.write(&words(&gdt::boot_gdt()), layout::GDT_START).unwrap();
    ram.write(code, CODE).unwrap();
    let vm = Vm::new(&system, ram, VmConfig { irqchip: false, transport: Some(transport) }).unwrap();
    let config = CpuidConfig { vcpu: 0, vcpus: 1, xen_intercept: false, tsc_deadline: false, tmem: None };
    let leaves = guest_leaves(system.supported_cpuid().unwrap().as_slice(), &config);
    let (vcpu, kicker) = vm.create_vcpu(0, &leaves).unwrap();
    let sregs = regs::linux_sregs(vcpu.sregs().unwrap());
    vcpu.set_state(&CpuState { regs: regs::linux_regs(CODE), sregs }).unwrap();
    Some((vm, vcpu, kicker))
}

#[test]
fn port_hypercall_when_made_carries_registers_both_ways() {
    // mov eax,0x746d656d; mov edi,7; mov r11d,3; mov r10d,4; mov edx,port; out dx,eax; mov rdi,rax;
    // out dx,eax (rax is no call number now: nothing happens); mov eax,0x746d656d; out dx,al; hlt
    let [low, high] = PORT.to_le_bytes();
    let code = [
        0xb8, 0x6d, 0x65, 0x6d, 0x74, 0xbf, 7, 0, 0, 0, 0x41, 0xbb, 3, 0, 0, 0, 0x41, 0xba, 4, 0, 0, 0, 0xba,
        low, high, 0, 0, 0xef, 0x48, 0x89, 0xc7, 0xef, 0xb8, 0x6d, 0x65, 0x6d, 0x74, 0xee, 0xf4,
    ];
    let Some((_vm, mut vcpu, _)) = machine(&code, Transport::Port(PORT)) else { return };
    let mut seen = Recorder::default();
    assert_eq!(vcpu.run(&mut seen), Exit::Hypercall);
    assert_eq!(vcpu.run(&mut seen), Exit::PioOut, "not a call number");
    assert_eq!(vcpu.run(&mut seen), Exit::Hypercall);
    assert_eq!(vcpu.run(&mut seen), Exit::Halt);
    let first = seen.calls[0];
    assert_eq!((first.rax, first.rdi, first.rdx, first.r10, first.cpl), (0x746d_656d, 7, 3, 4, None));
    assert_eq!(seen.calls[1].rdi as i64, -7, "the first answer came back in rax");
    assert_eq!(seen.translated, Some(Gpa(CODE + 5)));
    assert_eq!(vcpu.state().unwrap().regs.rax, 7);
}

#[test]
fn xen_hypercall_when_made_carries_registers_both_ways() {
    // mov eax,38; mov edi,7; mov edx,3; vmmcall; mov rdi,rax; vmmcall; hlt
    let code = [
        0xb8, 38, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0xba, 3, 0, 0, 0, 0x0f, 0x01, 0xd9, 0x48, 0x89, 0xc7, 0x0f,
        0x01, 0xd9, 0xf4,
    ];
    let Some((_vm, mut vcpu, _)) = machine(&code, Transport::Xen) else { return };
    let mut seen = Recorder::default();
    assert_eq!(vcpu.run(&mut seen), Exit::Hypercall);
    assert_eq!(vcpu.run(&mut seen), Exit::Hypercall);
    assert_eq!(vcpu.run(&mut seen), Exit::Halt);
    assert_eq!((seen.calls[0].rax, seen.calls[0].rdx, seen.calls[0].cpl), (38, 3, Some(0)));
    assert_eq!(seen.calls[1].rdi as i64, -7);
}

#[test]
fn ports_and_registers_of_devices_when_used_reach_the_handler() {
    // in al,0x71; out 0x70,al; mov ebx,0xd0000010; mov [rbx],eax; mov eax,[rbx]; hlt
    let code = [0xe4, 0x71, 0xe6, 0x70, 0xbb, 0x10, 0, 0, 0xd0, 0x89, 0x03, 0x8b, 0x03, 0xf4];
    let Some((_vm, mut vcpu, _)) = machine(&code, Transport::Port(PORT)) else { return };
    let mut seen = Recorder::default();
    let exits: Vec<Exit> = (0..5).map(|_| vcpu.run(&mut seen)).collect();
    assert_eq!(exits, [Exit::PioIn, Exit::PioOut, Exit::MmioWrite, Exit::MmioRead, Exit::Halt]);
    assert_eq!(seen.out, [(0x70, vec![0x5a])]);
    assert_eq!((seen.mmio[0].0, seen.mmio[0].1[0]), (0xd000_0010, 0x5a));
    assert_eq!(vcpu.state().unwrap().regs.rax, 0xa5a5_a5a5);
}

#[test]
fn triple_fault_when_it_happens_is_a_shutdown_and_not_ours() {
    // ud2 with no interrupt table
    let Some((_vm, mut vcpu, _)) = machine(&[0x0f, 0x0b], Transport::Port(PORT)) else { return };
    assert_eq!(vcpu.run(&mut Recorder::default()), Exit::Shutdown);
}

#[test]
fn kick_when_the_guest_spins_makes_the_thread_look_at_what_was_stored() {
    let Some((_vm, mut vcpu, kicker)) = machine(&[0xeb, 0xfe], Transport::Port(PORT)) else { return };
    let wanted = Arc::new(AtomicU32::new(0));
    let (to_main, seen) = mpsc::channel();
    let theirs = wanted.clone();
    let thread = std::thread::spawn(move || {
        let mut last = 0;
        while last < 3 {
            assert_eq!(vcpu.run(&mut Recorder::default()), Exit::Interrupted);
            last = theirs.load(Ordering::Acquire);
            to_main.send(last).unwrap();
        }
    });
    for want in 1..=3 {
        wanted.store(want, Ordering::Release);
        kicker.kick(&thread);
        // Kicks may coalesce, and one may be noticed twice (by the flag and by the signal).
        assert!(seen.iter().any(|value| value == want));
    }
    thread.join().unwrap();
}

#[test]
fn vcpus_when_as_many_as_a_guest_may_have_can_be_made() {
    let Some(system) = open() else { return };
    let vcpus = layout::MAX_VCPUS;
    let supported = system.supported_cpuid().unwrap();
    let ram = GuestRam::new(&RamLayout::new(16 << 20).unwrap()).unwrap();
    let vm = Vm::new(&system, ram, VmConfig { irqchip: false, transport: None }).unwrap();
    let made: Vec<_> = (0..vcpus)
        .map(|vcpu| {
            let config = CpuidConfig { vcpu, vcpus, xen_intercept: false, tsc_deadline: false, tmem: None };
            vm.create_vcpu(vcpu, &guest_leaves(supported.as_slice(), &config)).unwrap()
        })
        .collect();
    assert_eq!(made.len(), 254);
}

#[test]
fn cpuid_when_the_guest_asks_names_the_hypervisor_and_no_nested_one() {
    // mov eax,1; cpuid; mov esi,ecx; mov eax,0xa; cpuid; hlt
    let code = [0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x89, 0xce, 0xb8, 0xa, 0, 0, 0, 0x0f, 0xa2, 0xf4];
    let Some((_vm, mut vcpu, _)) = machine(&code, Transport::Port(PORT)) else { return };
    assert_eq!(vcpu.run(&mut Recorder::default()), Exit::Halt);
    let regs = vcpu.state().unwrap().regs;
    let (vmx, monitor, pdcm, hypervisor) = (1 << 5, 1 << 3, 1 << 15, 1 << 31);
    assert_eq!(regs.rsi & (vmx | monitor | pdcm | hypervisor), hypervisor);
    assert_eq!((regs.rax, regs.rbx, regs.rdx), (0, 0, 0), "no performance counters");
}

#[test]
fn vcpu_when_it_halts_with_interrupts_off_is_halted_for_good_and_otherwise_is_not() {
    // nop; hlt; sti; nop; hlt
    let Some((_vm, mut vcpu, _)) = machine(&[0x90, 0xf4, 0xfb, 0x90, 0xf4], Transport::Port(PORT)) else {
        return;
    };
    assert!(!vcpu.is_halted_for_good().unwrap(), "it has not begun");
    assert_eq!(vcpu.run(&mut Recorder::default()), Exit::Halt);
    assert!(vcpu.is_halted_for_good().unwrap());
    assert_eq!(vcpu.run(&mut Recorder::default()), Exit::Halt);
    assert!(!vcpu.is_halted_for_good().unwrap(), "an interrupt could wake it");
}
