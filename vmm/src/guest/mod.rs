//! One Linux guest: assembled, run by a thread per vCPU, watched by a thread of its own, and ended for one reason.

mod assemble;
mod halt;
mod outcome;
mod run;
mod spec;
mod state;
mod vcpu_thread;

pub use assemble::GuestError;
pub use outcome::{BalloonReport, DiskReport, End, ExitCounts, GuestReport};
pub use run::{Guest, Snapshot};
pub use spec::{GuestSpec, TmemService};
pub use state::describe;
