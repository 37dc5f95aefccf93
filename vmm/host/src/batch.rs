//! Many pages for one exit: an array of calls in guest memory.

use tmem_abi::{BatchEntry, Errno, Gpa, PAGE_SIZE, Request};
use vm_memory::GuestMemoryBackend;

use crate::answer::{Answer, number};
use crate::call::Caller;

/// Entries in one page of the array.
const ENTRIES_PER_PAGE: u32 = (PAGE_SIZE / BatchEntry::SIZE) as u32;

/// Runs `count` entries at `array` in order, each with its own status.
///
/// The guest may rewrite the array meanwhile, and a get may land on it. Each entry is copied once and only the copy is
/// looked at, so whatever it says is one whole call that this guest could have made by itself.
pub(super) fn run<M: GuestMemoryBackend>(caller: &mut Caller<'_, M>, array: Gpa, count: u32) -> Answer {
    if count > caller.limits.batch_max {
        return Err(Errno::Invalid);
    }
    // Before anything runs: the last page of the array may be missing.
    let pages = count.div_ceil(ENTRIES_PER_PAGE).max(1);
    for number in 0..pages {
        caller.page(page_of(array, number)?)?;
    }
    for first in (0..count).step_by(ENTRIES_PER_PAGE as usize) {
        let page = caller.page(page_of(array, first / ENTRIES_PER_PAGE)?)?;
        for slot in 0..(count - first).min(ENTRIES_PER_PAGE) {
            let offset = slot as usize * BatchEntry::SIZE;
            let mut bytes = [0; BatchEntry::SIZE];
            if !page.read_at(offset, &mut bytes) {
                return Err(Errno::Fault);
            }
            let status = number(run_entry(caller, &BatchEntry::from_bytes(&bytes)));
            if !page.write_at(offset + BatchEntry::STATUS_OFFSET, &status.to_le_bytes()) {
                return Err(Errno::Fault);
            }
        }
    }
    Ok(i64::from(count))
}

fn page_of(array: Gpa, number: u32) -> Result<Gpa, Errno> {
    array.0.checked_add(u64::from(number) * PAGE_SIZE as u64).map(Gpa).ok_or(Errno::Fault)
}

fn run_entry<M: GuestMemoryBackend>(caller: &mut Caller<'_, M>, entry: &BatchEntry) -> Answer {
    let request = Request::decode(&entry.registers()).map_err(|error| error.errno())?;
    if !request.operation().allowed_in_batch() {
        return Err(Errno::Invalid);
    }
    caller.run(request)
}
