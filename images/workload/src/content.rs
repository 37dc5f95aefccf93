//! What a page holds: a pure function of seed, page number and generation, so that every byte can be checked without
//! a second copy of it.

use std::fmt;
use std::str::FromStr;

use crate::random::{Random, hash};

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;

/// 64-bit words of a page.
pub(crate) const PAGE_WORDS: usize = PAGE_BYTES / 8;

/// A page as words.
pub(crate) type Page = [u64; PAGE_WORDS];

/// What a page is like for a compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All zero, in every generation.
    Zero,
    /// One word repeated, never zero.
    Same,
    /// Words of a small vocabulary, each eight bytes: compresses to about a third.
    Text,
    /// Records of counters, small numbers and pointers, as in a heap: compresses to about a half.
    Binary,
    /// Incompressible.
    Random,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Zero, Self::Same, Self::Text, Self::Binary, Self::Random];

    const fn name(self) -> &'static str {
        match self {
            Self::Zero => "zero",
            Self::Same => "same",
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Random => "random",
        }
    }
}

/// How many of a hundred pages are of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mix([u64; 5]);

impl Mix {
    /// What memory of servers and desktops is about like, as far as compression goes.
    pub(crate) const USUAL: Self = Self([10, 5, 40, 25, 20]);

    fn kind(self, lot: u64) -> Kind {
        let mut left = lot;
        for (kind, share) in Kind::ALL.into_iter().zip(self.0) {
            if left < share {
                return kind;
            }
            left -= share;
        }
        Kind::Random
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> =
            Kind::ALL.iter().zip(self.0).map(|(kind, share)| format!("{}={share}", kind.name())).collect();
        f.write_str(&parts.join(":"))
    }
}

impl FromStr for Mix {
    type Err = String;

    /// `zero=10:text=90`; kinds left out have no share; the shares add up to 100.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares = [0; 5];
        for part in text.split(':') {
            let (name, share) = part.split_once('=').ok_or_else(|| format!("`{part}` is not KIND=SHARE"))?;
            let slot = Kind::ALL
                .iter()
                .zip(&mut shares)
                .find_map(|(kind, slot)| (kind.name() == name).then_some(slot))
                .ok_or_else(|| format!("no kind `{name}`; there are zero, same, text, binary, random"))?;
            *slot = share.parse().map_err(|_| format!("`{share}` is not a share of 100"))?;
        }
        let sum = shares.iter().fold(0_u64, |sum, share| sum.saturating_add(*share));
        if sum == 100 { Ok(Self(shares)) } else { Err(format!("the shares add up to {sum}, not 100")) }
    }
}

/// The contents of all pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents {
    pub(crate) seed: u64,
    pub(crate) mix: Mix,
    /// Of a hundred pages, how many are rewritten in a pass.
    pub(crate) write_share: u64,
}

impl Contents {
    /// What kind `page` is; it stays the same through all generations.
    pub(crate) fn kind(&self, page: u64) -> Kind {
        self.mix.kind(hash(&[self.seed, page, 1]) % 100)
    }

    /// Whether `page` is rewritten in pass number `pass`, counted from 1.
    pub(crate) fn is_rewritten(&self, page: u64, pass: u64) -> bool {
        pass > 0 && hash(&[self.seed, page, pass, 2]) % 100 < self.write_share
    }

    /// The generation of `page` after pass number `pass`: the last pass that rewrote it, 0 if none has.
    pub(crate) fn generation(&self, page: u64, pass: u64) -> u64 {
        (1..=pass).rev().find(|&pass| self.is_rewritten(page, pass)).unwrap_or(0)
    }

    /// Writes the content that `page` has in `generation`.
    pub(crate) fn render(&self, page: u64, generation: u64, into: &mut Page) {
        let mut random = Random::new(hash(&[self.seed, page, generation, 3]));
        match self.kind(page) {
            Kind::Zero => into.fill(0),
            Kind::Same => into.fill(random.next() | 1),
            Kind::Text => text(&mut random, into),
            Kind::Binary => binary(&mut random, into),
            Kind::Random => into.iter_mut().for_each(|word| *word = random.next()),
        }
    }
}

/// The vocabulary of text pages: 64 words of eight letters, spaces included.
const WORDS: [&[u8; 8]; 64] = [
    b"memory  ",
    b"page    ",
    b"guest   ",
    b"host    ",
    b"the     ",
    b"of      ",
    b"store   ",
    b"pool    ",
    b"object  ",
    b"index   ",
    b"client  ",
    b"swap    ",
    b"disk    ",
    b"and     ",
    b"sector  ",
    b"in      ",
    b"write   ",
    b"read    ",
    b"flush   ",
    b"evict   ",
    b"shared  ",
    b"private ",
    b"frame   ",
    b"number  ",
    b"address ",
    b"system  ",
    b"kernel  ",
    b"process ",
    b"thread  ",
    b"lock    ",
    b"queue   ",
    b"a       ",
    b"buffer  ",
    b"cache   ",
    b"value   ",
    b"key     ",
    b"table   ",
    b"tree    ",
    b"list    ",
    b"node    ",
    b"length  ",
    b"offset  ",
    b"block   ",
    b"device  ",
    b"driver  ",
    b"module  ",
    b"error   ",
    b"to      ",
    b"result  ",
    b"return  ",
    b"call    ",
    b"trap    ",
    b"exit    ",
    b"enter   ",
    b"start   ",
    b"end     ",
    b"is\n     ",
    b"not     ",
    b"for     ",
    b"with    ",
    b"from    ",
    b"each    ",
    b"when    ",
    b"then.\n  ",
];

