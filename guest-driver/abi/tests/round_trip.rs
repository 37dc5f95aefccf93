//! What is encoded decodes to itself, what decodes encodes to itself, and every reserved bit is refused.

use proptest::prelude::*;
use tmem_abi::{
    ByteRange, DecodeError, Errno, Gpa, Key, ObjectId, Operation, PoolFlags, PoolId, Registers, Request, Uuid,
};

fn key() -> impl Strategy<Value = Key> {
    (any::<[u64; 3]>(), any::<u32>()).prop_map(|(object, index)| Key { object: ObjectId(object), index })
}

fn pool() -> impl Strategy<Value = PoolId> {
    any::<u32>().prop_map(PoolId)
}

fn gpa() -> impl Strategy<Value = Gpa> {
    any::<u64>().prop_map(Gpa)
}

fn range() -> impl Strategy<Value = ByteRange> {
    (0u16..4096)
        .prop_flat_map(|offset| (Just(offset), 1..=4096 - offset))
        .prop_map(|(offset, length)| ByteRange::new(offset, length).expect("the strategy stays in the page"))
}

fn new_pool() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::NewPool { flags: PoolFlags::Ephemeral, uuid: Uuid::default() }),
        Just(Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() }),
        any::<[u64; 2]>().prop_map(|uuid| Request::NewPool { flags: PoolFlags::Shared, uuid: Uuid(uuid) }),
    ]
}

fn flush_range() -> impl Strategy<Value = Request> {
    (pool(), any::<[u64; 3]>(), any::<u32>())
        .prop_flat_map(|(pool, object, first)| {
            (Just((pool, ObjectId(object), first)), 0..=(1u64 << 32) - u64::from(first))
        })
        .prop_map(|((pool, object, first), count)| Request::FlushRange { pool, object, first, count })
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        new_pool(),
        pool().prop_map(|pool| Request::DestroyPool { pool }),
        (pool(), key(), gpa()).prop_map(|(pool, key, page)| Request::Put { pool, key, page }),
        (pool(), key(), gpa()).prop_map(|(pool, key, page)| Request::Get { pool, key, page }),
        (pool(), key(), gpa()).prop_map(|(pool, key, page)| Request::Xchg { pool, key, page }),
        (pool(), key()).prop_map(|(pool, key)| Request::FlushPage { pool, key }),
        (pool(), any::<[u64; 3]>())
            .prop_map(|(pool, object)| Request::FlushObject { pool, object: ObjectId(object) }),
        (pool(), key(), range(), gpa()).prop_map(|(pool, key, range, page)| Request::Read {
            pool,
            key,
            range,
            page
        }),
        (pool(), key(), range(), gpa()).prop_map(|(pool, key, range, page)| Request::Write {
            pool,
            key,
            range,
            page
        }),
        flush_range(),
        (gpa(), any::<u32>()).prop_map(|(array, count)| Request::Batch { array, count }),
        gpa().prop_map(|page| Request::Query { page }),
    ]
}

/// Registers that often decode: raw 64-bit noise almost never has its reserved bits clear.
fn registers() -> impl Strategy<Value = Registers> {
    let number = prop_oneof![4 => 0u64..20, 1 => any::<u64>()];
    let word = || prop_oneof![Just(0), any::<u64>(), 0u64..4, any::<u32>().prop_map(u64::from)];
    (number, any::<u32>(), word(), word(), word(), word(), word()).prop_map(
        |(number, pool, rsi, rdx, r10, r8, r9)| Registers {
            rdi: number | u64::from(pool) << 32,
            rsi,
            rdx,
            r10,
            r8,
            r9,
        },
    )
}

