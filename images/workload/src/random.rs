//! Pseudo-random numbers: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).

/// Its odd increment, the golden ratio in 64 bits.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Turns a number into one that looks random: SplitMix64's output function, a bijection.
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One number out of several: a keyed hash good enough for choosing, not for hiding.
pub(crate) fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |state, part| mix(state.wrapping_add(GOLDEN) ^ part.wrapping_mul(GOLDEN)))
}

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0 (Lemire's multiplication, with a bias below 2^-32 for bounds below 2^32).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("the upper half of a 128-bit product has 64 bits")
    }

    /// A number in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        // 53 bits are what a double holds.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_splitmix64() {
        // Published first outputs for seed 1234567 (rosettacode.org, "Pseudo-random numbers/Splitmix64").
        let mut random = Random::new(1_234_567);

        let first = [random.next(), random.next(), random.next()];

        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut random = Random::new(1);
        let mut seen = [false; 7];

        for _ in 0..1000 {
            seen[usize::try_from(random.below(7)).unwrap()] = true;
        }

        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn a_hash_depends_on_the_order_of_its_parts() {
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        assert_ne!(hash(&[0, 0]), hash(&[0]));
    }
}