fn text(random: &mut Random, into: &mut Page) {
    for ten in into.chunks_mut(10) {
        // One random number chooses ten words, six bits each.
        let mut bits = random.next();
        for word in ten {
            let chosen = usize::try_from(bits & 63).expect("six bits");
            *word = WORDS.get(chosen).map_or(0, |letters| u64::from_le_bytes(**letters));
            bits >>= 6;
        }
    }
}

fn binary(random: &mut Random, into: &mut Page) {
    // A heap on one machine: pointers share their upper half.
    let heap = 0x0000_7f3a_0000_0000 | (random.next() & 0x00ff_f000);
    for (number, record) in (0_u64..).zip(into.chunks_mut(4)) {
        let bits = random.next();
        let fields = [number << 32 | 0x2001, heap + (bits & 0xfff8), bits >> 16 & 0xff, bits >> 44];
        for (word, field) in record.iter_mut().zip(fields) {
            *word = field;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENTS: Contents = Contents { seed: 7, mix: Mix::USUAL, write_share: 20 };

    fn rendered(page: u64, generation: u64) -> Page {
        let mut into = [1; PAGE_WORDS];
        CONTENTS.render(page, generation, &mut into);
        into
    }

    fn first_of(kind: Kind) -> u64 {
        (0..).find(|&page| CONTENTS.kind(page) == kind).unwrap()
    }

    #[test]
    fn contents_are_a_function_of_seed_page_and_generation() {
        for kind in [Kind::Same, Kind::Text, Kind::Binary, Kind::Random] {
            let page = first_of(kind);
            assert_eq!(rendered(page, 3), rendered(page, 3), "{kind:?}");
            assert_ne!(rendered(page, 3), rendered(page, 4), "{kind:?}");
            let mut other = [0; PAGE_WORDS];
            Contents { seed: 8, ..CONTENTS }.render(page, 3, &mut other);
            assert_ne!(rendered(page, 3), other, "{kind:?}");
        }
    }

    #[test]
    fn no_two_pages_that_are_not_zero_are_alike() {
        let mut seen = std::collections::HashSet::new();

        let alike = (0..4000)
            .filter(|&page| CONTENTS.kind(page) != Kind::Zero)
            .filter(|&page| !seen.insert(rendered(page, 0)));

        assert_eq!(alike.count(), 0);
    }

    #[test]
    fn kinds_compress_as_they_say() {
        let percent = |kind| {
            let pages = (0..2000).filter(|&page| CONTENTS.kind(page) == kind).take(50);
            let sizes = pages.map(|page| {
                let bytes: Vec<u8> = rendered(page, 0).iter().flat_map(|word| word.to_le_bytes()).collect();
                let mut out = vec![0; lz4_flex::block::get_maximum_output_size(bytes.len())];
                lz4_flex::block::compress_into(&bytes, &mut out).unwrap()
            });
            sizes.sum::<usize>() * 100 / (50 * PAGE_BYTES)
        };

        let (text, binary, random) = (percent(Kind::Text), percent(Kind::Binary), percent(Kind::Random));

        assert!((25..45).contains(&text), "text: {text} %");
        assert!((40..65).contains(&binary), "binary: {binary} %");
        assert!(random >= 100, "random: {random} %");
    }

    #[test]
    fn zero_and_same_pages_are_what_they_say() {
        assert_eq!(rendered(first_of(Kind::Zero), 5), [0; PAGE_WORDS]);
        let same = rendered(first_of(Kind::Same), 5);
        assert!(same[0] != 0 && same.iter().all(|&word| word == same[0]));
    }

    #[test]
    fn the_mix_is_what_was_asked_for() {
        let mut count = [0_u64; 5];

        for page in 0..20_000 {
            count[Kind::ALL.iter().position(|&kind| kind == CONTENTS.kind(page)).unwrap()] += 1;
        }

        for (count, share) in count.into_iter().zip(Mix::USUAL.0) {
            assert!(count.abs_diff(share * 200) < 300, "{count} pages for a share of {share} %");
        }
    }

    #[test]
    fn a_mix_is_read_and_shown() {
        assert_eq!(
            "text=60:zero=40".parse::<Mix>().unwrap().to_string(),
            "zero=40:same=0:text=60:binary=0:random=0"
        );
        for (wrong, says) in
            [("zero=50", "50, not 100"), ("foam=100", "no kind"), ("zero", "KIND=SHARE"), ("zero=x", "`x`")]
        {
            assert!(wrong.parse::<Mix>().unwrap_err().contains(says), "{wrong}");
        }
    }

    #[test]
    fn a_generation_is_the_last_pass_that_wrote_the_page() {
        for page in 0..500 {
            let mut generation = 0;
            for pass in 1..=8 {
                if CONTENTS.is_rewritten(page, pass) {
                    generation = pass;
                }
                assert_eq!(CONTENTS.generation(page, pass), generation);
            }
        }
    }

    #[test]
    fn the_share_of_pages_rewritten_is_what_was_asked_for() {
        let rewritten = (0..10_000).filter(|&page| CONTENTS.is_rewritten(page, 2)).count();

        assert!(rewritten.abs_diff(2000) < 200, "{rewritten}");
        assert!((0..1000).all(|page| !CONTENTS.is_rewritten(page, 0)));
    }
}
