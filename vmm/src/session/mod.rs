//! One `tmem run`: guests started at their times, watched, stopped on request, and reported.

mod asked;
mod live;
mod output_file;
mod prepare;
mod report;
mod say;
mod series;
mod side;
pub(crate) mod signals;
mod start;
mod supervise;
mod tmem;
mod watch;

pub use output_file::OutputFile;
pub use prepare::PrepareError;
pub use report::{EndKind, Entry, SessionReport};
pub(crate) use say::{StandardError, say};
pub use series::Series;
pub use supervise::{Options, SessionError, run};
