//! The payloads, as this program carries them.

use std::fmt;

/// A program of `guest-driver/bare`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Walks the ABI's rules case by case.
    Selftest,
    /// Measures calls.
    Bench,
    /// Attacks its host.
    Hostile,
}

impl Payload {
    /// The ELF image.
    pub fn image(self) -> &'static [u8] {
        match self {
            Self::Selftest => include_bytes!(concat!(env!("TMEM_BARE_PAYLOADS"), "/selftest")),
            Self::Bench => include_bytes!(concat!(env!("TMEM_BARE_PAYLOADS"), "/bench")),
            Self::Hostile => include_bytes!(concat!(env!("TMEM_BARE_PAYLOADS"), "/hostile")),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Selftest => "selftest",
            Self::Bench => "bench",
            Self::Hostile => "hostile",
        })
    }
}
