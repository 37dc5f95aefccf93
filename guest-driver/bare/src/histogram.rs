//! Durations counted by their size: sixteen buckets for every power of two, so that a value read back is at most a
//! sixteenth too small.

use core::sync::atomic::Ordering::Relaxed;

use crate::control::HISTOGRAMS;
use crate::layout;
use crate::memory::words;

/// Buckets of one histogram, for values below 2^34; larger ones count as the largest.
pub const BUCKETS: usize = 496;
/// Words of one histogram in a mailbox: the sum of its values, then the buckets.
pub const WORDS: usize = BUCKETS + 1;

/// A histogram in a vCPU's mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Histogram {
    address: u64,
}

impl Histogram {
    /// Histogram `number` of `vcpu`.
    pub const fn new(vcpu: u32, number: usize) -> Self {
        Self { address: address(vcpu, number) }
    }

    /// Counts a value.
    pub fn add(&self, value: u64) {
        let bucket = self.address + 8 * (bucket(value) + 1) as u64;
        for (at, by) in [(self.address, value), (bucket, 1)] {
            // Only this vCPU writes it.
            words(at, 1).iter().for_each(|word| word.store(word.load(Relaxed) + by, Relaxed));
        }
    }
}

/// Where histogram `number` of `vcpu` lies.
pub const fn address(vcpu: u32, number: usize) -> u64 {
    layout::mailbox(vcpu) + HISTOGRAMS + (number * WORDS * 8) as u64
}

/// The bucket of a value.
pub const fn bucket(value: u64) -> usize {
    if value < 16 {
        return value as usize;
    }
    let exponent = 63 - value.leading_zeros() as usize;
    let bucket = (exponent - 3) * 16 + (value >> (exponent - 4) & 15) as usize;
    if bucket < BUCKETS { bucket } else { BUCKETS - 1 }
}

/// The smallest value of a bucket.
pub const fn smallest(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    (16 + (bucket % 16) as u64) << (bucket / 16 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_starts_where_the_one_before_ends() {
        assert!((0..BUCKETS).all(|n| bucket(smallest(n)) == n));
        assert!((1..BUCKETS).all(|n| bucket(smallest(n) - 1) == n - 1));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
