//! The lab: an emulated AMD machine with SVM, a stock Debian kernel with KVM on it, and any command in there.
//!
//! | module | its one idea |
//! |---|---|
//! | `cli` | the command line of `cargo xtask lab` |
//! | `contents` | what the emulated host finds in its root |
//! | `host_init` | the script that runs in there |
//! | `protocol` | what it says to us, and why no guest can say it |
//! | `qemu` | the emulator's command line, process and streams |
//! | `watch` | limits on time and silence |
//! | `run` | one run: events in, log files and output out |
//! | `verdict` | how a run ended |
//! | `artifacts` | files out of the lab |
//! | `repeat` | counting how often a run goes wrong |
//! | `trial` | guests in a lab of their own, and all that they showed kept under one name |

pub(crate) mod artifacts;
pub(crate) mod cli;
mod contents;
mod host_init;
mod protocol;
pub(crate) mod qemu;
mod repeat;
mod run;
pub(crate) mod trial;
mod verdict;
pub(crate) mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tmem_images::KernelId;

pub(crate) use contents::{Lab, place_of};
use protocol::Nonce;
pub(crate) use verdict::LabError;
use watch::Limits;

/// A file to add to the emulated host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Added {
    /// Where it is here.
    pub(crate) from: PathBuf,
    /// Where it appears there; absolute.
    pub(crate) to: String,
}

impl std::str::FromStr for Added {
    type Err = String;

    /// Reads `FILE[:PATH]`; without PATH the file keeps its name and lands in /lab.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = match text.split_once(':') {
            Some((from, to)) => (from, to.to_owned()),
            None => {
                let name = Path::new(text).file_name().ok_or("FILE has no name")?;
                (text, format!("/lab/{}", name.to_string_lossy()))
            }
        };
        if from.is_empty() || !to.starts_with('/') || to.ends_with('/') {
            return Err("expected FILE or FILE:PATH with an absolute PATH".into());
        }
        Ok(Self { from: from.into(), to })
    }
}

/// One command to run in the lab.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What `/bin/sh -c` gets.
    pub(crate) command: String,
    /// Files to add.
    pub(crate) added: Vec<Added>,
    /// The guests whose kernel and initramfs are to be at hand.
    pub(crate) guests: Vec<KernelId>,
    /// Memory of the emulated host in MiB.
    pub(crate) memory_mib: u32,
    /// Limits on time and silence.
    pub(crate) limits: Limits,
    /// Where the command's /out goes.
    pub(crate) out: PathBuf,
    /// Under which name to speak about progress on standard error, if at all.
    pub(crate) progress: Option<String>,
}

impl Job {
    /// `command` in a lab of the usual size.
    pub(crate) fn new(command: &str) -> Self {
        Self {
            command: command.into(),
            added: Vec::new(),
            guests: vec![KernelId::Small],
            memory_mib: 3072,
            limits: Limits::default(),
            out: crate::paths::target().join("lab/out"),
            progress: None,
        }
    }
}

/// A command that ran to its end in the lab.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Its exit status.
    pub(crate) status: i32,
    /// From power-on to power-off.
    pub(crate) took: Duration,
}

impl Lab {
    /// Runs `job`, its output shown on `sink`. Logs of a failed run stay under target/lab; those of a good one are removed.
    pub(crate) fn run(&self, job: &Job, sink: &mut dyn Write) -> Result<Outcome, LabError> {
        let nonce = Nonce::draw().map_err(LabError::setup("cannot read /dev/urandom"))?;
        let logs = log_dir(&nonce);
        std::fs::create_dir_all(&logs).map_err(LabError::setup("cannot make a folder for logs"))?;
        let initrd = logs.join("initrd");
        let kernel = self.write_initrd(job, &nonce, &initrd)?;
        let plan = run::Plan {
            kernel: &kernel,
            initrd: &initrd,
            nonce,
            memory_mib: job.memory_mib,
            limits: job.limits,
            logs: &logs,
            progress: job.progress.as_deref(),
        };
        let finished = run::run(&plan, sink);
        // Large, and made again in no time.
        let _ = std::fs::remove_file(&initrd);
        let finished = finished?;
        let (path, bytes, sha256) = &finished.files;
        artifacts::unpack(path, *bytes, sha256, &job.out)?;
        // A folder that cannot be removed costs only space.
        let _ = std::fs::remove_dir_all(&logs);
        Ok(Outcome { status: finished.status, took: finished.took })
    }
}

/// A folder of its own for each run, so that runs at the same time do not meet.
fn log_dir(nonce: &Nonce) -> PathBuf {
    let short: String = nonce.as_str().chars().take(8).collect();
    crate::paths::target().join("lab").join(format!("run-{short}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lands_in_lab_or_where_it_is_told() {
        assert_eq!("a/b.toml".parse(), Ok(Added { from: "a/b.toml".into(), to: "/lab/b.toml".into() }));
        assert_eq!("b.toml:/etc/x".parse(), Ok(Added { from: "b.toml".into(), to: "/etc/x".into() }));
    }

    #[test]
    fn a_path_in_the_lab_is_absolute_and_names_a_file() {
        for text in ["", "/", "a:b", "a:/b/", ":/b"] {
            assert!(text.parse::<Added>().is_err(), "{text}");
        }
    }
}
