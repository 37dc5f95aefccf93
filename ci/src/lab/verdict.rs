//! How a run ended: one pure decision over everything that was seen, so that no two failures share a name.

use std::path::PathBuf;

use super::watch::{Broken, Limits};

/// What was seen by the time that the emulator had ended and every channel was drained.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The init said that KVM works and the command starts.
    pub(super) ready: bool,
    /// The init's own reason for giving up.
    pub(super) failed: Option<String>,
    /// The command's exit status, from the end marker.
    pub(super) status: Option<i32>,
    /// The archive that the init announced: bytes and SHA-256.
    pub(super) files: Option<(u64, String)>,
    /// The limit that was broken.
    pub(super) broken: Option<Broken>,
    /// The host kernel's console.
    pub(super) console: String,
    /// The end of QEMU's standard error.
    pub(super) stderr: String,
    /// How QEMU ended, for the message; empty when it ended well.
    pub(super) qemu_failure: String,
}

/// Why a run in the lab is no result at all. A command that ran and failed is not here: that is a result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    /// Nothing moved for a while.
    #[error(
        "LAB-STALLED: no progress for {seconds} s; the registers of each vCPU and the tails of the consoles are in {logs}"
    )]
    Stalled {
        /// The limit.
        seconds: u64,
        /// Folder with the logs.
        logs: PathBuf,
    },
    /// The run took too long although it moved.
    #[error("LAB-TIMEOUT: not finished after {seconds} s (--timeout); logs are in {logs}")]
    TimedOut {
        /// The limit.
        seconds: u64,
        /// Folder with the logs.
        logs: PathBuf,
    },
    /// The emulated host's kernel panicked.
    #[error("LAB-HOST-PANIC: the emulated host's kernel panicked; logs are in {logs}\n{tail}")]
    HostPanic {
        /// Folder with the logs.
        logs: PathBuf,
        /// Its last words.
        tail: String,
    },
    /// QEMU ended with an error.
    #[error("LAB-QEMU-DIED: {how}; logs are in {logs}\n{tail}")]
    QemuDied {
        /// Exit status or signal.
        how: String,
        /// Folder with the logs.
        logs: PathBuf,
        /// Its last words.
        tail: String,
    },
    /// The emulated host came up without a usable KVM.
    #[error("LAB-HOST-UNFIT: the emulated host could not start the command: {why}; logs are in {logs}")]
    HostUnfit {
        /// The init's reason.
        why: String,
        /// Folder with the logs.
        logs: PathBuf,
    },
    /// QEMU ended well, but the end marker is missing.
    #[error(
        "LAB-NO-END-MARKER: the emulated host went away before the command's end marker{}; logs are in {logs}\n{tail}",
        if *.ready { "" } else { ", and even before the command started" }
    )]
    NoEndMarker {
        /// Whether the command had started.
        ready: bool,
        /// Folder with the logs.
        logs: PathBuf,
        /// The console's last lines.
        tail: String,
    },
    /// The files that the command left could not be taken out.
    #[error("LAB-FILES: {0}")]
    Files(#[from] super::artifacts::ArtifactsError),
    /// The emulator could not be started or the run's files not be written.
    #[error("LAB-SETUP: {what}: {source}; `cargo xtask setup --check` says what is missing")]
    Setup {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file of ours could not be written.
    #[error("LAB-SETUP: {0}")]
    File(#[from] crate::files::FileError),
    /// A package is missing and could not be installed.
    #[error("LAB-SETUP: {0}")]
    Packages(#[from] crate::setup::SetupError),
    /// An image could not be made.
    #[error("LAB-IMAGES: {0}")]
    Images(#[from] tmem_images::Error),
    /// `tmem` does not build.
    #[error("LAB-BUILD: {0}")]
    Build(#[from] crate::command::CommandError),
}

impl LabError {
    /// A closure for `map_err` on an [`std::io::Error`].
    pub(crate) fn setup(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Setup { what: what.to_owned(), source }
    }

    /// Its name, the part of its message before the first colon.
    pub(crate) fn name(&self) -> String {
        self.to_string().split(':').next().unwrap_or_default().to_owned()
    }
}

/// Decides how a run ended: the command's exit status and archive, or the name of what went wrong.
pub(super) fn decide(
    seen: &Seen,
    limits: &Limits,
    logs: &std::path::Path,
) -> Result<(i32, (u64, String)), LabError> {
    let logs = logs.to_path_buf();
    if seen.console.contains("Kernel panic - not syncing") {
        return Err(LabError::HostPanic { logs, tail: crate::command::tail_of(&seen.console, 40) });
    }
    match seen.broken {
        Some(Broken::Silence) => return Err(LabError::Stalled { seconds: limits.silence.as_secs(), logs }),
        Some(Broken::Total) => return Err(LabError::TimedOut { seconds: limits.total.as_secs(), logs }),
        None => {}
    }
    if !seen.qemu_failure.is_empty() {
        let tail = crate::command::tail_of(&seen.stderr, 10);
        return Err(LabError::QemuDied { how: seen.qemu_failure.clone(), logs, tail });
    }
    if let Some(why) = &seen.failed {
        return Err(LabError::HostUnfit { why: why.clone(), logs });
    }
    match (seen.status, &seen.files) {
        (Some(status), Some(files)) => Ok((status, files.clone())),
        _ => {
            let tail = crate::command::tail_of(&seen.console, 20);
            Err(LabError::NoEndMarker { ready: seen.ready, logs, tail })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn good() -> Seen {
        Seen { ready: true, status: Some(0), files: Some((1, "x".into())), ..Seen::default() }
    }

    fn name_of(seen: &Seen) -> String {
        decide(seen, &Limits::default(), Path::new("/logs")).unwrap_err().name()
    }

    #[test]
    fn a_marked_end_is_a_result_whatever_the_status() {
        let seen = Seen { status: Some(3), ..good() };
        assert_eq!(decide(&seen, &Limits::default(), Path::new("/logs")).unwrap().0, 3);
    }

    #[test]
    fn a_panic_is_named_even_after_the_end_marker() {
        let console = "x\nKernel panic - not syncing: Fatal exception\n".into();
        assert_eq!(name_of(&Seen { console, ..good() }), "LAB-HOST-PANIC");
    }

    #[test]
    fn each_failure_has_its_own_name() {
        assert_eq!(name_of(&Seen { broken: Some(Broken::Silence), ..good() }), "LAB-STALLED");
        assert_eq!(name_of(&Seen { broken: Some(Broken::Total), ..good() }), "LAB-TIMEOUT");
        assert_eq!(name_of(&Seen { qemu_failure: "signal 9".into(), ..good() }), "LAB-QEMU-DIED");
        assert_eq!(
            name_of(&Seen { failed: Some("no kvm".into()), status: None, ..good() }),
            "LAB-HOST-UNFIT"
        );
        assert_eq!(name_of(&Seen { status: None, ..good() }), "LAB-NO-END-MARKER");
        assert_eq!(name_of(&Seen { files: None, ..good() }), "LAB-NO-END-MARKER");
    }
}
