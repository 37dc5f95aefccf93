//! The answer to QUERY.

/// Bit 0 of [`QueryReply::flags`]: the host has frozen this client, puts are refused.
pub const QUERY_FROZEN: u32 = 1;

/// The caller's own limits, use and counters, 128 bytes, little-endian. Nothing of another guest is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct QueryReply {
    /// Bytes of this structure that the host filled in; a newer host may fill in more.
    pub size: u32,
    /// See [`QUERY_FROZEN`]; other bits zero.
    pub flags: u32,
    /// Most pools this client may have.
    pub max_pools: u32,
    /// Pools it has.
    pub pools: u32,
    /// Bytes this client may hold, metadata included; `u64::MAX` for no cap.
    pub cap_bytes: u64,
    /// Bytes it holds, metadata included.
    pub used_bytes: u64,
    /// Part of `used_bytes` that is metadata.
    pub metadata_bytes: u64,
    /// Persistent pages held.
    pub persistent_pages: u64,
    /// Ephemeral pages held, those it put into shared pools included.
    pub ephemeral_pages: u64,
    /// Puts asked for (WRITE and XCHG count).
    pub puts: u64,
    /// Puts that were refused or failed.
    pub puts_refused: u64,
    /// Gets asked for (READ counts).
    pub gets: u64,
    /// Gets that found their page.
    pub gets_hit: u64,
    /// Pages that flushes removed.
    pub pages_flushed: u64,
    /// Ephemeral pages that the host evicted.
    pub pages_evicted: u64,
    /// Always zero in version 1.
    pub reserved: [u64; 3],
}

const _: () = assert!(size_of::<QueryReply>() == QueryReply::SIZE);
const _: () = assert!(core::mem::offset_of!(QueryReply, cap_bytes) == 16);
const _: () = assert!(core::mem::offset_of!(QueryReply, pages_evicted) == 96);

impl QueryReply {
    /// Bytes of the structure in version 1.
    pub const SIZE: usize = 128;

    /// The bytes as they stand in guest memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let [r0, r1, r2] = self.reserved;
        let words = [
            pair(self.size, self.flags),
            pair(self.max_pools, self.pools),
            self.cap_bytes,
            self.used_bytes,
            self.metadata_bytes,
            self.persistent_pages,
            self.ephemeral_pages,
            self.puts,
            self.puts_refused,
            self.gets,
            self.gets_hit,
            self.pages_flushed,
            self.pages_evicted,
            r0,
            r1,
            r2,
        ];
        let mut bytes = [0; Self::SIZE];
        for (to, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        bytes
    }

    /// The reply in these bytes of guest memory.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        let low = |word: u64| (word & u64::from(u32::MAX)) as u32;
        let high = |word: u64| (word >> 32) as u32;
        let (first, second) = (next(), next());
        Self {
            size: low(first),
            flags: high(first),
            max_pools: low(second),
            pools: high(second),
            cap_bytes: next(),
            used_bytes: next(),
            metadata_bytes: next(),
            persistent_pages: next(),
            ephemeral_pages: next(),
            puts: next(),
            puts_refused: next(),
            gets: next(),
            gets_hit: next(),
            pages_flushed: next(),
            pages_evicted: next(),
            reserved: [next(), next(), next()],
        }
    }
}
