//! QUERY.

use super::*;
use tmem_abi::{QUERY_FROZEN, QueryReply};

fn query(guest: &Guest) -> QueryReply {
    guest.fill(BACK, 0xee);
    assert_eq!(guest.op(Request::Query { page: BACK }), QueryReply::SIZE as i64);
    let page = guest.page(BACK);
    assert!(page[QueryReply::SIZE..].iter().all(|byte| *byte == 0xee), "written beyond the reply");
    QueryReply::from_bytes(page[..QueryReply::SIZE].try_into().unwrap())
}

#[test]
fn reply_counts_what_the_guest_did() {
    let guest = Guest::of(&store(), ClientConfig { cap_bytes: 64 << 20, ..client_config() }, RAM);
    let persistent = guest.pool(PoolFlags::Persistent);
    let ephemeral = guest.pool(PoolFlags::Ephemeral);
    for index in 0..3 {
        assert_eq!(guest.put(persistent, index, 1), 0);
    }
    assert_eq!(guest.put(ephemeral, 0, 1), 0);
    assert_eq!((guest.get(persistent, 0), guest.get(persistent, 9)), (Ok(1), MISS));
    assert_eq!(guest.op(Request::FlushPage { pool: persistent, key: key(0) }), 1);
    let reply = query(&guest);
    assert_eq!((reply.size, reply.flags, reply.reserved), (128, 0, [0; 3]));
    assert_eq!((reply.max_pools, reply.pools, reply.cap_bytes), (4, 2, 64 << 20));
    assert_eq!((reply.persistent_pages, reply.ephemeral_pages), (2, 1));
    assert_eq!((reply.puts, reply.puts_refused), (4, 0));
    assert_eq!((reply.gets, reply.gets_hit, reply.pages_flushed), (2, 1, 1));
    assert!(reply.metadata_bytes > 0 && reply.metadata_bytes <= reply.used_bytes);
}

#[test]
fn reply_of_a_frozen_client_says_so_and_counts_the_refusal() {
    let guest = Guest::new();
    let pool = guest.pool(PoolFlags::Persistent);
    guest.dispatcher.client().freeze();
    assert_eq!(guest.put(pool, 0, 1), EBUSY);
    let reply = query(&guest);
    assert_eq!((reply.flags, reply.puts, reply.puts_refused), (QUERY_FROZEN, 1, 1));
}
