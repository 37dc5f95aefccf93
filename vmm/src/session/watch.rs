//! Where every guest stands, as text for people and for the lab.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::live::{Live, Running};
use super::{say, side};
use crate::guest::Guest;

/// Lines of a console that are shown.
const LINES: usize = 20;

/// Says where every guest stands whenever this is poked, and every so often if that is wanted.
pub(super) fn run(live: &Live, every: Option<Duration>, poked: &Receiver<()>) {
    while side::wait(poked, every) {
        show(&live.running());
    }
}

/// All at once: a guest that does not answer must not make the others wait.
fn show(running: &[Arc<Running>]) {
    let texts: Vec<Option<String>> = thread::scope(|scope| {
        let asked: Vec<_> = running.iter().map(|running| scope.spawn(|| describe(&running.guest))).collect();
        asked.into_iter().map(|text| text.join().ok().flatten()).collect()
    });
    texts.iter().flatten().for_each(|text| say(format_args!("{}", text.trim_end())));
}

/// Registers of every vCPU and the end of the console; `None` if the guest has ended.
fn describe(guest: &Guest) -> Option<String> {
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
    for last in lines.iter().skip(lines.len().saturating_sub(LINES)) {
        line("console", last);
    }
    Some(text)
}
