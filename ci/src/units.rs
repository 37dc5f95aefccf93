//! Durations and sizes as people type them.

use std::time::Duration;

/// Reads `90`, `90s`, `15m` or `2h`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is no duration: write seconds, or a number with s, m or h, such as 90s or 15m");
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (text.get(..at), 1),
        Some((at, 'm')) => (text.get(..at), 60),
        Some((at, 'h')) => (text.get(..at), 3600),
        _ => (Some(text), 1),
    };
    let number: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let seconds = number.checked_mul(unit).filter(|&seconds| seconds > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(seconds))
}

/// Reads a size with the suffix K, M, G or none (MiB), in MiB: `512M`, `3G`, `3072`.
pub(crate) fn parse_mib(text: &str) -> Result<u32, String> {
    let wrong =
        || format!("`{text}` is no amount of memory: write MiB, or a number with M or G, such as 512M or 3G");
    let (digits, unit) = match text.char_indices().next_back() {
        Some((at, 'M')) => (text.get(..at), 1),
        Some((at, 'G')) => (text.get(..at), 1024),
        _ => (Some(text), 1),
    };
    let number: u32 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    number.checked_mul(unit).filter(|&mib| mib > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(parse("2h"), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn memory_has_units() {
        assert_eq!(parse_mib("3G"), Ok(3072));
        assert_eq!(parse_mib("512M"), Ok(512));
        assert_eq!(parse_mib("64"), Ok(64));
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "s", "0", "1.5m", "-3", "99999999999999999999h", "3€"] {
            assert!(parse(text).unwrap_err().contains("such as 90s"), "{text}");
        }
        for text in ["", "G", "0M", "1T", "4194304G"] {
            assert!(parse_mib(text).unwrap_err().contains("such as 512M"), "{text}");
        }
    }
}
