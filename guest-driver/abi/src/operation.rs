//! Operation numbers (1-10 are the numbers of Xen's `tmem_op`).

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $c_name:literal;)*) => {
        /// What a call asks for: bits 0-7 of `rdi`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Operation {
            $($(#[$doc])* $name = $number,)*
        }

        impl Operation {
            /// Every operation with its name in the C header.
            pub const ALL: &'static [(Operation, &'static str)] = &[$((Operation::$name, $c_name),)*];

            /// The operation with this number, or `None`.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Operation::$name),)*
                    _ => None,
                }
            }
        }
    };
}

operations! {
    /// Make a pool. Answers its id, >= 0.
    NewPool = 1, "NEW_POOL";
    /// Destroy a pool: its pages are unreachable at once. Answers 0.
    DestroyPool = 2, "DESTROY_POOL";
    /// Store a copy of the guest page. Answers 0; on any failure no page is left under the key.
    Put = 4, "PUT";
    /// Copy a stored page to the guest page. Answers 1, or 0 for a miss.
    Get = 5, "GET";
    /// Forget one page. Answers how many pages went: 0 or 1.
    FlushPage = 6, "FLUSH_PAGE";
    /// Forget every page of an object. Answers how many pages went.
    FlushObject = 7, "FLUSH_OBJECT";
    /// Copy a byte range of a stored page into the same range of the guest page. Answers 1, or 0 for a miss.
    Read = 8, "READ";
    /// Copy a byte range of the guest page into a stored page; an absent page counts as zeros. Answers 0.
    Write = 9, "WRITE";
    /// Swap the stored page and the guest page. Answers 1; 0 if nothing was stored, then only the put happened.
    Xchg = 10, "XCHG";
    /// Forget the pages with index in `[first, first + count)` of one object. Answers how many pages went.
    FlushRange = 16, "FLUSH_RANGE";
    /// Run an array of [`crate::BatchEntry`] in order. Answers how many entries were run: all of them.
    Batch = 17, "BATCH";
    /// Write a [`crate::QueryReply`] to the start of the guest page. Answers its length in bytes.
    Query = 18, "QUERY";
}

impl Operation {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether a batch may carry it: the operations on pages, not those on pools, batches or limits.
    #[must_use]
    pub const fn allowed_in_batch(self) -> bool {
        !matches!(self, Self::NewPool | Self::DestroyPool | Self::Batch | Self::Query)
    }
}
