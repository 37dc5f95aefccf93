//! What `tmem run` writes beside the guests' consoles: checked and made before anything runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::run::flag;
use crate::config::{self, Claims, FileRole, Use};
use crate::session::{OutputFile, Series};

/// How long a report may wait for whoever reads it from a pipe.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a process has anyway.
const STREAMS: [(&str, Use, &str); 3] = [
    ("/proc/self/fd/0", Use::Input, "standard input"),
    ("/proc/self/fd/1", Use::Stream, "standard output"),
    ("/proc/self/fd/2", Use::Stream, "standard error"),
];

/// Where a session writes to.
#[derive(Args, Debug)]
pub(super) struct OutputArgs {
    /// Write a JSON report of all guests here when they have ended; an earlier one stays until then
    #[arg(long, value_name = "FILE.json")]
    report: Option<PathBuf>,
    /// Write what the store and every guest hold and do here, a JSON line every second
    #[arg(long, value_name = "FILE.jsonl")]
    stats: Option<PathBuf>,
    /// Listen on this socket, which only its owner may use, for `tmem control`: show guests, stop them, change balloons, disks, caps and shares
    #[arg(long, value_name = "SOCKET")]
    pub(super) control: Option<PathBuf>,
}

/// The files, none of which anybody sees yet.
pub(super) struct Outputs {
    pub(super) report: Option<OutputFile>,
    pub(super) series: Option<Series>,
}

impl Outputs {
    /// Makes sure that all can be written, and that none is anything that is read or written already. Hours of guests are not to end
    /// in a report that cannot be written, and a mistake in a flag is not to cost a disk.
    pub(super) fn prepare(args: &OutputArgs, mut claims: Claims) -> Result<Self, String> {
        for (path, of, who) in STREAMS {
            claims.add(Path::new(path), of, who).map_err(|why| format!("{who}: {why}"))?;
        }
        for (key, path) in
            [("--report", &args.report), ("--stats", &args.stats), ("--control", &args.control)]
        {
            if let Some(path) = path {
                claims
                    .add(path, Use::Output, &format!("that of {key}"))
                    .map_err(|why| flag(key, why).to_string())?;
            }
        }
        if let Some(path) = &args.control {
            std::fs::metadata(config::folder(path))
                .map_err(|error| cannot_make("--control", path, &error))?;
        }
        let create = |key: &'static str, path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| OutputFile::create(path).map_err(|error| cannot_make(key, path, &error)))
                .transpose()
        };
        Ok(Self {
            report: create("--report", &args.report)?,
            series: create("--stats", &args.stats)?.map(Series::new),
        })
    }
}

/// Writes the report, and only then lets it take the earlier one's place.
pub(super) fn write_report(mut file: OutputFile, report: &impl Serialize) -> Result<(), String> {
    let path = file.path().to_owned();
    let mut text = serde_json::to_vec_pretty(report).expect("numbers and names are JSON");
    text.push(b'\n');
    let written = file.write_all_within(&text, PATIENCE).and_then(|()| file.publish());
    written.map(drop).map_err(|error| cannot_make("--report", &path, &error))
}

pub(super) fn cannot_make(key: &str, path: &Path, error: &std::io::Error) -> String {
    flag(key, format!("{}: {}", path.display(), FileRole::Output.trouble(path, error))).to_string()
}
