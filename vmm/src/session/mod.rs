//! One `tmem run`: guests started at their times, watched, stopped on request, and reported.

mod pressure;
mod report;
mod signals;
mod store_thread;
mod supervise;
mod tmem;
mod watch;

pub use report::{EndKind, Entry, SessionReport, TmemReport};
pub use supervise::{Options, SessionError, run};
