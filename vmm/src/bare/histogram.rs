//! Durations as the bench payload counted them.

use tmem_bare::histogram::{BUCKETS, WORDS, address, smallest};

use crate::memory::GuestRam;

/// How long something took, over all vCPUs that counted it, in ticks of the time stamp counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    sum: u64,
    buckets: Vec<u64>,
}

impl Default for Durations {
    fn default() -> Self {
        Self { sum: 0, buckets: vec![0; BUCKETS] }
    }
}

impl Durations {
    /// Histogram `number` of a vCPU of the guest with this RAM. The numbers are the guest's: they may be anything.
    pub(super) fn read(ram: &GuestRam, vcpu: u32, number: usize) -> Self {
        let mut bytes = vec![0; WORDS * 8];
        if ram.read(&mut bytes, address(vcpu, number)).is_err() {
            return Self::default();
        }
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        Self { sum: words.next().unwrap_or_default(), buckets: words.collect() }
    }

    /// Adds what others counted.
    pub fn merge(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        for (to, from) in self.buckets.iter_mut().zip(&other.buckets) {
            *to = to.saturating_add(*from);
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Their mean in ticks; 0 if there are none.
    pub fn mean(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            count => self.sum as f64 / count as f64,
        }
    }

    /// The value in ticks that the share `part` (0 to 1) of them does not exceed, to within a sixteenth; 0 if there are
    /// none.
    pub fn quantile(&self, part: f64) -> f64 {
        let rank = (self.count() as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0_u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                // The middle of the bucket: its start would flatter by up to a sixteenth.
                return (smallest(bucket) + smallest(bucket + 1)) as f64 / 2.0;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tmem_bare::histogram::bucket;

    fn of(values: &[u64]) -> Durations {
        let mut durations = Durations::default();
        for value in values {
            durations.sum += value;
            durations.buckets[bucket(*value)] += 1;
        }
        durations
    }

    #[test]
    fn median_is_near_the_middle_value_and_an_outlier_moves_only_the_mean() {
        let durations = of(&[1000, 1000, 1010, 1_000_000]);
        assert!((durations.quantile(0.5) - 1000.0).abs() < 70.0);
        assert!(durations.mean() > 200_000.0);
        assert!(durations.quantile(1.0) > 900_000.0);
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!((of(&[]).quantile(0.5), of(&[]).mean()), (0.0, 0.0));
    }

    #[test]
    fn merged_durations_count_both() {
        let mut both = of(&[1, 2]);
        both.merge(&of(&[3]));
        assert_eq!((both.count(), both.mean()), (3, 2.0));
    }
}
