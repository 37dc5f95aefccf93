//! Writes the C header of the ABI, for the Linux driver.

use core::fmt::{self, Write};

use crate::{
    BatchEntry, CALL_NUMBER, CPUID_BASE_FIRST, CPUID_BASE_LAST, CPUID_BASE_STEP, Features, Operation,
    PAGE_SIZE, PoolFlags, QUERY_FROZEN, QueryReply, SIGNATURE, VERSION_MAJOR, VERSION_MINOR,
};

/// Writes the C header to `out`. The checked-in copy is `guest-driver/linux/tmem_abi.h`; a test compares them.
///
/// # Errors
/// Only those of `out`.
pub fn write_c_header(out: &mut impl Write) -> fmt::Result {
    out.write_str(
        "/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 OR MIT */\n\
         /*\n \
         * The tmem hypercall ABI, version 1. Generated from the crate tmem-abi, do not edit:\n \
         *   cargo run -p tmem-abi --example c-header > guest-driver/linux/tmem_abi.h\n \
         * The specification is guest-driver/abi/README.md.\n \
         */\n\
         #ifndef TMEM_ABI_H\n\
         #define TMEM_ABI_H\n\n\
         #include <linux/types.h>\n\n",
    )?;
    constants(out)?;
    operations(out)?;
    structures(out)?;
    out.write_str("#endif /* TMEM_ABI_H */\n")
}

fn constants(out: &mut impl Write) -> fmt::Result {
    let signature = core::str::from_utf8(SIGNATURE).map_err(|_| fmt::Error)?;
    writeln!(out, "#define TMEM_CALL_NUMBER\t\t{CALL_NUMBER:#x}ULL")?;
    writeln!(out, "#define TMEM_PAGE_SIZE\t\t{PAGE_SIZE}")?;
    writeln!(out, "#define TMEM_VERSION_MAJOR\t{VERSION_MAJOR}")?;
    writeln!(out, "#define TMEM_VERSION_MINOR\t{VERSION_MINOR}\n")?;
    out.write_str(
        "/* Discovery: base leaves FIRST, FIRST + STEP .. LAST; base + 1 describes the host. */\n",
    )?;
    writeln!(out, "#define TMEM_CPUID_BASE_FIRST\t{CPUID_BASE_FIRST:#x}U")?;
    writeln!(out, "#define TMEM_CPUID_BASE_LAST\t{CPUID_BASE_LAST:#x}U")?;
    writeln!(out, "#define TMEM_CPUID_BASE_STEP\t{CPUID_BASE_STEP:#x}U")?;
    writeln!(out, "#define TMEM_SIGNATURE\t\t\"{signature}\"\n")?;
    for (feature, name) in Features::NAMES {
        writeln!(out, "#define TMEM_FEATURE_{name}\t{:#x}U", feature.bits())?;
    }
    out.write_char('\n')
}

fn operations(out: &mut impl Write) -> fmt::Result {
    out.write_str("/* The port transport carries the argument rdx in r11, as dx holds the port. */\n")?;
    out.write_str("/* rdi: bits 0-7 operation, bits 8-31 zero, bits 32-63 pool id. */\n")?;
    for (operation, name) in Operation::ALL {
        writeln!(out, "#define TMEM_OP_{name}\t{}", operation.number())?;
    }
    out.write_str("#define TMEM_POOL_SHIFT\t\t32\n\n/* r8 of READ and WRITE. */\n")?;
    out.write_str("#define TMEM_OFFSET_SHIFT\t32\n#define TMEM_LENGTH_SHIFT\t48\n\n")?;
    out.write_str("/* rsi of NEW_POOL. */\n")?;
    writeln!(out, "#define TMEM_POOL_EPHEMERAL\t{}", PoolFlags::Ephemeral.bits())?;
    writeln!(out, "#define TMEM_POOL_PERSISTENT\t{}", PoolFlags::Persistent.bits())?;
    writeln!(out, "#define TMEM_POOL_SHARED\t{}\n", PoolFlags::Shared.bits())
}

fn structures(out: &mut impl Write) -> fmt::Result {
    out.write_str("/* One entry of a batch: the registers of the call it stands for, and its answer. */\n")?;
    out.write_str("struct tmem_batch_entry {\n")?;
    for field in ["rdi", "rsi", "rdx", "r10", "r8", "r9"] {
        writeln!(out, "\t__u64 {field};")?;
    }
    out.write_str("\t__s64 status;\n\t__u64 cookie;\n};\n\n")?;
    out.write_str("/* What QUERY writes to the start of the page. */\nstruct tmem_query_reply {\n")?;
    for field in ["size", "flags", "max_pools", "pools"] {
        writeln!(out, "\t__u32 {field};")?;
    }
    for field in [
        "cap_bytes",
        "used_bytes",
        "metadata_bytes",
        "persistent_pages",
        "ephemeral_pages",
        "puts",
        "puts_refused",
        "gets",
        "gets_hit",
        "pages_flushed",
        "pages_evicted",
        "reserved[3]",
    ] {
        writeln!(out, "\t__u64 {field};")?;
    }
    writeln!(out, "}};\n#define TMEM_QUERY_FROZEN\t{QUERY_FROZEN}U\n")?;
    out.write_str("#ifdef __KERNEL__\n#include <linux/build_bug.h>\n#include <linux/stddef.h>\n")?;
    writeln!(out, "static_assert(sizeof(struct tmem_batch_entry) == {});", BatchEntry::SIZE)?;
    writeln!(
        out,
        "static_assert(offsetof(struct tmem_batch_entry, status) == {});",
        BatchEntry::STATUS_OFFSET
    )?;
    writeln!(out, "static_assert(sizeof(struct tmem_query_reply) == {});", QueryReply::SIZE)?;
    let evicted = core::mem::offset_of!(QueryReply, pages_evicted);
    writeln!(out, "static_assert(offsetof(struct tmem_query_reply, pages_evicted) == {evicted});")?;
    out.write_str("#endif\n\n")
}
