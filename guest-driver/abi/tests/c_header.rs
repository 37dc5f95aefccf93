//! The checked-in C header is the one that this crate writes, and a C compiler agrees with its layouts.

use std::path::Path;
use std::process::Command;

const HEADER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../linux/tmem_abi.h");

#[test]
fn the_checked_in_header_is_the_generated_one() {
    let mut generated = String::new();
    tmem_abi::write_c_header(&mut generated).unwrap();
    let checked_in = std::fs::read_to_string(HEADER).unwrap_or_default();
    assert!(
        checked_in == generated,
        "guest-driver/linux/tmem_abi.h differs from the ABI; run\n  \
         cargo run -p tmem-abi --example c-header > guest-driver/linux/tmem_abi.h"
    );
}

#[test]
fn a_c_compiler_gives_the_structures_their_sizes() {
    let source = format!(
        "#include \"{HEADER}\"\n#include <stddef.h>\n\
         _Static_assert(sizeof(struct tmem_batch_entry) == {}, \"entry\");\n\
         _Static_assert(offsetof(struct tmem_batch_entry, status) == {}, \"status\");\n\
         _Static_assert(sizeof(struct tmem_query_reply) == {}, \"reply\");\n\
         _Static_assert(offsetof(struct tmem_query_reply, pages_evicted) == {}, \"evicted\");\n",
        tmem_abi::BatchEntry::SIZE,
        tmem_abi::BatchEntry::STATUS_OFFSET,
        tmem_abi::QueryReply::SIZE,
        core::mem::offset_of!(tmem_abi::QueryReply, pages_evicted),
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("layout.c");
    std::fs::write(&file, source).unwrap();
    let compiler = match Command::new("cc").arg("-fsyntax-only").arg(&file).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: no C compiler (cc: {error})");
            return;
        }
    };
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
}
