//! A guest of plain QEMU, with Debian's own kernel and nothing of ours in it but its init, swaps to a disk of `tmem serve`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tmem_images::{GuestSpec, KernelId, Series};

use super::Context;
use super::report::Ending;
use crate::command::{self, tail_of};
use crate::files;
use crate::lab::qemu::PROGRAM;

/// What the daemon serves.
const SERVED: &str = "[store]\nsize = \"256M\"\n\n[[guest]]\nname = \"stock\"\n[[guest.disk]]\nsocket = \"stock.sock\"\nsize = \"1G\"\nqueues = 2\n";

/// The guest: memory that the daemon can map, two processors that are threads of this machine, no device of ours.
const MACHINE: [&str; 24] = [
    "-M",
    "pc,memory-backend=mem",
    "-m",
    "160M",
    "-object",
    "memory-backend-memfd,id=mem,size=160M,share=on",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "Nehalem",
    "-smp",
    "2",
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    "-nic",
    "none",
    "-serial",
    "stdio",
    "-device",
    "vhost-user-blk-pci,chardev=swap,num-queues=2",
    "-append",
];

/// It works on nearly as much memory as it has, and so swaps.
const WORDS: &str = "console=ttyS0 panic=-1 tsc_early_khz=2000000 lpj=4000000 no_timer_check guest.modules=virtio_pci,virtio_blk \
                     guest.swap=/dev/vda guest.run=tmem-workload,run,--memory,140M,--passes,1,--report";

/// Pages that must at least have been swapped out.
const LEAST: u64 = 5000;

/// A process that is killed when nobody holds it any more.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended already where that fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it.
pub(super) fn serve(_: &Context, name: &str) -> Ending {
    swapped(name).into()
}

fn swapped(name: &str) -> Result<String, Box<dyn std::error::Error>> {
    let dir = Context::dir().join(name);
    files::make_dir(&dir)?;
    let images = crate::images::open()?;
    let kernel = KernelId::Stock(Series::V6_12);
    let modules = vec!["virtio_pci".to_owned(), "virtio_blk".to_owned()];
    let initrd = images.guest_initramfs(&GuestSpec { modules, ..GuestSpec::new(kernel) })?;
    let boot = images.kernel(kernel)?.boot_file().to_owned();
    std::fs::write(dir.join("serve.toml"), SERVED)?;

    let daemon = start(&dir)?;
    let socket = format!("socket,id=swap,path={},reconnect=1", dir.join("stock.sock").display());
    let mut guest = command::dying_with_us(PROGRAM);
    guest
        .arg("-chardev")
        .arg(socket)
        .arg("-kernel")
        .arg(boot)
        .arg("-initrd")
        .arg(initrd)
        .args(MACHINE)
        .arg(WORDS);
    let console = command::stdout_of(guest.stdin(Stdio::null()))?;
    std::fs::write(dir.join("guest.log"), &console)?;
    let report = stop(daemon, &dir)?;
    judge(&console, &report).map_err(|why| format!("{why}\n{}", tail_of(&console, 20)).into())
}

/// A daemon that listens.
fn start(dir: &Path) -> Result<Daemon, Box<dyn std::error::Error>> {
    let mut command = command::dying_with_us(crate::build::tmem()?.to_str().ok_or("a path that is no text")?);
    command.current_dir(dir).args(["serve", "serve.toml", "--report", "report.json"]);
    let mut daemon = Daemon(command.stderr(Stdio::piped()).spawn()?);
    let mut said = BufReader::new(daemon.0.stderr.take().ok_or("no stream")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    if !line.contains("a disk of 1G at") {
        said.read_to_string(&mut line)?;
        return Err(format!("tmem serve did not serve: {line}").into());
    }
    Ok(daemon)
}

/// What it did.
fn stop(mut daemon: Daemon, dir: &Path) -> Result<Value, Box<dyn std::error::Error>> {
    command::run(Command::new("kill").arg(daemon.0.id().to_string()))?;
    let status = daemon.0.wait()?;
    if !status.success() {
        return Err(format!("tmem serve ended with {status}").into());
    }
    Ok(serde_json::from_slice(&std::fs::read(dir.join("report.json"))?)?)
}

/// Both sides tell the same, and nothing is wrong.
fn judge(console: &str, report: &Value) -> Result<String, String> {
    let events: Vec<Value> = console
        .lines()
        .filter_map(|line| serde_json::from_str(line.trim_end().strip_prefix("TMEM-REPORT ")?).ok())
        .collect();
    let of = |event: &str| events.iter().find(|found| found["event"] == event);
    let number = |value: Option<&Value>, key: &str| value.and_then(|value| value[key].as_u64());
    if number(of("end"), "status") != Some(0) || number(of("run"), "corrupt") != Some(0) {
        return Err("the guest did not end well, or a page was corrupt".into());
    }
    let guest = report.pointer("/guests/0").ok_or("no guest in the daemon's report")?;
    let disk = guest.pointer("/disks/0").ok_or("no disk in the daemon's report")?;
    let (out, back) = (number(of("counters"), "pswpout"), number(of("counters"), "pswpin"));
    let (puts, gets) = (number(guest.get("tmem"), "puts"), number(guest.get("tmem"), "gets"));
    let (Some(out), Some(back), Some(puts), Some(gets)) = (out, back, puts, gets) else {
        return Err("a counter is missing".into());
    };
    // The first block of a swap area, and what looked for tables of partitions, are not swap.
    if out < LEAST || puts < out || gets < back {
        return Err(format!("{out} pages swapped out and {back} in, but {puts} put and {gets} got"));
    }
    for key in ["errors", "blocks_lost", "blocks_refused"] {
        if number(Some(disk), key) != Some(0) {
            return Err(format!("{key}: {}", disk[key]));
        }
    }
    Ok(format!("{out} pages swapped out and {back} in, {puts} puts and {gets} gets, 0 corrupt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(lost: u64, puts: u64) -> Value {
        serde_json::json!({"guests": [{"tmem": {"puts": puts, "gets": 9000},
            "disks": [{"errors": 0, "blocks_lost": lost, "blocks_refused": 0}]}]})
    }

    fn console(corrupt: u64) -> String {
        format!(
            "TMEM-REPORT {{\"event\":\"run\",\"corrupt\":{corrupt}}}\r\nTMEM-REPORT {{\"event\":\"counters\",\"pswpout\":8000,\"pswpin\":9000}}\r\n\
             TMEM-REPORT {{\"event\":\"end\",\"status\":0}}\r\n"
        )
    }

    #[test]
    fn a_corrupt_page_a_lost_block_or_counters_that_differ_are_no_success() {
        assert!(judge(&console(0), &report(0, 8001)).is_ok());
        assert!(judge(&console(1), &report(0, 8001)).is_err());
        assert!(judge(&console(0), &report(1, 8001)).is_err());
        assert!(judge(&console(0), &report(0, 7999)).is_err());
        assert!(judge("", &report(0, 8001)).is_err());
    }
}
