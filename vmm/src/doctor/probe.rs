//! The trials, as they run inside a child process.

use std::process::Command;
use std::time::Duration;

use clap::ValueEnum;
use vmm_sys_util::eventfd::EventFd;

use super::{Ability, tiny};
use crate::arch::layout;
use crate::bare::{BareError, BenchConfig, Privilege, Setting, bench};
use crate::kvm::{Exit, System, Transport};

/// Iterations of the loop that is timed: microseconds where it runs at full speed, tens of milliseconds where each
/// instruction is emulated (0.6 microseconds each on `kvm_pvm`).
const LOOP: u32 = 20_000;
/// Code at the kernel's level counts as emulated when it is this many times slower than the same code at user level.
const EMULATED: f64 = 20.0;

/// Something to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Probe {
    /// Whether code at the kernel's level runs as fast as at user level.
    Speed,
    /// A bare guest at the kernel's level, calling through the port.
    BareKernel,
    /// A bare guest at user level, calling through the port.
    BareUser,
    /// A bare guest that calls through the hypercall instruction.
    Hypercall,
    /// A machine as Linux needs it, and an instruction that only real virtualisation executes.
    LinuxMachine,
    /// The emulator of the lab.
    Qemu,
}

impl Probe {
    /// As the command line names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::BareKernel => "bare-kernel",
            Self::BareUser => "bare-user",
            Self::Hypercall => "hypercall",
            Self::LinuxMachine => "linux-machine",
            Self::Qemu => "qemu",
        }
    }

    /// What to do when a trial comes to no answer.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Hypercall => "use the port (--transport port)",
            Self::Qemu => "install it again (cargo xtask setup)",
            _ => "use the emulated host (cargo xtask lab), or a machine with Intel or AMD virtualisation",
        }
    }
}

/// Tries it in this process, which may hang.
pub fn try_here(probe: Probe) -> Ability {
    let found = match probe {
        Probe::Speed => speed(),
        Probe::BareKernel => bare(Transport::Port(tmem_abi::DEFAULT_PORT), Privilege::Kernel),
        Probe::BareUser => bare(Transport::Port(tmem_abi::DEFAULT_PORT), Privilege::User),
        Probe::Hypercall => bare(Transport::Xen, Privilege::Kernel),
        Probe::LinuxMachine => linux_machine(),
        Probe::Qemu => Ok(qemu()),
    };
    found.unwrap_or_else(|error| Ability::no(error.to_string()))
}

fn speed() -> Result<Ability, BareError> {
    let system = System::open()?;
    // The best of three: others use the machine too.
    let best = |privilege| -> Result<Duration, BareError> {
        let times: Result<Vec<Duration>, BareError> =
            (0..3).map(|_| tiny::time(&system, &tiny::count_down(LOOP), privilege)).collect();
        Ok(times?.into_iter().min().unwrap_or_default())
    };
    let (kernel, user) = (best(Privilege::Kernel)?, best(Privilege::User)?);
    let ratio = kernel.as_secs_f64() / user.as_secs_f64().max(1e-9);
    Ok(if ratio < EMULATED {
        Ability::yes(format!(
            "guest code at the kernel's level runs at full speed ({ratio:.1} times user level)"
        ))
    } else {
        Ability::no(format!(
            "guest code at the kernel's level takes {ratio:.0} times as long as at user level: it is emulated"
        ))
    })
}

/// A tenth of a second of the benchmark, which compares every page.
fn bare(transport: Transport, privilege: Privilege) -> Result<Ability, BareError> {
    let system = System::open()?;
    let setting = Setting { transport, privilege };
    let config = BenchConfig { guests: 1, vcpus: 1, time: Duration::from_millis(100), batch: 64, seed: 1 };
    let report = bench(&system, setting, config)?;
    Ok(match report.first_error {
        None => Ability::yes(format!(
            "a bare guest put and got back {} pages through the {} without an error",
            report.verified_pages, report.transport
        )),
        Some(error) => Ability::no(error),
    })
}

fn linux_machine() -> Result<Ability, BareError> {
    let system = System::open()?;
    let mut machine = tiny::pc(&system, &tiny::COMPARE_EXCHANGE_16)?;
    let event = EventFd::new(0).map_err(BareError::Event)?;
    let lines = machine.vm.irq_lines();
    lines.connect(&event, layout::VIRTIO_FIRST_GSI)?;
    lines.doorbell(&event, layout::virtio_mmio_addr(0), 0)?;
    Ok(match machine.run() {
        Exit::PioOut => Ability::yes("a machine for Linux was made and ran"),
        exit => {
            Ability::no(format!("kernel code with cmpxchg16b, which Linux uses, does not run ({exit:?})"))
        }
    })
}

fn qemu() -> Ability {
    const PROGRAM: &str = "qemu-system-x86_64";
    match Command::new(PROGRAM).arg("--version").output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = text.lines().next().unwrap_or(PROGRAM);
            Ability::yes(format!("{version} is installed"))
        }
        Ok(output) => Ability::no(format!(
            "{PROGRAM} does not run ({}): install it again (cargo xtask setup)",
            output.status
        )),
        Err(error) => {
            Ability::no(format!("{PROGRAM} cannot be run ({error}): cargo xtask setup installs it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        for probe in Probe::value_variants() {
            assert_eq!(Probe::from_str(probe.name(), false), Ok(*probe));
        }
    }
}
