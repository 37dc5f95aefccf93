//! Batches: order, statuses, limits, and arrays that are none.

use super::*;
use tmem_abi::{BatchEntry, Registers};

const COOKIE: u64 = 0xc00c_1e00;

fn write_entries(guest: &Guest, array: Gpa, entries: &[Registers]) {
    for (number, registers) in entries.iter().enumerate() {
        let r = registers;
        let words = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9, u64::MAX, COOKIE + number as u64];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        guest.write_bytes(&bytes, array.0 + (number * BatchEntry::SIZE) as u64);
    }
}

fn entry(guest: &Guest, array: Gpa, number: u64) -> BatchEntry {
    let mut bytes = [0; BatchEntry::SIZE];
    guest.memory.read_slice(&mut bytes, GuestAddress(array.0 + number * BatchEntry::SIZE as u64)).unwrap();
    BatchEntry::from_bytes(&bytes)
}

/// Runs the entries and returns the answer and each status, having checked that nothing else of them changed.
fn run(guest: &Guest, entries: &[Registers]) -> (i64, Vec<i64>) {
    write_entries(guest, ARRAY, entries);
    let answer = guest.op(Request::Batch { array: ARRAY, count: entries.len() as u32 });
    let statuses = entries.iter().zip(0..).map(|(registers, number)| {
        let after = entry(guest, ARRAY, number);
        assert_eq!((after.registers(), after.cookie), (*registers, COOKIE + number));
        after.status
    });
    (answer, statuses.collect())
}

#[test]
fn entries_run_in_order_and_a_bad_one_fails_alone() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    guest.fill(OUT, 6);
    guest.fill(BACK, 0);
    let put = Request::Put { pool, key: key(0), page: OUT }.encode();
    let entries = [
        Request::Get { pool, key: key(0), page: BACK }.encode(),
        put,
        Request::Put { pool, key: key(1), page: Gpa(5) }.encode(),
        Registers { rdi: 3, ..put },
        Registers { r8: 1 << 40, ..put },
        Request::Put { pool: PoolId(3), key: key(1), page: OUT }.encode(),
        Request::Get { pool, key: key(0), page: BACK }.encode(),
        Request::FlushObject { pool, object: key(0).object }.encode(),
        Request::Get { pool, key: key(0), page: BACK }.encode(),
    ];
    let (answer, statuses) = run(&guest, &entries);
    assert_eq!(answer, 9);
    assert_eq!(statuses, [0, 0, EFAULT, ENOSYS, EINVAL, ENODEV, 1, 1, 0]);
    assert_eq!(guest.page(BACK), [6; PAGE_SIZE]);
}

#[test]
fn operations_that_may_not_stand_in_a_batch_fail_alone_and_do_nothing() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    guest.fill(BACK, 0xee);
    let entries = [
        Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() }.encode(),
        Request::DestroyPool { pool }.encode(),
        Request::Batch { array: ARRAY, count: 1 }.encode(),
        Request::Query { page: BACK }.encode(),
    ];
    assert_eq!(run(&guest, &entries), (4, vec![EINVAL; 4]));
    assert_eq!(guest.page(BACK), [0xee; PAGE_SIZE]);
    assert_eq!((guest.put(pool, 0, 1), guest.pool(PoolFlags::Persistent)), (0, PoolId(pool.0 + 1)));
}

#[test]
fn longest_batch_spans_pages_and_one_more_entry_is_refused_whole() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    guest.fill(OUT, 1);
    let puts: Vec<_> =
        (0..131).map(|index| Request::Put { pool, key: key(index), page: OUT }.encode()).collect();
    let (answer, statuses) = run(&guest, &puts);
    assert_eq!(answer, EINVAL);
    assert!(statuses.iter().all(|status| *status == -1), "an entry of a refused batch was answered");
    assert_eq!(run(&guest, &puts[..130]), (130, vec![0; 130]));
    assert_eq!((guest.get(pool, 129), guest.get(pool, 130)), (Ok(1), MISS));
}

#[test]
fn array_that_is_not_all_ram_runs_nothing() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    let last = Gpa(RAM - 4096);
    let put = Request::Put { pool, key: key(0), page: OUT }.encode();
    write_entries(&guest, last, &[put]);
    for (array, count) in [
        (last, 65),
        (Gpa(ARRAY.0 + 64), 1),
        (Gpa(RAM), 1),
        (Gpa(0xfee0_0000), 1),
        (Gpa(u64::MAX - 4095), 130),
        (Gpa(3), 0),
    ] {
        assert_eq!(guest.op(Request::Batch { array, count }), EFAULT, "{array:x?}, {count} entries");
    }
    assert_eq!(guest.get(pool, 0), MISS);
    assert_eq!(guest.op(Request::Batch { array: last, count: 64 }), 64);
    assert!(guest.get(pool, 0).is_ok());
    assert_eq!(guest.op(Request::Batch { array: last, count: 0 }), 0);
}

#[test]
fn get_onto_the_array_makes_the_following_entries_what_it_wrote() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    // The stored page is an array whose second entry flushes key 0.
    let flush = Request::FlushPage { pool, key: key(0) }.encode();
    write_entries(&guest, OUT, &[Registers::default(), flush]);
    assert_eq!(guest.op(Request::Put { pool, key: key(0), page: OUT }), 0);
    let get = Request::Get { pool, key: key(0), page: ARRAY }.encode();
    write_entries(&guest, ARRAY, &[get, get]);
    assert_eq!(guest.op(Request::Batch { array: ARRAY, count: 2 }), 2);
    assert_eq!((entry(&guest, ARRAY, 0).status, entry(&guest, ARRAY, 1).status), (1, 1));
    assert_eq!(guest.get(pool, 0), MISS);
}
