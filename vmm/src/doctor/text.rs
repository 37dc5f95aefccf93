//! The findings for people.

use super::{Ability, Findings};

/// A report of a screen at most.
pub fn text(findings: &Findings) -> String {
    let mut lines = vec![
        ability("KVM", &findings.kvm),
        format!("{:<16} {}", "KVM's flavour", findings.flavour.unwrap_or("-")),
    ];
    lines.extend(findings.flavour_seen.iter().map(|seen| format!("{:<16}     {seen}", "")));
    for capability in &findings.capabilities {
        lines.push(format!(
            "  {:<28}{:<4} {}",
            capability.name,
            if capability.present { "yes" } else { "no" },
            capability.used_for
        ));
        if !capability.present {
            lines.push(format!("  {:<28}     to do: {}", "", capability.advice));
        }
    }
    lines.extend([
        "Hypercalls".to_owned(),
        ability("  by instruction", &findings.hypercall_transport),
        ability("  by port", &findings.port_transport),
        ability("Bare guests", &findings.bare_guests),
        ability("  kernel level", &findings.bare_guests_kernel_level),
        ability("  user level", &findings.bare_guests_user_level),
        ability("Linux guests", &findings.linux_guests),
        ability("The lab", &findings.lab),
    ]);
    lines.join("\n") + "\n"
}

fn ability(what: &str, ability: &Ability) -> String {
    format!("{what:<16} {:<4}{}", if ability.works { "yes" } else { "no" }, ability.why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Capability;

    #[test]
    fn report_of_a_machine_without_kvm_says_what_to_do() {
        let none = Ability::no("/dev/kvm does not exist: load the module");
        let capability = Capability {
            name: "KVM_CAP_IRQCHIP",
            present: false,
            used_for: "interrupts",
            advice: "use a newer host kernel",
        };
        let report = text(&Findings {
            kvm: none.clone(),
            flavour: None,
            flavour_seen: Vec::new(),
            capabilities: vec![capability],
            hypercall_transport: none.clone(),
            port_transport: none.clone(),
            bare_guests: none.clone(),
            bare_guests_kernel_level: none.clone(),
            bare_guests_user_level: none.clone(),
            linux_guests: none,
            lab: Ability::yes("QEMU is installed"),
        });
        assert!(report.contains("Linux guests     no  /dev/kvm does not exist: load the module"), "{report}");
        assert!(report.contains("KVM's flavour    -\n"), "{report}");
        assert!(report.contains("to do: use a newer host kernel"), "{report}");
        assert!(report.contains("The lab          yes QEMU is installed"), "{report}");
    }
}
