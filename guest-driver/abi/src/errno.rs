//! The errors a call can answer, as negated Linux numbers.

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $c_name:literal;)*) => {
        /// Why a call failed; `rax` holds the negated Linux number (include/uapi/asm-generic/errno*.h).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Errno {
            $($(#[$doc])* $name = $number,)*
        }

        impl Errno {
            /// Every error with its C name.
            pub const ALL: &'static [(Errno, &'static str)] = &[$((Errno::$name, $c_name),)*];

            /// The error that an answer stands for; `None` if the answer is no error of this ABI.
            #[must_use]
            pub const fn from_answer(answer: i64) -> Option<Self> {
                match answer.checked_neg() {
                    $(Some($number) => Some(Errno::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// The caller may not do this: a call from user mode, a kind of pool or a uuid that the host did not allow.
    NotPermitted = 1, "EPERM";
    /// The stored page is damaged (its checksum differs) and is not delivered, until it is flushed or put again; the
    /// guest must use its own copy or fail.
    Io = 5, "EIO";
    /// There is more to do: the same call goes on with it. Answered only to who asked for that, and in the end of a guest.
    Again = 11, "EAGAIN";
    /// No room: the client is at its cap, or the store is full of pages that may not be evicted.
    NoMemory = 12, "ENOMEM";
    /// The guest-physical address is not page-aligned, or not wholly inside RAM.
    Fault = 14, "EFAULT";
    /// The client is frozen by the host: puts are refused.
    Frozen = 16, "EBUSY";
    /// The client has no pool with this id.
    NoPool = 19, "ENODEV";
    /// A reserved bit is set, a byte range leaves the page, or the operation may not stand in a batch.
    Invalid = 22, "EINVAL";
    /// The client's table of pools is full.
    NoFreePool = 28, "ENOSPC";
    /// No such operation.
    NoOperation = 38, "ENOSYS";
}

impl Errno {
    /// The value of `rax`: the number, negated.
    #[must_use]
    pub const fn answer(self) -> i64 {
        -(self as i64)
    }
}
