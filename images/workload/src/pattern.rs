//! In which order pages are touched.

use std::str::FromStr;

use crate::random::{Random, hash};

/// An access pattern. Each gives as many touches in a pass as there are pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Every page once, in order: the worst case for a least-recently-used cache.
    Sequential,
    /// A quarter of the pages four times over, the next quarter in the next pass.
    Looping,
    /// Any page, each as likely as the other.
    Uniform,
    /// A few pages most of the time (YCSB's skew of 0.99), spread over the memory.
    Zipf,
}

impl Pattern {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Looping => "looping",
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }

    /// The pages touched in pass number `pass`, in order.
    pub(crate) fn touches(self, pages: u64, seed: u64, pass: u64) -> Box<dyn Iterator<Item = u64>> {
        let mut random = Random::new(hash(&[seed, pass, 4]));
        match self {
            Self::Sequential => Box::new(0..pages),
            Self::Looping => {
                let window = pages.div_ceil(4).max(1);
                let start = pass.wrapping_mul(window);
                Box::new((0..pages).map(move |at| (start.wrapping_add(at % window)) % pages))
            }
            Self::Uniform => Box::new((0..pages).map(move |_| random.below(pages))),
            Self::Zipf => {
                let zipf = Zipf::new(pages);
                let spread = Spread::new(pages, seed);
                Box::new((0..pages).map(move |_| spread.place(zipf.rank(&mut random))))
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Sequential, Self::Looping, Self::Uniform, Self::Zipf]
            .into_iter()
            .find(|pattern| pattern.name() == text)
            .ok_or_else(|| format!("no pattern `{text}`; there are sequential, looping, uniform, zipf"))
    }
}

/// Zipf-distributed ranks from 0 (Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994,
/// section 3.2, with YCSB's exponent).
struct Zipf {
    count: f64,
    most: u64,
    zeta: f64,
    eta: f64,
}

/// YCSB's default exponent (Cooper et al., SoCC 2010, section 4.1).
const THETA: f64 = 0.99;

impl Zipf {
    fn new(count: u64) -> Self {
        let zeta = |n: u64| (1..=n).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let (all, two) = (zeta(count), zeta(2));
        let count_f = count as f64;
        let eta = (1.0 - (2.0 / count_f).powf(1.0 - THETA)) / (1.0 - two / all);
        Self { count: count_f, most: count.saturating_sub(1), zeta: all, eta }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let u = random.unit();
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.most);
        }
        let rank = self.count * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        // `as` saturates, and rounding may give the count itself.
        (rank as u64).min(self.most)
    }
}

/// A permutation of 0..count, so that popular pages are not neighbours: multiplication by a number without common
/// divisor.
struct Spread {
    count: u64,
    factor: u64,
    shift: u64,
}

impl Spread {
    fn new(count: u64, seed: u64) -> Self {
        // Around 0.618 of the count, as in Fibonacci hashing, neighbours land far apart.
        let start = ((u128::from(count) * 0x9e37_79b9) >> 32) as u64;
        let factor = (start.max(1)..).find(|&factor| common_divisor(factor, count) == 1).unwrap_or(1);
        Self { count, factor, shift: hash(&[seed, 5]) % count.max(1) }
    }

    fn place(&self, rank: u64) -> u64 {
        let wide = u128::from(rank) * u128::from(self.factor) + u128::from(self.shift);
        u64::try_from(wide % u128::from(self.count)).expect("a remainder is smaller than the 64-bit divisor")
    }
}

const fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Pattern; 4] = [Pattern::Sequential, Pattern::Looping, Pattern::Uniform, Pattern::Zipf];

    #[test]
    fn every_pattern_touches_as_often_as_there_are_pages_and_only_those() {
        for pattern in ALL {
            for pages in [1, 2, 3, 4, 5, 1000] {
                let touches: Vec<u64> = pattern.touches(pages, 1, 2).collect();
                assert_eq!(touches.len() as u64, pages, "{pattern:?}");
                assert!(touches.iter().all(|&page| page < pages), "{pattern:?} {pages}");
            }
        }
    }

    #[test]
    fn patterns_repeat_with_their_seed_and_differ_between_passes() {
        for pattern in [Pattern::Looping, Pattern::Uniform, Pattern::Zipf] {
            let touches = |pass| pattern.touches(1000, 5, pass).collect::<Vec<_>>();
            assert_eq!(touches(1), touches(1));
            assert_ne!(touches(1), touches(2));
        }
    }

    #[test]
    fn looping_goes_over_a_quarter_four_times() {
        let touches: Vec<u64> = Pattern::Looping.touches(8, 0, 1).collect();

        assert_eq!(touches, [2, 3, 2, 3, 2, 3, 2, 3]);
    }

    #[test]
    fn zipf_follows_its_law() {
        let pages = 1000_u64;
        let zipf = Zipf::new(pages);
        let mut random = Random::new(3);
        let mut count = vec![0_u32; 1000];
        for _ in 0..200_000 {
            count[usize::try_from(zipf.rank(&mut random)).unwrap()] += 1;
        }

        // P(rank k) = (k + 1)^-0.99 / zeta(1000); the approximation is exact for the first two.
        for rank in [0_usize, 1, 9, 99] {
            let expected = 200_000.0 * ((rank + 1) as f64).powf(-THETA) / zipf.zeta;
            let ratio = f64::from(count[rank]) / expected;
            assert!((0.75..1.35).contains(&ratio), "rank {rank}: {ratio}");
        }
    }

    #[test]
    fn the_spread_is_a_permutation() {
        for count in [1, 2, 6, 97, 1024] {
            let spread = Spread::new(count, 9);
            let mut places: Vec<u64> = (0..count).map(|rank| spread.place(rank)).collect();
            places.sort_unstable();
            assert_eq!(places, (0..count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_wrong_name_lists_the_right_ones() {
        assert!("random".parse::<Pattern>().unwrap_err().contains("zipf"));
    }
}
