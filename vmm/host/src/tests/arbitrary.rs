//! Any registers and any array at all: an answer, and nothing touched that was not named.

use super::*;
use crate::{Registers, TranslateGva};
use proptest::prelude::*;

/// A page that no generated call can name: its address is not among [`gpa`]'s.
const WITNESS: Gpa = Gpa(0x40_0000);

struct Identity;

impl TranslateGva for Identity {
    fn translate(&self, gva: u64) -> Option<Gpa> {
        Some(Gpa(gva))
    }
}

/// Addresses: the pages of the test, and everything that is none.
fn gpa() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::sample::select(vec![OUT.0, BACK.0, ARRAY.0, ARRAY.0 + 4096]),
        1 => prop::sample::select(vec![RAM, RAM - 4096, 0xfee0_0000, u64::MAX, u64::MAX - 4095, OUT.0 + 1]),
        1 => any::<u64>().prop_map(|bits| bits | 1 << 63),
    ]
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..4_u64, 1 => any::<u64>(), 1 => (0..64_u32).prop_map(|bit| 1 << bit)]
}

/// Registers close enough to real calls to reach every operation, and often wrong in one place.
fn registers() -> impl Strategy<Value = tmem_abi::Registers> {
    let operation = prop_oneof![6 => 0..20_u64, 1 => any::<u64>()];
    let r8 = prop_oneof![
        3 => 0..8_u64,
        1 => (0..5000_u64, 0..5000_u64).prop_map(|(o, l)| o << 32 | l << 48),
        1 => any::<u64>(),
    ];
    let r9 = prop_oneof![4 => gpa(), 1 => 0..200_u64];
    let pool = prop_oneof![6 => 0..4_u64, 1 => any::<u64>()];
    (operation, pool, [word(), word(), word()], r8, r9).prop_map(|(op, pool, [rsi, rdx, r10], r8, r9)| {
        // Few objects, so that calls meet.
        let object = rsi % 3;
        let rsi = if op == 1 { rsi } else { object };
        tmem_abi::Registers { rdi: op | pool << 32, rsi, rdx: rdx & 1, r10: r10 & (op == 1) as u64, r8, r9 }
    })
}

fn rax() -> impl Strategy<Value = (u64, Option<u8>)> {
    prop_oneof![
        6 => Just((tmem_abi::CALL_NUMBER, Some(0))),
        2 => Just((tmem_abi::CALL_NUMBER, None)),
        2 => Just((tmem_abi::xen::CALL_NUMBER, Some(0))),
        1 => (any::<u64>(), any::<Option<u8>>()),
    ]
}

proptest! {
    #[test]
    fn arbitrary_calls_answer_and_touch_only_what_they_name(
        calls in prop::collection::vec((rax(), registers(), 0..3_u32), 1..60),
        array in prop::collection::vec(registers(), 128),
    ) {
        let store = store();
        let other = Guest::of(&store, client_config(), RAM);
        let guest = Guest::of(&store, ClientConfig { cap_bytes: 1 << 20, ..client_config() }, RAM);
        let its_pool = other.pool(PoolFlags::Persistent);
        prop_assert_eq!(other.put(its_pool, 0, 0x77), 0);
        guest.pool(PoolFlags::Persistent);
        guest.pool(PoolFlags::Ephemeral);
        guest.pool(PoolFlags::Shared);
        guest.fill(WITNESS, 0x5a);
        for (number, r) in array.iter().enumerate() {
            let words = [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9, 0, 0];
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            guest.write_bytes(&bytes, ARRAY.0 + 64 * number as u64);
        }
        for ((rax, cpl), r, vcpu) in calls {
            let tmem_abi::Registers { rdi, rsi, rdx, r10, r8, r9 } = r;
            // A tmem_op lies where an address is asked for.
            let rdi = if rax == tmem_abi::xen::CALL_NUMBER { r9 } else { rdi };
            let regs = Registers { rax, rdi, rsi, rdx, r10, r8, r9, cpl };
            let answer = guest.dispatcher.hypercall(&guest.memory, vcpu, &regs, &Identity);
            let known = answer >= 0 || tmem_abi::Errno::from_answer(answer).is_some();
            prop_assert!(known || rax != tmem_abi::CALL_NUMBER, "answer {}", answer);
        }
        prop_assert_eq!(guest.page(WITNESS), [0x5a; PAGE_SIZE]);
        prop_assert_eq!(other.get(its_pool, 0), Ok(0x77));
        prop_assert!(guest.dispatcher.client().usage().bytes <= 1 << 20);
    }
}
