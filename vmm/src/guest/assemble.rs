//! Builds a guest's machine: memory, VM, devices, vCPUs, kernel.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;

use super::outcome::{BalloonReport, DiskReport};
use super::run::Event;
use super::spec::{GuestSpec, TmemService};
use crate::arch::acpi::AcpiConfig;
use crate::arch::cpuid::{CpuidConfig, guest_leaves, state_components};
use crate::arch::layout;
use crate::devices::bus::Bus;
use crate::devices::console::Console;
use crate::devices::power::{KeyboardController, PanicRegister, PowerButton, PowerRegisters, ResetBit};
use crate::devices::serial::SerialPort;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::balloon::{Balloon, BalloonCounters};
use crate::devices::virtio::block::{Block, ResizeError};
use crate::devices::virtio::mmio::{MmioTransport, NOTIFY_OFFSET};
use crate::disk::Image;
use crate::kvm::{IrqLines, Kicker, KvmError, System, SystemError, Transport, Vcpu, Vm, VmConfig};
use crate::loader::{LoadError, load_kernel};
use crate::memory::{GuestRam, PAGE_SIZE};

/// Why a guest could not be started.
#[derive(Debug, Error)]
pub enum GuestError {
    /// This machine cannot run Linux guests.
    #[error(transparent)]
    System(#[from] SystemError),
    /// Something about its kernel, ramdisk or command line.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The host does not tell a disk's size.
    #[error("disk {}: {source}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// KVM refused.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The host is out of descriptors or threads.
    #[error("the host cannot provide {what}: {source}; raise its limits (ulimit -n, ulimit -u)")]
    Host {
        /// What is missing.
        what: &'static str,
        /// The host's answer.
        #[source]
        source: io::Error,
    },
    /// An impossible number of vCPUs.
    #[error("{asked} vCPUs: a guest may have 1 to {most}")]
    Vcpus {
        /// How many were asked for.
        asked: u32,
        /// How many this machine and this program can do.
        most: u32,
    },
    /// An impossible number of devices.
    #[error("{asked} disks and balloons: a guest may have at most {most}", most = layout::MAX_VIRTIO_DEVICES)]
    Devices {
        /// How many were asked for.
        asked: usize,
    },
}

impl GuestError {
    pub(super) fn host(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Host { what, source }
    }
}

/// One disk as the guest's owner sees it.
pub(super) struct Disk {
    pub(super) transport: Arc<MmioTransport>,
    pub(super) block: Arc<Block>,
}

/// The balloon as the guest's owner sees it.
pub(super) struct Ballooned {
    pub(super) transport: Arc<MmioTransport>,
    pub(super) counters: Arc<BalloonCounters>,
    pub(super) ram: GuestRam,
}

/// The power button as the guest's owner sees it.
pub(super) struct Button {
    button: PowerButton,
    irqs: IrqLines,
}

impl Button {
    /// Presses it if the guest would notice; whether it does.
    pub(super) fn press(&self) -> Result<bool, KvmError> {
        let heard = self.irqs.is_heard(layout::POWER_BUTTON_GSI)?;
        if heard {
            self.button.press();
        }
        Ok(heard)
    }
}

/// A guest ready to run.
pub(super) struct Machine {
    pub(super) vcpus: Vec<(Vcpu, Kicker)>,
    pub(super) ports: Bus,
    pub(super) mmio: Bus,
    pub(super) serial: Arc<SerialPort<Console>>,
    pub(super) disks: Vec<Arc<Disk>>,
    pub(super) balloon: Option<Arc<Ballooned>>,
    pub(super) button: Arc<Button>,
}

/// Assembles the machine that `spec` describes over `ram`, with `images` as its disks; power events go to `events`.
pub(super) fn assemble(
    system: &System,
    spec: &GuestSpec,
    images: Vec<Image>,
    ram: &GuestRam,
    tmem: Option<&TmemService>,
    console: &Console,
    events: &Sender<Event>,
) -> Result<Machine, GuestError> {
    let most = layout::MAX_VCPUS.min(u32::try_from(system.capabilities().max_vcpus).unwrap_or(u32::MAX));
    if spec.vcpus == 0 || spec.vcpus > most {
        return Err(GuestError::Vcpus { asked: spec.vcpus, most });
    }
    let devices = images.len() + usize::from(spec.balloon.is_some());
    if devices > layout::MAX_VIRTIO_DEVICES {
        return Err(GuestError::Devices { asked: devices });
    }
    let acpi = AcpiConfig { vcpus: spec.vcpus, virtio_devices: devices };
    let entry = load_kernel(ram, &spec.memory, &spec.image, &acpi)?;
    let config = VmConfig { irqchip: true, transport: tmem.map(|t| t.transport) };
    let vm = Vm::new(system, ram.clone(), config)?;
    let irqs = vm.irq_lines();

    let mut ports = Bus::default();
    let com1 = event()?;
    irqs.connect(&com1, layout::COM1_GSI)?;
    let serial = Arc::new(SerialPort::new(com1, console.clone()));
    ports.insert(port_range(layout::COM1_PORTS), serial.clone());
    insert_power(&mut ports, events);
    let pressed = event()?;
    irqs.connect(&pressed, layout::POWER_BUTTON_GSI)?;
    let button = Arc::new(Button { button: PowerButton::new(pressed), irqs: irqs.clone() });

    let mut mmio = Bus::default();
    let mut disks = Vec::new();
    for (index, image) in images.into_iter().enumerate() {
        let path = image.path().to_owned();
        let block = Block::new(image, &spec.disk_id(index), spec.disk_queues(index))
            .map_err(|source| GuestError::Disk { path, source })?;
        let block = Arc::new(block);
        let transport = attach(&irqs, &mut mmio, ram, index, block.clone())?;
        disks.push(Arc::new(Disk { transport, block }));
    }
    // Behind the disks, whose names the guest gives by order.
    let balloon = match spec.balloon {
        Some(target) => Some(Arc::new(inflate(&irqs, &mut mmio, ram, disks.len(), target)?)),
        None => None,
    };
    let vcpus = create_vcpus(system, &vm, spec.vcpus, tmem)?;
    if let Some((boot, _)) = vcpus.first() {
        boot.start_at(entry)?;
    }
    Ok(Machine { vcpus, ports, mmio, serial, disks, balloon, button })
}

/// Every register through which a guest ends itself.
fn insert_power(ports: &mut Bus, events: &Sender<Event>) {
    let to = || events.clone();
    let keyboard = KeyboardController::new(to(), Event::Power);
    ports.insert(port_range(layout::I8042_PORTS), Arc::new(keyboard));
    let registers = PowerRegisters::new(to(), Event::Power);
    ports.insert(port_range(layout::POWER_PORTS), Arc::new(registers));
    for (port, bit) in [(layout::RESET_CONTROL_PORT, 2), (layout::SYSTEM_CONTROL_PORT, 0)] {
        ports.insert(one_port(port), Arc::new(ResetBit::new(bit, to(), Event::Power)));
    }
    ports.insert(one_port(layout::PANIC_PORT), Arc::new(PanicRegister::new(to(), Event::Power)));
}

fn event() -> Result<EventFd, GuestError> {
    EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).map_err(GuestError::host("an event descriptor"))
}

