//! Whether the machine has the memory that a measurement takes.

use tmem_core::PAGE_SIZE;

/// Refuses what would push the machine out of memory.
pub(crate) fn suffices(pages: u32) -> Result<(), String> {
    check(pages, &std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn check(pages: u32, meminfo: &str) -> Result<(), String> {
    // The larger of what `Ours` commits and what malloc takes.
    let need_kib = u64::from(pages) * PAGE_SIZE as u64 / 4 * 5 / 1024 + (64 << 10);
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    // Without that line nobody can tell.
    match line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()) {
        Some(have_kib) if need_kib > have_kib => Err(format!(
            "{pages} pages need {} MiB of memory and {} MiB are available: give fewer with --pages, \
             or to `targets` --only without the group",
            need_kib >> 10,
            have_kib >> 10
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_GIB: &str = "MemTotal: 9 kB\nMemAvailable:    1048576 kB\n";

    #[test]
    fn what_fits_is_measured() {
        assert_eq!(check(100_000, ONE_GIB), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_both_sizes() {
        let why = check(1_000_000, ONE_GIB).unwrap_err();
        assert!(why.contains("need 4946 MiB") && why.contains("1024 MiB are available"), "{why}");
    }
}
