//! The examination, and what it found.

use serde::{Deserialize, Serialize};

use super::Probe;
use super::capabilities;
use super::child::run_probe;
use crate::kvm::{Flavour, System};

/// Whether something works here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ability {
    /// Whether it does.
    pub works: bool,
    /// What was tried and seen; if it does not work, also what to do about it.
    pub why: String,
    /// The failure in full, where `why` says what it means here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

impl Ability {
    /// It works.
    pub fn yes(why: impl Into<String>) -> Self {
        Self { works: true, why: why.into(), details: None }
    }

    /// It does not.
    pub fn no(why: impl Into<String>) -> Self {
        Self { works: false, why: why.into(), details: None }
    }
}

/// One of KVM's capabilities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capability {
    /// Its name in KVM's documentation.
    pub name: &'static str,
    /// Whether this KVM has it.
    pub present: bool,
    /// What `tmem` uses it for.
    pub used_for: &'static str,
    /// What to do where it is missing.
    pub advice: &'static str,
}

/// What this machine can do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// Whether /dev/kvm can be used.
    pub kvm: Ability,
    /// `hardware`, or `kvm_pvm`; nothing without a usable /dev/kvm.
    pub flavour: Option<&'static str>,
    /// How the flavour was recognised.
    pub flavour_seen: Vec<String>,
    /// The capabilities that are used; empty without a usable /dev/kvm.
    pub capabilities: Vec<Capability>,
    /// Calls through `vmcall` or `vmmcall`.
    pub hypercall_transport: Ability,
    /// Calls through an I/O port.
    pub port_transport: Ability,
    /// Whether bare guests run here.
    pub bare_guests: Ability,
    /// The same with their code at the kernel's level.
    pub bare_guests_kernel_level: Ability,
    /// The same with their code at user level.
    pub bare_guests_user_level: Ability,
    /// Whether Linux guests run here.
    pub linux_guests: Ability,
    /// Whether the emulated host of `cargo xtask lab` runs here.
    pub lab: Ability,
}

/// Tries everything. Takes a few seconds.
pub fn examine() -> Findings {
    let lab = run_probe(Probe::Qemu);
    match System::open() {
        Ok(system) => with_kvm(&system, lab),
        Err(error) => {
            let none = Ability::no(error.to_string());
            Findings {
                kvm: none.clone(),
                flavour: None,
                flavour_seen: Vec::new(),
                capabilities: Vec::new(),
                hypercall_transport: none.clone(),
                port_transport: none.clone(),
                bare_guests: none.clone(),
                bare_guests_kernel_level: none.clone(),
                bare_guests_user_level: none.clone(),
                linux_guests: none,
                lab,
            }
        }
    }
}

fn with_kvm(system: &System, lab: Ability) -> Findings {
    let capabilities = capabilities::list(system.capabilities());
    let speed = run_probe(Probe::Speed);
    let levels = (run_probe(Probe::BareKernel), run_probe(Probe::BareUser));
    let (kernel, user) = not_needed(system.flavour(), levels);
    let hypercall = hypercall(system);
    let port = port(system, &kernel, &user);
    let (flavour, module) = match system.flavour() {
        Flavour::Hardware => ("hardware", "the module kvm_pvm is not loaded"),
        Flavour::Pvm => ("kvm_pvm", "the module kvm_pvm is loaded"),
    };
    Findings {
        kvm: Ability::yes("/dev/kvm opens and speaks the stable API"),
        flavour: Some(flavour),
        flavour_seen: vec![module.to_owned(), speed.why.clone()],
        bare_guests: bare(&kernel, &user, &hypercall, &port),
        linux_guests: linux(system, &capabilities, &speed, &hypercall, &port),
        hypercall_transport: hypercall,
        port_transport: port,
        bare_guests_kernel_level: kernel,
        bare_guests_user_level: user,
        capabilities,
        lab,
    }
}

