//! Whether the host is short of memory: pressure stall information (kernel `Documentation/accounting/psi.rst`).

use std::fs::File;
use std::io::{Read, Seek};

/// Percent of the last ten seconds in which some task waited for memory, from which the host counts as short of it.
const HIGH: f64 = 1.0;

/// The host's memory pressure. Without such a file, in kernels built without it, there never is any.
pub(crate) struct Pressure(Option<File>);

impl Pressure {
    pub(crate) fn open() -> Self {
        Self(File::open("/proc/pressure/memory").ok())
    }

    pub(crate) fn is_high(&mut self) -> bool {
        let mut text = String::new();
        let Some(file) = &mut self.0 else { return false };
        let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
        read.is_ok() && some_avg10(&text).is_some_and(|percent| percent >= HIGH)
    }
}

/// The number after `avg10=` in the line of `some`.
fn some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_of_ten_seconds_is_read_from_the_line_of_some() {
        let text =
            "some avg10=2.50 avg60=0.10 avg300=0.00 total=12\nfull avg10=9.00 avg60=0 avg300=0 total=3\n";
        assert_eq!(some_avg10(text), Some(2.5));
    }

    #[test]
    fn anything_else_is_no_pressure() {
        assert_eq!(some_avg10(""), None);
        assert_eq!(some_avg10("some avg10=x"), None);
        assert_eq!(some_avg10("full avg10=9.00"), None);
    }
}
