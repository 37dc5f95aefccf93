//! Where every guest stands, as text for people and for the lab.

use std::fmt::Write;

use crate::guest::Guest;

/// Registers of every vCPU and the end of the console; `None` if the guest has ended.
pub(super) fn describe(guest: &Guest) -> Option<String> {
    let snapshot = guest.snapshot()?;
    let name = guest.name();
    let mut text = String::new();
    let mut line = |prefix: &str, content: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name} {prefix}: {content}");
    };
    for (index, vcpu) in snapshot.vcpus.iter().enumerate() {
        let prefix = format!("vcpu{index}");
        match vcpu {
            Some(registers) => registers.lines().for_each(|registers| line(&prefix, registers)),
            None => line(&prefix, "does not answer: it is stuck in the kernel"),
        }
    }
    let tail = guest.console().tail();
    let lines: Vec<&str> = tail.lines().collect();
    for last in lines.iter().skip(lines.len().saturating_sub(20)) {
        line("console", last);
    }
    Some(text)
}
