//! One `tmem run`: guests started at their times, watched, stopped on request, and reported.

mod asked;
mod output_file;
mod report;
mod series;
pub(crate) mod signals;
mod supervise;
mod tmem;
mod watch;

pub use output_file::OutputFile;
pub use report::{EndKind, Entry, SessionReport};
pub use series::Series;
pub use supervise::{Options, SessionError, run};

/// A line for people on standard error. Unlike `eprintln!` it survives a standard error that nobody reads any more.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
