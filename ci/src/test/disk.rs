//! A guest whose disk has holes, several queues and another size in the end (ci/lab/disk.sh).

use tmem_images::{KernelId, Series};

use super::Context;
use super::report::Ending;
use crate::lab::{Added, Job};
use crate::vmm_report::Report;

/// What boots: a kernel that knows nothing of us.
const KERNEL: KernelId = KernelId::Stock(Series::V6_12);
/// Sectors of the 2 MiB that the guest discards.
const DISCARDED: u64 = 4096;

/// Runs it.
pub(super) fn disk(context: &Context, name: &str) -> Ending {
    let file = |name: &str| Added {
        from: crate::paths::root().join("ci/lab").join(name),
        to: format!("/lab/{name}"),
    };
    let job = Job {
        guests: vec![KERNEL],
        added: vec![file("disk.sh"), file("disk-guest.sh")],
        ..Context::job(name, "sh /lab/disk.sh")
    };
    let run = || -> Result<String, Box<dyn std::error::Error>> {
        let ran = context.run(name, &job)?.ended_with(0)?;
        Ok(judge(&ran.report()?, &ran.said)?)
    };
    run().into()
}

/// Whether the guest was content with its disk, and the host with what the guest asked of it.
fn judge(report: &Report, said: &str) -> Result<String, String> {
    let guest = report.guests.iter().find(|guest| guest.name == "disk" && guest.end == "power-off");
    let guest = guest.ok_or("the guest did not power off")?;
    if !said.contains("disk: good") {
        return Err("the guest did not find its disk good".into());
    }
    match guest.disks.first() {
        Some(disk) if disk.sectors_discarded == DISCARDED => Ok(format!(
            "2 queues, {} sectors discarded, 8 MiB grown to 16, the image refused to two other sessions",
            disk.sectors_discarded
        )),
        disk => Err(format!("{DISCARDED} sectors are discarded, and the host saw {disk:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(end: &str, discarded: u64) -> Report {
        let disk = format!(r#"{{"sectors_read":1,"sectors_written":2,"sectors_discarded":{discarded}}}"#);
        let exits = r#"{"mmio_read":1,"mmio_write":1,"hypercall":0}"#;
        let rest = r#""transport":null,"balloon":null,"tmem":null"#;
        let guest = format!(r#"{{"name":"disk","end":"{end}","exits":{exits},"disks":[{disk}],{rest}}}"#);
        serde_json::from_str(&format!(r#"{{"guests":[{guest}]}}"#)).unwrap()
    }

    #[test]
    fn a_guest_that_was_content_and_discarded_is_good_and_another_is_named() {
        assert!(judge(&report("power-off", 4096), "disk: good\n").unwrap().contains("4096 sectors"));
        assert!(judge(&report("died", 4096), "disk: good\n").unwrap_err().contains("did not power off"));
        assert!(judge(&report("power-off", 4096), "").unwrap_err().contains("not find its disk good"));
        assert!(judge(&report("power-off", 8), "disk: good\n").unwrap_err().contains("the host saw"));
    }
}
