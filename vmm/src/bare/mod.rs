//! Bare guests: machines with nothing in them but a payload of `guest-driver/bare`.
//!
//! They run where Linux does not, start in microseconds, and do exactly what they are told: the selftest, the benchmark
//! and the attack of the trap path. [`Machine`] is one guest before it runs, [`run`] runs several against one store.

mod bench;
mod control;
mod core_put;
mod error;
mod histogram;
mod machine;
mod payload;
mod rendezvous;
mod run;
mod setting;
mod suite;

pub use bench::{BatchReport, BenchConfig, BenchReport, bench};
pub use control::{CaseResult, Step};
pub use core_put::CorePutError;
pub use error::BareError;
pub use histogram::Durations;
pub(crate) use machine::start_state;
pub use machine::{Machine, MachineConfig, Privilege};
pub use payload::Payload;
pub use run::{Ending, Measured, Outcome, Plan, Until, run};
pub use setting::Setting;
pub use suite::{Attack, attack, selftest, user_mode};