proptest! {
    #[test]
    fn a_request_survives_encoding(request in request()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn registers_that_decode_are_what_the_request_encodes_to(registers in registers()) {
        if let Ok(request) = Request::decode(&registers) {
            prop_assert_eq!(request.encode(), registers);
        }
    }

    #[test]
    fn an_unknown_operation_is_named(number in any::<u8>(), rest in registers()) {
        prop_assume!(Operation::from_number(number).is_none());
        let registers = Registers { rdi: rest.rdi & !0xff | u64::from(number), ..rest };
        let error = Request::decode(&registers).unwrap_err();
        prop_assert_eq!(error, DecodeError::UnknownOperation(number));
        prop_assert_eq!(error.errno(), Errno::NoOperation);
    }
}

/// The registers in wire order, to walk their bits.
fn words(r: Registers) -> [u64; 6] {
    [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]
}

fn from_words([rdi, rsi, rdx, r10, r8, r9]: [u64; 6]) -> Registers {
    Registers { rdi, rsi, rdx, r10, r8, r9 }
}

/// Bits that must be zero, one row an operation, written from the tables of the specification and not from
/// the code: (request, bits of rdi, of each object register, of r8, of r9).
fn reserved() -> Vec<(Request, u64, [u64; 3], u64, u64)> {
    const NONE: u64 = 0;
    const ALL: u64 = u64::MAX;
    const BETWEEN: u64 = 0x0000_0000_ffff_ff00;
    const NO_POOL: u64 = 0xffff_ffff_ffff_ff00;
    const HIGH: u64 = 0xffff_ffff_0000_0000;
    let (pool, key, page) = (PoolId(0), Key::default(), Gpa(0));
    let object = ObjectId::default();
    let range = ByteRange::new(0, 4096).expect("a whole page is a range");
    let private = Request::NewPool { flags: PoolFlags::Persistent, uuid: Uuid::default() };
    let shared = Request::NewPool { flags: PoolFlags::Shared, uuid: Uuid([7, 9]) };
    vec![
        (private, NO_POOL, [!3, ALL, ALL], ALL, ALL),
        (shared, NO_POOL, [!3, NONE, NONE], ALL, ALL),
        (Request::DestroyPool { pool }, BETWEEN, [ALL; 3], ALL, ALL),
        (Request::Put { pool, key, page }, BETWEEN, [NONE; 3], HIGH, NONE),
        (Request::Get { pool, key, page }, BETWEEN, [NONE; 3], HIGH, NONE),
        (Request::Xchg { pool, key, page }, BETWEEN, [NONE; 3], HIGH, NONE),
        (Request::FlushPage { pool, key }, BETWEEN, [NONE; 3], HIGH, ALL),
        (Request::FlushObject { pool, object }, BETWEEN, [NONE; 3], ALL, ALL),
        (Request::Read { pool, key, range, page }, BETWEEN, [NONE; 3], NONE, NONE),
        (Request::Write { pool, key, range, page }, BETWEEN, [NONE; 3], NONE, NONE),
        // A count above 2^32 leaves the object: as good as reserved.
        (Request::FlushRange { pool, object, first: 1, count: 0 }, BETWEEN, [NONE; 3], HIGH, HIGH),
        (Request::Batch { array: page, count: 1 }, NO_POOL, [ALL; 3], HIGH, NONE),
        (Request::Query { page }, NO_POOL, [ALL; 3], ALL, NONE),
    ]
}

#[test]
fn every_reserved_bit_is_invalid_and_every_other_bit_is_not_reserved() {
    for (request, rdi, [rsi, rdx, r10], r8, r9) in reserved() {
        let base = words(request.encode());
        for (register, mask) in [rdi, rsi, rdx, r10, r8, r9].into_iter().enumerate() {
            // Bits 0-7 of rdi are the operation: another one has other reserved bits.
            let first = if register == 0 { 8 } else { 0 };
            for bit in first..64 {
                let mut changed = base;
                changed[register] ^= 1 << bit;
                let answer = Request::decode(&from_words(changed));
                if mask >> bit & 1 == 1 {
                    let error = answer.expect_err(&format!("{request:?} register {register} bit {bit}"));
                    assert_eq!(error.errno(), Errno::Invalid, "{request:?} register {register} bit {bit}");
                } else if !matches!(request, Request::NewPool { .. }) {
                    // (A flag of NEW_POOL decides whether the uuid is reserved.)
                    assert!(
                        !matches!(answer, Err(DecodeError::ReservedBits { .. })),
                        "{request:?} register {register} bit {bit}: {answer:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn byte_ranges_that_leave_the_page_are_refused() {
    assert_eq!(ByteRange::new(0, 0), None);
    assert_eq!(ByteRange::new(4096, 1), None);
    assert_eq!(ByteRange::new(1, 4096), None);
    assert_eq!(ByteRange::new(u16::MAX, u16::MAX), None);
    assert_eq!(ByteRange::new(4095, 1).map(|range| (range.offset(), range.length())), Some((4095, 1)));
}

#[test]
fn a_flush_range_may_end_at_the_last_index_and_not_beyond() {
    let range = |first, count| {
        let request =
            Request::FlushRange { pool: PoolId(1), object: ObjectId([1, 2, 3]), first, count }.encode();
        Request::decode(&request)
    };
    assert!(range(0, 1 << 32).is_ok());
    assert!(range(u32::MAX, 1).is_ok());
    assert_eq!(range(u32::MAX, 2), Err(DecodeError::IndexRange { first: u32::MAX, count: 2 }));
    assert_eq!(range(1, u64::MAX), Err(DecodeError::IndexRange { first: 1, count: u64::MAX }));
}

#[test]
fn errors_are_told_apart_from_answers() {
    for (errno, _) in Errno::ALL {
        assert_eq!(Errno::from_answer(errno.answer()), Some(*errno));
    }
    assert_eq!(Errno::from_answer(0), None);
    assert_eq!(Errno::from_answer(1), None);
    assert_eq!(Errno::from_answer(i64::MIN), None);
    // Karle's KVM tmem (2012) took a missing host, KVM_ENOSYS = -1000, for success.
    assert_eq!(Errno::from_answer(-1000), None);
}
