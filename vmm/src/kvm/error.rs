//! Errors of KVM requests on a VM or vCPU.

use thiserror::Error;

/// A request that KVM refused.
#[derive(Debug, Error)]
#[error("KVM refused to {what}: {source}")]
pub struct KvmError {
    /// What was asked for, as the end of "KVM refused to".
    pub what: &'static str,
    /// The kernel's answer.
    #[source]
    pub source: std::io::Error,
}

impl KvmError {
    /// For `map_err` on results of kvm-ioctls.
    pub(crate) fn on(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |errno| Self { what, source: errno.into() }
    }
}
