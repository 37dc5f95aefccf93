//! What `guest-driver/linux/tmem_user.h` says, in Rust.

/// A pool of pages that the host may evict.
pub const EPHEMERAL: u32 = 0;
/// A pool of pages that stay.
pub const PERSISTENT: u32 = 1;

/// Operation: put a page.
pub const PUT: u32 = 4;
/// Operation: get a page.
pub const GET: u32 = 5;
/// Operation: forget a page.
pub const FLUSH: u32 = 6;
/// Operation: forget the pages of a range of indexes.
pub const FLUSH_RANGE: u32 = 16;

/// Most operations of one call.
pub const OPS_MAX: u32 = 65536;

/// `struct tmem_user_pool`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolInfo {
    /// [`EPHEMERAL`] or [`PERSISTENT`].
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// Pages that the pools of the opener's memory cgroup may hold together.
    pub pages_max: u64,
    /// Pages that they hold, at most.
    pub pages_group: u64,
    /// Pages that this pool holds, at most.
    pub pages_held: u64,
}

/// `struct tmem_user_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Op {
    /// Which operation.
    pub op: u32,
    /// Index of the page.
    pub index: u32,
    /// Object id.
    pub oid: [u64; 3],
    /// Address of the page, or the length of a range.
    pub page: u64,
    /// What came of it, [`NOT_RUN`] before.
    pub status: i64,
}

/// The status of an operation that has not run.
pub const NOT_RUN: i64 = -(libc::ECANCELED as i64);

/// `struct tmem_user_ops`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Ops {
    /// Address of the operations.
    pub ops: u64,
    /// How many.
    pub n: u32,
    /// Zero.
    pub reserved: u32,
}

/// Makes the pool.
pub const IOC_POOL: u64 = request(READ | WRITE, 1, size_of::<PoolInfo>());
/// Tells what the pool is and holds.
pub const IOC_INFO: u64 = request(READ, 2, size_of::<PoolInfo>());
/// Does one operation.
pub const IOC_OP: u64 = request(READ | WRITE, 3, size_of::<Op>());
/// Does many.
pub const IOC_OPS: u64 = request(WRITE, 4, size_of::<Ops>());

const WRITE: u64 = 1;
const READ: u64 = 2;

/// A request number as `include/uapi/asm-generic/ioctl.h` builds it.
const fn request(direction: u64, number: u64, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | 0xe7 << 8 | number
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a `#define NAME VALUE` of the C header.
    fn defined(name: &str) -> u32 {
        let header = include_str!("../../linux/tmem_user.h");
        let prefix = format!("#define {name}\t");
        let line = header.lines().find(|line| line.starts_with(&prefix)).unwrap();
        line[prefix.len()..].trim().parse().unwrap()
    }

    #[test]
    fn numbers_are_those_of_the_c_header() {
        let numbers = [EPHEMERAL, PERSISTENT, PUT, GET, FLUSH, FLUSH_RANGE, OPS_MAX];
        let names = ["EPHEMERAL", "PERSISTENT", "PUT", "GET", "FLUSH", "FLUSH_RANGE", "OPS_MAX"];
        assert_eq!(names.map(|name| defined(&format!("TMEM_USER_{name}"))), numbers);
    }

    #[test]
    fn requests_carry_the_sizes_that_the_driver_asserts() {
        assert_eq!((size_of::<Op>(), size_of::<PoolInfo>(), size_of::<Ops>()), (48, 32, 16));
        assert_eq!([IOC_POOL, IOC_INFO], [0xc020_e701, 0x8020_e702]);
        assert_eq!([IOC_OP, IOC_OPS], [0xc030_e703, 0x4010_e704]);
    }
}
