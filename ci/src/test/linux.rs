//! Steps that boot Linux guests in the lab and judge them by the counters of both sides.

use tmem_images::{KernelId, Series};

use super::Context;
use super::report::Ending;
use crate::demo::measure::{Mode, Row};
use crate::demo::report::Report;
use crate::demo::scenario::{self, Guest};
use crate::demo::{place, read};
use crate::files;

/// By how many per cent sectors read from disk must fall with tmem while the store has room.
const LEAST_SAVED_PERCENT: f64 = 90.0;

/// How many pages a put of swap must carry on the average, where memory is short all the time.
const LEAST_PAGES_PER_PUT: u64 = 8;

/// The demo: four guests, with their disks alone and then with the store.
pub(super) fn demo(context: &Context, name: &str) -> Ending {
    judge(context, name, &scenario::demo(KernelId::Small), &Mode::BOTH, both_uses)
}

/// A tmem-aware guest whose memory and file are both too large for it, on two vCPUs.
pub(super) fn aware(context: &Context, name: &str) -> Ending {
    let guest = Guest { vcpus: 2, work_mib: 56, file_mib: Some(64), ..small("aware", 15) };
    judge(context, name, &[guest], &Mode::BOTH, both_uses)
}

/// Swap and clean file pages came from the store, many to an exit, and the disks were spared.
fn both_uses(report: &Report) -> Result<String, String> {
    let (saved, swap, files) =
        (report.total.sectors_read_saved_percent, report.total.swap, report.total.files);
    if saved < LEAST_SAVED_PERCENT {
        return Err(format!("sectors read fell by {saved} % only, less than {LEAST_SAVED_PERCENT} %"));
    }
    if swap.puts < swap.put_calls * LEAST_PAGES_PER_PUT {
        return Err(format!(
            "{} pages were put by {} calls, fewer than {LEAST_PAGES_PER_PUT} each",
            swap.puts, swap.put_calls
        ));
    }
    Ok(format!(
        "sectors read from disk fell by {saved} %, 0 corrupt pages; pages per exit: swap {:.1}, files {:.1}",
        swap.pages_per_exit(),
        files.pages_per_exit()
    ))
}

/// One guest calls through Xen's hypercall and one through the port, and both say so.
pub(super) fn transports(context: &Context, name: &str) -> Ending {
    let xen = Guest { transport: "xen", ..small("xen", 11) };
    let port = Guest { transport: "port", ..small("port", 12) };
    judge(context, name, &[xen, port], &[Mode::Tmem], |report| {
        let mut seen = Vec::new();
        for row in &report.rows {
            if row.transport.as_deref() != Some(row.guest.as_str()) {
                return Err(format!("guest {} used {:?}", row.guest, row.transport));
            }
            seen.push(format!("{}: {} puts, {} gets", row.guest, row.puts, row.gets));
        }
        Ok(seen.join("; "))
    })
}

/// A guest that reaches its cap is refused, and its pages reach the disk behind.
pub(super) fn refusals(context: &Context, name: &str) -> Ending {
    let guest = Guest { cap_mib: Some(8), ..small("capped", 13) };
    judge(context, name, &[guest], &[Mode::Tmem], |report| {
        let row = only(report)?;
        if row.refusals == 0 || row.sectors_written == 0 || row.sectors_read == 0 {
            let (refused, written, read) = (row.refusals, row.sectors_written, row.sectors_read);
            return Err(format!(
                "{refused} puts refused, {written} sectors written and {read} read: the cap did nothing"
            ));
        }
        Ok(format!(
            "{} puts refused, {} sectors written instead, 0 corrupt pages",
            row.refusals, row.sectors_written
        ))
    })
}

/// A stock 6.12 kernel with two vCPUs finds its disk through ACPI and swaps into the store.
pub(super) fn stock_6_12(context: &Context, name: &str) -> Ending {
    stock(context, name, Series::V6_12)
}

/// The same with a stock 6.1 kernel.
pub(super) fn stock_6_1(context: &Context, name: &str) -> Ending {
    stock(context, name, Series::V6_1)
}

fn stock(context: &Context, name: &str, series: Series) -> Ending {
    let kernel = KernelId::Stock(series);
    let guest = Guest { kernel, memory_mib: 128, vcpus: 2, work_mib: 88, ..small("stock", 14) };
    judge(context, name, &[guest], &[Mode::Tmem], |report| {
        let row = only(report)?;
        Ok(format!("Linux {}, 2 vCPUs: {} puts, {} gets, 0 corrupt pages", row.kernel, row.puts, row.gets))
    })
}

fn only(report: &Report) -> Result<&Row, String> {
    report.rows.first().ok_or_else(|| "no guest in the report".into())
}

/// A guest that swaps, and is done soon.
fn small(name: &str, seed: u32) -> Guest {
    Guest {
        name: name.into(),
        kernel: KernelId::Small,
        memory_mib: 48,
        vcpus: 1,
        work_mib: 40,
        file_mib: None,
        transport: "auto",
        cap_mib: None,
        seed,
    }
}

/// Runs `guests` in the lab; they must end well, their counters agree with the VMM's, and `check` be content.
fn judge(
    context: &Context,
    name: &str,
    guests: &[Guest],
    modes: &[Mode],
    check: impl Fn(&Report) -> Result<String, String>,
) -> Ending {
    let dir = Context::dir().join(name);
    let run = || -> Result<String, Box<dyn std::error::Error>> {
        files::make_dir(&dir)?;
        let ran = place::in_lab(context.lab()?, guests, modes, "as every test".into(), &dir)?;
        let report = read(guests, ran, &dir)?;
        files::write_json(&dir.join("report.json"), &report)?;
        let faults = report.faults();
        if faults.is_empty() { Ok(check(&report)?) } else { Err(faults.join("\n").into()) }
    };
    run().into()
}
