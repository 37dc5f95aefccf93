//! What a guest's hypercall means: registers in, one signed number out.
//!
//! [`Dispatcher`] serves one guest: it decodes the registers ([`tmem_abi::Request::decode`]), finds the guest's page,
//! copies it, asks the guest's [`tmem_core::Client`], and answers. It knows no KVM: exits reach it through
//! [`crate::kvm::HypercallHandler`], and everything here is tested on plain memory and a real store.
//!
//! On the path of a page there is no allocation, no system call, no log line, and no lock that two vCPUs share. No
//! store lock is held while guest memory is touched: the store only ever sees the dispatcher's own copy.

mod answer;
mod batch;
mod call;
mod discovery;
mod dispatcher;
mod xen;

#[cfg(test)]
mod tests;

pub use discovery::discovery;
pub use dispatcher::{Dispatcher, Limits};
