//! What this machine can do, by the word of `tmem doctor --json`.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::command::{self, CommandError};

/// What was found, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Findings {
    /// Whether Linux guests run on this machine's KVM.
    pub(crate) linux_guests: Ability,
    /// Whether bare guests do.
    pub(crate) bare_guests: Ability,
}

/// Whether something works here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ability {
    /// Whether it does.
    pub(crate) works: bool,
    /// Why, or why not.
    pub(crate) why: String,
}

/// Asks `tmem`.
pub(crate) fn examine(tmem: &Path) -> Result<Findings, CommandError> {
    let mut doctor = Command::new(tmem);
    doctor.args(["doctor", "--json"]);
    let line = command::line_of(&doctor);
    let text = command::stdout_of(&mut doctor)?;
    serde_json::from_str(&text).map_err(|error| CommandError::Answer { line, reason: error.to_string() })
}
