//! Times in buckets that are an eighth of a power of two wide.

/// Counts of times in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Histogram([u64; 512]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; 512])
    }
}

impl Histogram {
    /// Counts a time.
    pub(super) fn note(&mut self, nanoseconds: u64) {
        if let Some(count) = self.0.get_mut(bucket(nanoseconds)) {
            *count += 1;
        }
    }

    /// Adds another thread's counts.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(to, from)| *to += from);
    }

    /// The time, in nanoseconds, that the given part of all times does not exceed; up to an eighth too high.
    pub(super) fn quantile(&self, part: f64) -> u64 {
        let total: u64 = self.0.iter().sum();
        let mut left = (total as f64 * part).ceil() as u64;
        for (bucket, count) in self.0.iter().enumerate() {
            if *count >= left && *count > 0 {
                return upper(bucket);
            }
            left = left.saturating_sub(*count);
        }
        0
    }
}

fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds < 8 {
        return nanoseconds as usize;
    }
    let power = nanoseconds.ilog2();
    ((power - 2) * 8) as usize + ((nanoseconds >> (power - 3)) & 7) as usize
}

fn upper(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let power = bucket as u32 / 8 + 2;
    ((9 + bucket as u64 % 8) << (power - 3)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_bucket_that_ends_at_most_an_eighth_later() {
        for time in (0..10_000).chain([1 << 20, u64::from(u32::MAX)]) {
            let upper = upper(bucket(time));
            assert!(time <= upper && upper <= time + time / 8, "{time} {upper}");
        }
    }

    #[test]
    fn quantiles_count_from_below() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|n| histogram.note(n));
        assert!((500..=562).contains(&histogram.quantile(0.5)));
        assert!((999..=1124).contains(&histogram.quantile(0.999)));
    }
}
