//! The driver's parameters and counters, beside the device.

use std::fs;

use super::Failure;
use crate::tool::files::number_in;

/// A parameter of the driver that has another value until this is dropped.
pub(super) struct Parameter {
    path: String,
    before: String,
}

impl Parameter {
    pub(super) fn set(name: &str, value: u64) -> Result<Self, Failure> {
        let path = format!("/sys/module/tmem/parameters/{name}");
        let before = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        fs::write(&path, value.to_string()).map_err(|error| format!("{path}: {error}"))?;
        Ok(Self { path, before })
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        // The next case that sets it would say what is wrong.
        let _ = fs::write(&self.path, self.before.trim());
    }
}

/// What the host says that this guest holds.
pub(super) fn host(name: &str) -> u64 {
    number_in("/sys/kernel/debug/tmem/host", name)
}

/// What the driver has counted.
pub(super) fn stat(name: &str) -> u64 {
    number_in("/sys/kernel/debug/tmem/stats", name)
}
