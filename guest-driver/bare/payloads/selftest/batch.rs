//! Batches.

use core::sync::atomic::Ordering::Relaxed;

use tmem_abi::{BatchEntry, Errno, Features, Gpa, PoolFlags, PoolId, Registers, Request, Uuid};
use tmem_bare::memory::words;

use crate::guest::{Case, Check, Guest, MISS, expect, expect_errno, hit, key};

pub(crate) const CASES: &[Case] = &[
    Case::needing(Features::BATCH, "batch_runs_in_order_and_a_bad_entry_fails_alone", order),
    Case::needing(Features::BATCH, "batch_refuses_operations_on_pools_batches_and_limits", not_in_batch),
    Case::needing(Features::BATCH, "longest_batch_is_served_and_a_longer_one_refused_whole", longest),
    Case::needing(Features::BATCH, "batch_at_a_bad_address_runs_nothing", bad_array),
    Case::needing(Features::BATCH, "batch_writes_only_the_status_of_its_entries", only_status),
];

/// Page number of the array in the work area.
const ARRAY: usize = 16;
const COOKIE: u64 = 0xc00c_1e00;
const UNANSWERED: i64 = -9999;

fn array(guest: &Guest) -> Gpa {
    guest.page(ARRAY).gpa()
}

fn write(guest: &Guest, number: u64, registers: Registers) {
    let BatchEntry { rdi, rsi, rdx, r10, r8, r9, .. } = BatchEntry::new(registers);
    let values = [rdi, rsi, rdx, r10, r8, r9, UNANSWERED.cast_unsigned(), COOKIE + number];
    let entry = words(array(guest).0 + number * BatchEntry::SIZE as u64, 8);
    entry.iter().zip(values).for_each(|(word, value)| word.store(value, Relaxed));
}

fn word(guest: &Guest, number: u64, which: usize) -> u64 {
    let entry = words(array(guest).0 + number * BatchEntry::SIZE as u64, 8);
    entry.get(which).map_or(0, |word| word.load(Relaxed))
}

fn status(guest: &Guest, number: u64) -> i64 {
    word(guest, number, BatchEntry::STATUS_OFFSET / 8).cast_signed()
}

fn run(guest: &Guest, count: u32) -> i64 {
    guest.ask(Request::Batch { array: array(guest), count })
}

fn order(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    let (out, back) = (guest.out().gpa(), guest.back().gpa());
    guest.out().fill_byte(6);
    let put = Request::Put { pool, key: key(0), page: out }.encode();
    let no_pool = Request::Put { pool: PoolId(7), key: key(0), page: out };
    let entries = [
        (Request::Get { pool, key: key(0), page: back }.encode(), 0),
        (put, 0),
        (Request::Put { pool, key: key(1), page: Gpa(3) }.encode(), Errno::Fault.answer()),
        (Registers { rdi: 3, ..put }, Errno::NoOperation.answer()),
        (Registers { r8: 1 << 33, ..put }, Errno::Invalid.answer()),
        (no_pool.encode(), Errno::NoPool.answer()),
        (Request::Get { pool, key: key(0), page: back }.encode(), 1),
        (Request::FlushObject { pool, object: key(0).object }.encode(), 1),
        (Request::Get { pool, key: key(0), page: back }.encode(), 0),
    ];
    entries.iter().zip(0..).for_each(|((registers, _), number)| write(guest, number, *registers));
    expect(run(guest, entries.len() as u32), entries.len() as i64)?;
    for ((_, want), number) in entries.iter().zip(0..) {
        expect(status(guest, number), *want)?;
    }
    expect(i64::from(guest.back().is_byte(0..4096, 6)), 1)
}

fn not_in_batch(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    let page = guest.back().gpa();
    let requests = [
        Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() },
        Request::DestroyPool { pool },
        Request::Batch { array: array(guest), count: 1 },
        Request::Query { page },
    ];
    requests.iter().zip(0..).for_each(|(request, number)| write(guest, number, request.encode()));
    expect(run(guest, 4), 4)?;
    for number in 0..4 {
        expect_errno(status(guest, number), Errno::Invalid)?;
    }
    expect(guest.put(pool, 0, 1), 0)?;
    expect(i64::from(guest.pool(PoolFlags::Persistent)?.0), i64::from(pool.0) + 1)
}

fn longest(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    let most = guest.host.discovery().batch_max;
    guest.out().fill_byte(5);
    for index in 0..=most {
        let put = Request::Put { pool, key: key(index), page: guest.out().gpa() };
        write(guest, u64::from(index), put.encode());
    }
    expect_errno(run(guest, most + 1), Errno::Invalid)?;
    expect_errno(run(guest, u32::MAX), Errno::Invalid)?;
    expect(status(guest, 0), UNANSWERED)?;
    expect(guest.get(pool, 0), MISS)?;
    expect(run(guest, most), i64::from(most))?;
    for index in 0..most {
        expect(status(guest, u64::from(index)), 0)?;
        expect(guest.get(pool, index), hit(5))?;
    }
    expect(status(guest, u64::from(most)), UNANSWERED)?;
    expect(run(guest, 0), 0)
}

fn bad_array(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    write(guest, 0, Request::Put { pool, key: key(0), page: guest.out().gpa() }.encode());
    let batch = |array, count| guest.ask(Request::Batch { array, count });
    for address in guest.bad_addresses() {
        expect_errno(batch(address, 1), Errno::Fault)?;
    }
    expect_errno(batch(Gpa(array(guest).0 + 64), 1), Errno::Fault)?;
    // Its first page is RAM and would run, its second is not.
    let last = guest.info.ram_bytes - 4096;
    expect_errno(batch(Gpa(last), 65), Errno::Fault)?;
    expect(guest.get(pool, 0), MISS)
}

fn only_status(guest: &Guest) -> Check {
    let pool = guest.pool(PoolFlags::Persistent)?;
    let request = Request::Put { pool, key: key(0), page: guest.out().gpa() }.encode();
    write(guest, 0, request);
    write(guest, 1, request);
    expect(run(guest, 1), 1)?;
    let BatchEntry { rdi, rsi, rdx, r10, r8, r9, .. } = BatchEntry::new(request);
    for number in 0..2 {
        for (want, which) in [rdi, rsi, rdx, r10, r8, r9].into_iter().zip(0..) {
            expect(word(guest, number, which).cast_signed(), want.cast_signed())?;
        }
        expect(word(guest, number, 7).cast_signed(), (COOKIE + number).cast_signed())?;
    }
    expect(status(guest, 0), 0)?;
    expect(status(guest, 1), UNANSWERED)
}
