//! Amounts of memory as people write them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A number of bytes, written as a number or with K, M, G, T (powers of 1024): `64M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = text.get(digits.len()..).unwrap_or_default();
        let digits = digits.trim_end();
        let shift = match unit.to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KI" | "KIB" => 10,
            "M" | "MB" | "MI" | "MIB" => 20,
            "G" | "GB" | "GI" | "GIB" => 30,
            "T" | "TB" | "TI" | "TIB" => 40,
            _ => return Err(unknown(text)),
        };
        match digits.parse::<u64>() {
            Ok(number) => number
                .checked_mul(1 << shift)
                .map(Self)
                .ok_or_else(|| format!("`{text}` is more than any machine has")),
            Err(_) => Err(fraction(text, digits, shift).unwrap_or_else(|| unknown(text))),
        }
    }
}

fn unknown(text: &str) -> String {
    format!("`{text}` is not a size: write a number of bytes, or one with K, M, G or T, such as 64M")
}

/// What to write for a number with a point or a comma in it.
fn fraction(text: &str, digits: &str, shift: u32) -> Option<String> {
    let (whole, part) = digits.split_once(['.', ','])?;
    let number: f64 = format!("{whole}.{part}").parse().ok()?;
    // A size of a smaller unit is exact enough for what somebody writes with a point.
    let smaller = shift.checked_sub(10).filter(|_| number > 0.0 && number < 1e6)?;
    let instead = Size(((number * 1024.0).round() as u64) << smaller);
    Some(format!("`{text}` is not a whole number: write {instead}"))
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, 'T'), (30, 'G'), (20, 'M'), (10, 'K')] {
            if self.0 >= 1 << shift && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a size such as \"64M\", or a number of bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Size, E> {
                Err(E::custom(format_args!(
                    "{number} is not a whole number of bytes: write a size such as \"1536M\", in quotes"
                )))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Size, E> {
                u64::try_from(number).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_when_well_formed_are_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("64M", 64 << 20),
            ("2g", 2 << 30),
            ("1 KiB", 1024),
            ("1T", 1 << 40),
            ("3Gi", 3 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn sizes_when_malformed_are_refused() {
        for text in ["", "M", "-1", "64X", "1.5G", "99999999999T", "0x10"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_when_fractions_or_too_large_are_told_what_to_write() {
        for (text, why) in [
            ("1.5G", "write 1536M"),
            ("1,5G", "write 1536M"),
            ("0.5M", "write 512K"),
            ("2.0T", "write 2T"),
            (".5G", "write 512M"),
            ("1.5", "such as 64M"),
            ("1.2.3G", "such as 64M"),
            ("99999999999T", "more than any machine has"),
            ("64Q", "such as 64M"),
            ("-1G", "such as 64M"),
        ] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.starts_with(&format!("`{text}` is ")) && error.ends_with(why), "{error}");
        }
    }

    #[test]
    fn sizes_when_shown_use_the_largest_whole_unit() {
        assert_eq!(Size(64 << 20).to_string(), "64M");
        assert_eq!(Size(1025).to_string(), "1025");
    }
}