/// Where one level works, the other one is not missed.
fn not_needed(flavour: Flavour, (mut kernel, mut user): (Ability, Ability)) -> (Ability, Ability) {
    match (flavour, kernel.works, user.works) {
        (Flavour::Pvm, false, true) => {
            let details = Some(kernel.why);
            kernel = Ability { details, ..Ability::no("kvm_pvm does not emulate it; nothing to do") };
        }
        (_, false, true) => kernel.why += "; to do: nothing, the other level serves",
        (_, true, false) => user.why += "; to do: nothing, the other level serves",
        (_, true, true) | (_, false, false) => {}
    }
    (kernel, user)
}

fn hypercall(system: &System) -> Ability {
    match (system.flavour(), system.capabilities().xen_intercept) {
        (Flavour::Pvm, _) => {
            Ability::no("on kvm_pvm a hypercall instruction never returns: the port is used")
        }
        (_, false) => Ability::no(
            "KVM_CAP_XEN_HVM is missing: the port is used; a host kernel with CONFIG_KVM_XEN has the hypercall",
        ),
        (_, true) => run_probe(Probe::Hypercall),
    }
}

fn port(system: &System, kernel: &Ability, user: &Ability) -> Ability {
    if !system.capabilities().sync_regs {
        return Ability::no("KVM_CAP_SYNC_REGS is missing: use a host kernel from 4.17 on");
    }
    // Both trials of bare guests call through it.
    [kernel, user].into_iter().find(|level| level.works).unwrap_or(kernel).clone()
}

fn bare(kernel: &Ability, user: &Ability, hypercall: &Ability, port: &Ability) -> Ability {
    match (kernel.works, user.works) {
        (true, true) => Ability::yes("at both privilege levels"),
        (true, false) => Ability::yes("at the kernel's level"),
        (false, true) => Ability::yes("at user level, which is the one that runs at full speed here"),
        (false, false) if hypercall.works => hypercall.clone(),
        (false, false) => Ability::no(port.why.clone()),
    }
}

fn linux(
    system: &System,
    capabilities: &[Capability],
    speed: &Ability,
    hypercall: &Ability,
    port: &Ability,
) -> Ability {
    if let Err(error) = system.require_linux() {
        return Ability::no(error.to_string());
    }
    let needed = |capability: &&Capability| !capability.present && capabilities::linux_needs(capability);
    if let Some(missing) = capabilities.iter().find(needed) {
        return Ability::no(format!("{} is missing: {}", missing.name, missing.advice));
    }
    if !(hypercall.works || port.works) {
        return Ability::no(format!("no transport works: {}", port.why));
    }
    let trials = [speed.clone(), run_probe(Probe::LinuxMachine)];
    match trials.into_iter().find(|trial| !trial.works) {
        Some(failed) => Ability::no(format!(
            "{}; run Linux guests in the emulated host instead (cargo xtask lab)",
            failed.why
        )),
        None => Ability::yes(
            "a virtual PC with interrupt controllers, timer and event descriptors was made and ran kernel code",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_level_when_kvm_pvm_gives_up_on_it_says_what_that_means_and_keeps_the_failure() {
        let crash = Ability::no("internal error 1 at rip 0x6000e6");
        let (kernel, user) = not_needed(Flavour::Pvm, (crash.clone(), Ability::yes("so")));
        assert_eq!((kernel.works, user), (false, Ability::yes("so")));
        assert_eq!(kernel.why, "kvm_pvm does not emulate it; nothing to do");
        assert_eq!(kernel.details, Some(crash.why.clone()));
        let (kernel, _) = not_needed(Flavour::Pvm, (crash.clone(), crash.clone()));
        assert_eq!(kernel, crash, "without the other level it is missed");
        let (kernel, _) = not_needed(Flavour::Hardware, (crash, Ability::yes("so")));
        assert!(kernel.why.ends_with("the other level serves"));
    }
}
