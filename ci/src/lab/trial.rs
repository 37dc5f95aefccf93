//! A trial: guests in a lab of their own, and all that they showed kept under one name.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Added, Job, Lab, LabError};
use crate::choice::Unknown;
use crate::command::CommandError;
use crate::files::{self, FileError};
use crate::vmm_report::Report;

/// How many lines of what a command said go into an error.
const TAIL_LINES: usize = 20;

/// Why a trial is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    /// It was asked for by a name that is none.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// A file of it could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// An image could not be made.
    #[error(transparent)]
    Images(#[from] tmem_images::Error),
    /// A program could not be made.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// There is no lab.
    #[error(transparent)]
    NoLab(#[from] LabError),
    /// The lab failed.
    #[error("{name}: {source}; what its guests said until then is in {}", log.display())]
    Lab {
        /// The trial.
        name: String,
        /// Why.
        source: Box<LabError>,
        /// What was said.
        log: PathBuf,
    },
    /// The command failed.
    #[error("{name}: its command ended with status {status}; {} has all that was said, at the end:\n{tail}", log.display())]
    Status {
        /// The trial.
        name: String,
        /// The command's exit status.
        status: i32,
        /// What was said.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// The command ended well, and its guests did not do what they should.
    #[error("{name}: {why}; {} has all that was said", log.display())]
    Spoiled {
        /// The trial.
        name: String,
        /// What is wrong.
        why: String,
        /// What was said.
        log: PathBuf,
    },
    /// The VMM's report is of another kind.
    #[error("{}: not a report of this `tmem run`: {source}; vmm/src/session/report.rs and ci/src/vmm_report.rs differ", path.display())]
    Report {
        /// The report.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// Where everything of a trial is: `NAME.log`, its configurations as `NAME-*`, `out/NAME`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial<'a> {
    /// Its folder, which is there.
    pub(crate) dir: &'a Path,
    /// Its name.
    pub(crate) name: &'a str,
}

/// A trial whose command ran to its end.
#[derive(Debug)]
pub(crate) struct Ran {
    name: String,
    /// The command's exit status.
    pub(crate) status: i32,
    /// From power-on to power-off.
    pub(crate) took: Duration,
    /// What the command and its guests said.
    pub(crate) said: String,
    /// The same in a file.
    pub(crate) log: PathBuf,
    out: PathBuf,
}

impl Trial<'_> {
    /// `command` in a lab, with /out going where the trial's files are.
    pub(crate) fn job(&self, command: &str) -> Job {
        Job { out: self.dir.join("out").join(self.name), ..Job::new(command) }
    }

    /// Writes a configuration, which is at /lab/`to` in the lab.
    pub(crate) fn config(&self, to: &str, text: &str) -> Result<Added, FileError> {
        let from = self.dir.join(format!("{}-{to}", self.name));
        files::write(&from, text)?;
        Ok(Added { from, to: format!("/lab/{to}") })
    }

    /// Runs `job`, shown on `sink` as it comes, and kept however it ends.
    pub(crate) fn run(&self, lab: &Lab, job: &Job, sink: &mut dyn Write) -> Result<Ran, TrialError> {
        let log = self.dir.join(format!("{}.log", self.name));
        let file = std::fs::File::create(&log).map_err(FileError::new("write", &log))?;
        let mut tee = Tee { kept: Vec::new(), file, sink };
        let ended = lab.run(job, &mut tee);
        let said = String::from_utf8_lossy(&tee.kept).into_owned();
        match ended {
            Ok(outcome) => Ok(Ran {
                name: self.name.into(),
                status: outcome.status,
                took: outcome.took,
                said,
                log,
                out: job.out.clone(),
            }),
            Err(source) => Err(TrialError::Lab { name: self.name.into(), source: source.into(), log }),
        }
    }
}

impl Ran {
    /// Itself, if the command ended with `status`.
    pub(crate) fn ended_with(self, status: i32) -> Result<Self, TrialError> {
        if self.status == status {
            return Ok(self);
        }
        let tail = crate::command::tail_of(&self.said, TAIL_LINES);
        Err(TrialError::Status { name: self.name, status: self.status, log: self.log, tail })
    }

    /// The error that its guests did not do what they should.
    pub(crate) fn spoiled(self, why: String) -> TrialError {
        TrialError::Spoiled { name: self.name, why, log: self.log }
    }

    /// What the VMM left in /out/report.json.
    pub(crate) fn report(&self) -> Result<Report, TrialError> {
        let path = self.out.join("report.json");
        let text = files::read(&path)?;
        serde_json::from_str(&text).map_err(|source| TrialError::Report { path, source })
    }
}

/// Shows everything as it comes, and keeps it.
struct Tee<'a> {
    kept: Vec<u8>,
    file: std::fs::File,
    sink: &'a mut dyn Write,
}

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kept.extend_from_slice(bytes);
        self.file.write_all(bytes)?;
        self.sink.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(dir: &Path, status: i32) -> Ran {
        Ran {
            name: "x".into(),
            status,
            took: Duration::ZERO,
            said: "a\nb\n".into(),
            log: dir.join("x.log"),
            out: dir.join("out/x"),
        }
    }

    #[test]
    fn a_configuration_is_kept_under_the_name_of_its_trial() {
        let dir = tempfile::tempdir().unwrap();
        let trial = Trial { dir: dir.path(), name: "x" };
        let added = trial.config("guests.toml", "text").unwrap();
        assert_eq!(
            (added.from.clone(), added.to.as_str()),
            (dir.path().join("x-guests.toml"), "/lab/guests.toml")
        );
        assert_eq!(files::read(&added.from).unwrap(), "text");
        assert_eq!(trial.job("true").out, dir.path().join("out/x"));
    }

    #[test]
    fn another_status_is_an_error_with_the_last_words() {
        let dir = Path::new("/d");
        assert!(ran(dir, 3).ended_with(3).is_ok());
        let error = ran(dir, 3).ended_with(0).unwrap_err().to_string();
        assert_eq!(
            error,
            "x: its command ended with status 3; /d/x.log has all that was said, at the end:\na\nb"
        );
    }

    #[test]
    fn a_report_that_is_missing_or_of_another_kind_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ran = ran(dir.path(), 0);
        assert!(ran.report().unwrap_err().to_string().contains("cannot read"));
        files::make_dir(&ran.out).unwrap();
        files::write(&ran.out.join("report.json"), "{}").unwrap();
        let error = ran.report().unwrap_err().to_string();
        assert!(error.contains("out/x/report.json: not a report") && error.contains("guests"), "{error}");
    }
}
