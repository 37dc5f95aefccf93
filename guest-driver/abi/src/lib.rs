//! The tmem hypercall ABI, version 1.
//!
//! This crate is the one source of truth for both sides of the call: the host decodes with
//! [`Request::decode`], a guest encodes with [`Request::encode`], and the C header of the Linux driver is
//! written by [`write_c_header`]. It is `no_std`, allocates nothing and touches no memory but its arguments.
//! The specification in prose is the README beside this file.

#![no_std]
#![forbid(unsafe_code)]

mod batch;
mod discovery;
mod errno;
mod header;
mod operation;
mod query;
mod registers;
mod request;
pub mod xen;

pub use batch::BatchEntry;
pub use discovery::{
    CPUID_BASE_FIRST, CPUID_BASE_LAST, CPUID_BASE_STEP, CpuidLeaf, Discovery, DiscoveryError, Features,
    SIGNATURE,
};
pub use errno::Errno;
pub use header::write_c_header;
pub use operation::Operation;
pub use query::{QUERY_FROZEN, QueryReply};
pub use registers::{Register, Registers};
pub use request::{ByteRange, DecodeError, Gpa, Key, ObjectId, PoolFlags, PoolId, Request, Uuid};

/// Value of `rax` that marks a tmem call on either transport: the bytes `t m e m`, most significant first.
pub const CALL_NUMBER: u64 = 0x746d_656d;

/// Bytes in the page that every operation carries. The ABI knows no other size.
pub const PAGE_SIZE: usize = 4096;

/// Major version: a guest refuses a host whose major differs.
pub const VERSION_MAJOR: u16 = 1;

/// Minor version: grows when something is added that an older guest may ignore.
pub const VERSION_MINOR: u16 = 0;

/// The I/O port of the port transport, where the host does not choose another one (it is announced by CPUID).
/// Above the ISA range and used by no device that Linux probes on x86.
pub const DEFAULT_PORT: u16 = 0x7450;

/// Most entries that the host of this repository accepts in one batch: one 2 MiB folio.
pub const DEFAULT_BATCH_MAX: u32 = 512;
