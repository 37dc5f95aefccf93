//! The list of steps, in the order of the report.

use super::report::Ending;
use super::{Context, cargo, disk, ends, guests, linux, memory, serve};

/// What a step mostly does, and so what it may run beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Compiles and runs programs of this machine.
    Compile,
    /// Builds images and runs guests, most of them on the one CPU of the emulated host.
    Guests,
}

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    /// Its name, for `--only`, the report and the log.
    pub(super) name: &'static str,
    /// What it checks.
    pub(super) what: &'static str,
    /// Where it runs.
    pub(super) lane: Lane,
    /// Runs it; gets its own name.
    pub(super) run: fn(&Context, &str) -> Ending,
}

const fn compile(name: &'static str, what: &'static str, run: fn(&Context, &str) -> Ending) -> Step {
    Step { name, what, lane: Lane::Compile, run }
}

const fn guest(name: &'static str, what: &'static str, run: fn(&Context, &str) -> Ending) -> Step {
    Step { name, what, lane: Lane::Guests, run }
}

/// All of them.
pub(super) static STEPS: &[Step] = &[
    compile("format", "the code is formatted (cargo fmt --check)", cargo::format),
    compile("lock", "Cargo.lock holds one version of each rust-vmm crate", cargo::lock),
    compile("lints", "clippy has nothing to say about any target", cargo::lints),
    compile("unit", "tests inside the crates", cargo::unit),
    compile("model", "the store against its model, and under many threads", cargo::model),
    compile(
        "integration",
        "the C header's drift, the command line, the VMM on the KVM that is here",
        cargo::integration,
    ),
    compile("schedules", "schedules of the store's threads, under the model checker", cargo::schedules),
    compile("doc", "examples in the documentation", cargo::doc),
    guest("driver-6.12", "the Linux driver builds against Debian's stock 6.12 headers", guests::driver_6_12),
    guest("driver-6.1", "the Linux driver builds against Debian's stock 6.1 headers", guests::driver_6_1),
    guest("lab", "the emulated host boots, has KVM, and passes status and files through", guests::lab),
    guest(
        "bare",
        "bare guests on this machine's KVM: every operation checked, 4 guests of 4 vCPUs",
        guests::bare,
    ),
    guest("bare-lab", "bare guests in the lab, through Xen's hypercall", guests::bare_lab),
    guest(
        "linux-transports",
        "a Linux guest with each transport; counters of both sides say so",
        linux::transports,
    ),
    guest(
        "linux-aware",
        "a tmem-aware guest with 2 vCPUs, swap and clean file pages: the store spares its disks",
        linux::aware,
    ),
    guest("linux-refusals", "a Linux guest at its cap: refused pages go to the disk behind", linux::refusals),
    guest(
        "linux-bad-hosts",
        "hosts that the driver refuses, that refuse everything or lose pages; no unloading while in use",
        guests::bad_hosts,
    ),
    guest(
        "linux-disk",
        "a stock Linux guest's disk: holes, two queues, a serial number, grown while it runs, refused to a second session",
        disk::disk,
    ),
    guest(
        "linux-smp",
        "a tmem-aware kernel on 4 processors at once, in plain QEMU with the store inside: swap, full store, swapoff, MADV_PAGEOUT",
        guests::smp,
    ),
    guest(
        "linux-ends",
        "Linux guests power off, reset in every way, halt, panic, die and are stopped, each alone",
        ends::ends,
    ),
    guest(
        "linux-memory",
        "Linux guests give memory back, by themselves or because `tmem control` asks, and get it again; pools through /dev/tmem",
        memory::memory,
    ),
    guest(
        "linux-stock-6.12",
        "Debian's stock 6.12 kernel, 2 vCPUs, disk found through ACPI",
        linux::stock_6_12,
    ),
    guest("linux-stock-6.1", "the same with Debian's stock 6.1 kernel", linux::stock_6_1),
    guest(
        "serve",
        "a stock guest of plain QEMU swaps to a vhost-user disk of `tmem serve`; no page is lost, counters of both sides agree",
        serve::serve,
    ),
    guest(
        "demo",
        "four Linux guests, swap and clean file pages: sectors read from disk fall by 90 %, none is corrupt",
        linux::demo,
    ),
];
