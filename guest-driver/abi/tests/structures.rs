//! The structures in guest memory: bytes and fields agree, and the leaves of CPUID say what was meant.

use proptest::prelude::*;
use tmem_abi::xen::{ErrnoXen, TmemOp, XenDecodeError, XenRequest, command};
use tmem_abi::{
    BatchEntry, CpuidLeaf, Discovery, DiscoveryError, Features, Key, ObjectId, PoolFlags, PoolId, QueryReply,
    Uuid,
};

fn key() -> impl Strategy<Value = Key> {
    (any::<[u64; 3]>(), any::<u32>()).prop_map(|(object, index)| Key { object: ObjectId(object), index })
}

fn xen_request() -> impl Strategy<Value = XenRequest> {
    let pool = || any::<u32>().prop_map(PoolId);
    prop_oneof![
        Just(XenRequest::NewPool { flags: PoolFlags::Persistent, uuid: Uuid([0, 0]) }),
        Just(XenRequest::NewPool { flags: PoolFlags::Ephemeral, uuid: Uuid([0, 0]) }),
        (any::<u64>(), 0..u64::MAX).prop_map(|(low, high)| XenRequest::NewPool {
            flags: PoolFlags::Shared,
            uuid: Uuid([low, high])
        }),
        pool().prop_map(|pool| XenRequest::DestroyPool { pool }),
        (pool(), key(), any::<u64>()).prop_map(|(pool, key, gfn)| XenRequest::Put { pool, key, gfn }),
        (pool(), key(), any::<u64>()).prop_map(|(pool, key, gfn)| XenRequest::Get { pool, key, gfn }),
        (pool(), key()).prop_map(|(pool, key)| XenRequest::FlushPage { pool, key }),
        (pool(), any::<[u64; 3]>())
            .prop_map(|(pool, object)| XenRequest::FlushObject { pool, object: ObjectId(object) }),
    ]
}

proptest! {
    #[test]
    fn a_xen_request_survives_encoding(request in xen_request()) {
        let op = TmemOp::encode(&request);
        prop_assert_eq!(TmemOp::from_bytes(&op.to_bytes()), op);
        prop_assert_eq!(op.decode(), Ok(request));
    }

    #[test]
    fn any_xen_structure_is_answered(bytes in any::<[[u8; 28]; 2]>()) {
        let bytes: [u8; TmemOp::SIZE] = bytes.concat().try_into().unwrap();
        let op = TmemOp::from_bytes(&bytes);
        prop_assert_eq!(op.to_bytes(), bytes);
        let _ = op.decode();
    }

    #[test]
    fn a_query_reply_survives_its_bytes(words in any::<[u64; 16]>()) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let bytes: [u8; QueryReply::SIZE] = bytes.try_into().unwrap();
        prop_assert_eq!(QueryReply::from_bytes(&bytes).to_bytes(), bytes);
    }
}

#[test]
fn the_fields_of_tmem_op_lie_where_xen_put_them() {
    let mut bytes = [0u8; TmemOp::SIZE];
    bytes[0] = command::PUT_PAGE as u8;
    bytes[4] = 3; // pool_id
    bytes[8] = 1; // gen.oid[0]
    bytes[16] = 2; // gen.oid[1]
    bytes[24] = 3; // gen.oid[2]
    bytes[32] = 4; // gen.index
    bytes[36] = 0xff; // gen.tmem_offset, ignored by PUT
    bytes[48] = 5; // gen.cmfn
    let key = Key { object: ObjectId([1, 2, 3]), index: 4 };
    assert_eq!(TmemOp::from_bytes(&bytes).decode(), Ok(XenRequest::Put { pool: PoolId(3), key, gfn: 5 }));
}

#[test]
fn xen_pool_flags_are_accepted_and_refused_as_xen_did() {
    let decode =
        |flags: u64| TmemOp { cmd: command::NEW_POOL, pool_id: 0, words: [8, 9, flags, 0, 0, 0] }.decode();
    let made = |flags, uuid| Ok(XenRequest::NewPool { flags, uuid });
    assert_eq!(decode(0x0100_0000), made(PoolFlags::Ephemeral, Uuid([0, 0])));
    assert_eq!(decode(0x0100_0001), made(PoolFlags::Persistent, Uuid([0, 0])));
    assert_eq!(decode(0x0100_0002), made(PoolFlags::Shared, Uuid([8, 9])));
    let refused = [0x0, 0x0200_0000, 0x0100_0003, 0x0100_0004, 0x0100_0010, 0x0100_0100, 0x0180_0000];
    for flags in refused {
        assert_eq!(decode(flags), Err(XenDecodeError::PoolFlags(flags as u32)), "{flags:#x}");
    }
}

#[test]
fn xen_operations_that_were_holes_are_not_served() {
    for cmd in [command::CONTROL, command::AUTH, command::RESTORE_NEW] {
        let error = TmemOp { cmd, ..TmemOp::default() }.decode().unwrap_err();
        assert_eq!(error.errno(), ErrnoXen::NotSupported);
    }
    for cmd in [3, 8, 9, 10, 11, 103, u32::MAX] {
        let error = TmemOp { cmd, ..TmemOp::default() }.decode().unwrap_err();
        assert_eq!(error.errno(), ErrnoXen::NoCommand);
    }
}

#[test]
fn a_batch_entry_is_the_registers_in_order() {
    let bytes: Vec<u8> = (1..=8u64).flat_map(|word| word.to_le_bytes()).collect();
    let entry = BatchEntry::from_bytes(&bytes.try_into().unwrap());
    let r = entry.registers();
    assert_eq!([r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9], [1, 2, 3, 4, 5, 6]);
    assert_eq!((entry.status, entry.cookie), (7, 8));
    assert_eq!(BatchEntry::new(r).registers(), r);
}

/// A machine whose CPUID has KVM at the first base and `host` at `base`.
fn cpuid(base: u32, host: [CpuidLeaf; 2]) -> impl Fn(u32) -> CpuidLeaf {
    let kvm = CpuidLeaf { eax: 0x4000_0001, ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };
    move |leaf| match leaf {
        0x4000_0000 => kvm,
        _ if leaf == base => host[0],
        _ if leaf == base + 1 => host[1],
        _ => CpuidLeaf::default(),
    }
}

#[test]
fn a_host_is_found_behind_kvm() {
    let host = Discovery::this_version(Features::BATCH.union(Features::PERSISTENT), Some(0x7450), 64);
    for base in [0x4000_0100, 0x4000_0200, 0x4000_ff00] {
        assert_eq!(Discovery::find(cpuid(base, host.leaves(base))), Ok(host));
    }
}

#[test]
fn a_missing_or_newer_or_mute_host_is_no_tmem() {
    let host = Discovery::this_version(Features::HYPERCALL, None, 0);
    assert_eq!(Discovery::find(|_| CpuidLeaf::default()), Err(DiscoveryError::NoSignature));
    let newer = Discovery { major: 2, ..host }.leaves(0x4000_0100);
    assert_eq!(Discovery::find(cpuid(0x4000_0100, newer)), Err(DiscoveryError::Version { major: 2 }));
    let mute = Discovery { features: Features::PERSISTENT, ..host }.leaves(0x4000_0100);
    assert_eq!(Discovery::find(cpuid(0x4000_0100, mute)), Err(DiscoveryError::NoTransport));
    // A signature in a base leaf that claims no leaf behind it is no host.
    let [mut base, version] = host.leaves(0x4000_0100);
    base.eax = 0x4000_0100;
    assert_eq!(Discovery::find(cpuid(0x4000_0100, [base, version])), Err(DiscoveryError::NoSignature));
}