fn port_range(ports: std::ops::Range<u16>) -> std::ops::Range<u64> {
    u64::from(ports.start)..u64::from(ports.end)
}

fn one_port(port: u16) -> std::ops::Range<u64> {
    port_range(port..port + 1)
}

fn attach(
    irqs: &IrqLines,
    mmio: &mut Bus,
    ram: &GuestRam,
    index: usize,
    device: Arc<dyn VirtioDevice>,
) -> Result<Arc<MmioTransport>, GuestError> {
    let irq = event()?;
    irqs.connect(&irq, layout::virtio_gsi(index))?;
    let transport =
        MmioTransport::new(device, ram.clone(), irq).map_err(GuestError::host("an event descriptor"))?;
    let addr = layout::virtio_mmio_addr(index);
    for (queue, doorbell) in transport.doorbells().iter().enumerate() {
        irqs.doorbell(doorbell, addr + NOTIFY_OFFSET, queue as u32)?;
    }
    let transport = Arc::new(transport);
    mmio.insert(addr..addr + layout::VIRTIO_MMIO_SIZE, transport.clone());
    Ok(transport)
}

fn inflate(
    irqs: &IrqLines,
    mmio: &mut Bus,
    ram: &GuestRam,
    index: usize,
    target: u64,
) -> Result<Ballooned, GuestError> {
    let balloon = Balloon::new(ram.clone(), pages(target));
    let counters = balloon.counters();
    let transport = attach(irqs, mmio, ram, index, Arc::new(balloon))?;
    Ok(Ballooned { transport, counters, ram: ram.clone() })
}

/// 16 TiB of pages, more than any guest's RAM, fit in 32 bits.
fn pages(bytes: u64) -> u32 {
    u32::try_from(bytes / PAGE_SIZE as u64).unwrap_or(u32::MAX)
}

impl Disk {
    /// Gives it another size (see [`Block::resize`]), and tells the guest.
    pub(super) fn resize(&self, bytes: Option<u64>) -> Result<(), ResizeError> {
        self.block.resize(bytes)?;
        self.transport.config_changed();
        Ok(())
    }

    /// What the guest asked of it until now.
    pub(super) fn report(&self) -> DiskReport {
        DiskReport::new(&self.block, self.block.medium().path().display().to_string())
    }
}

impl Ballooned {
    /// Wants so many bytes in it from now on, and tells the guest, which does it in its own time.
    pub(super) fn set_target(&self, bytes: u64) {
        self.counters.set_target(pages(bytes));
        self.transport.config_changed();
    }

    /// What it has done until now. What the guest holds is not looked up, which takes time for a large one.
    pub(super) fn report(&self) -> BalloonReport {
        BalloonReport::new(&self.counters, None)
    }

    /// The same, and what the guest holds.
    pub(super) fn last_report(&self) -> BalloonReport {
        BalloonReport::new(&self.counters, self.ram.resident_bytes())
    }
}

fn create_vcpus(
    system: &System,
    vm: &Vm,
    count: u32,
    tmem: Option<&TmemService>,
) -> Result<Vec<(Vcpu, Kicker)>, GuestError> {
    let supported = system.supported_cpuid()?;
    let mut vcpus = Vec::new();
    for vcpu in 0..count {
        let config = CpuidConfig {
            vcpu,
            vcpus: count,
            xen_intercept: tmem.is_some_and(|t| t.transport == Transport::Xen),
            tsc_deadline: system.capabilities().tsc_deadline,
            tmem: tmem.map(|t| t.discovery),
        };
        let leaves = guest_leaves(supported.as_slice(), &config);
        let pair = vm.create_vcpu(vcpu, &leaves)?;
        pair.0.init_pc()?;
        match state_components(&leaves) {
            0 => {}
            components => pair.0.enable_state(components)?,
        }
        vcpus.push(pair);
    }
    Ok(vcpus)
}
