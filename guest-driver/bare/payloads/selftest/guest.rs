//! What the cases are written in.

use core::fmt;
use core::panic::Location;

use tmem_abi::{Errno, Features, Gpa, Key, ObjectId, PoolFlags, PoolId, Request, Uuid};
use tmem_bare::Host;
use tmem_bare::boot::BootInfo;
use tmem_bare::control::Mailbox;
use tmem_bare::memory::WorkPage;
use tmem_bare::selftest::SHARED;

/// One rule.
pub(crate) struct Case {
    /// The rule as a name.
    pub(crate) name: &'static str,
    /// What the host must offer, beside what every host does.
    pub(crate) needs: Features,
    /// Tries it.
    pub(crate) run: fn(&Guest) -> Check,
}

impl Case {
    pub(crate) const fn new(name: &'static str, run: fn(&Guest) -> Check) -> Self {
        Self { name, needs: Features::NONE, run }
    }

    pub(crate) const fn needing(needs: Features, name: &'static str, run: fn(&Guest) -> Check) -> Self {
        Self { name, needs, run }
    }
}

/// Whether a case went as it should.
pub(crate) type Check = Result<(), Failure>;

/// An answer that was not the right one.
pub(crate) struct Failure {
    at: &'static Location<'static>,
    got: i64,
    want: i64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: got {}, expected {}", self.at, self.got, self.want)
    }
}

/// The answer is the one expected.
#[track_caller]
pub(crate) fn expect(got: i64, want: i64) -> Check {
    if got == want { Ok(()) } else { Err(Failure { at: Location::caller(), got, want }) }
}

/// The answer is this error.
#[track_caller]
pub(crate) fn expect_errno(got: i64, want: Errno) -> Check {
    expect(got, want.answer())
}

/// It is so.
#[track_caller]
pub(crate) fn expect_true(holds: bool) -> Check {
    expect(i64::from(holds), 1)
}

/// What [`Guest::get`] returns for a miss.
pub(crate) const MISS: i64 = 0;
/// What [`Guest::get`] returns when its page is not of one byte.
pub(crate) const TORN: i64 = 999;

/// What [`Guest::get`] returns for a page full of this byte.
pub(crate) const fn hit(byte: u8) -> i64 {
    1000 + byte as i64
}

/// A key of the object that most cases use.
pub(crate) const fn key(index: u32) -> Key {
    Key { object: OBJECT, index }
}

/// That object; all of its bits matter.
pub(crate) const OBJECT: ObjectId =
    ObjectId([0x1111_0000_0000_0001, 0x2222_0000_0000_0002, 0x8333_0000_0000_0003]);

/// The vCPU that runs the cases, and its host.
pub(crate) struct Guest {
    pub(crate) host: Host,
    pub(crate) info: BootInfo,
    pub(crate) mailbox: Mailbox,
}

impl Guest {
    /// A page of this guest.
    pub(crate) fn page(&self, number: usize) -> WorkPage {
        WorkPage::new(0, number)
    }

    /// The page that puts come from.
    pub(crate) fn out(&self) -> WorkPage {
        self.page(0)
    }

    /// The page that gets go to.
    pub(crate) fn back(&self) -> WorkPage {
        self.page(1)
    }

    pub(crate) fn ask(&self, request: Request) -> i64 {
        self.host.ask(request)
    }

    /// A new pool.
    #[track_caller]
    pub(crate) fn pool(&self, flags: PoolFlags) -> Result<PoolId, Failure> {
        let uuid = if flags == PoolFlags::Shared { Uuid(SHARED) } else { Uuid::default() };
        let answer = self.ask(Request::NewPool { flags, uuid });
        match u32::try_from(answer) {
            Ok(id) => Ok(PoolId(id)),
            Err(_) => Err(Failure { at: Location::caller(), got: answer, want: 0 }),
        }
    }

    /// Puts a page full of `byte`.
    pub(crate) fn put(&self, pool: PoolId, index: u32, byte: u8) -> i64 {
        self.out().fill_byte(byte);
        self.ask(Request::Put { pool, key: key(index), page: self.out().gpa() })
    }

    /// Gets a page: [`hit`] of its byte, [`MISS`] or the error; [`TORN`] if it is not of one byte, or changed without
    /// a hit.
    pub(crate) fn get(&self, pool: PoolId, index: u32) -> i64 {
        const BEFORE: u8 = 0xee;
        let back = self.back();
        back.fill_byte(BEFORE);
        let answer = self.ask(Request::Get { pool, key: key(index), page: back.gpa() });
        let byte = back.bytes().first().map_or(0, |b| b.load(core::sync::atomic::Ordering::Relaxed));
        match (answer, back.is_byte(0..4096, byte)) {
            (_, false) => TORN,
            (1, true) => hit(byte),
            (_, true) if byte != BEFORE => TORN,
            _ => answer,
        }
    }

    pub(crate) fn flush(&self, pool: PoolId, index: u32) -> i64 {
        self.ask(Request::FlushPage { pool, key: key(index) })
    }

    /// Addresses that are no page of RAM: unaligned, just beyond the end, in the hole for devices, and absurd.
    pub(crate) fn bad_addresses(&self) -> [Gpa; 6] {
        let out = self.out().gpa().0;
        [
            Gpa(out + 1),
            Gpa(out + 0x800),
            Gpa(self.info.ram_bytes),
            Gpa(self.info.hole),
            Gpa(1 << 51),
            Gpa(u64::MAX - 4095),
        ]
    }
}
