//! Programs run for us: output kept, progress shown, failures explained.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How often a long command says that it is alive.
const BEAT: Duration = Duration::from_secs(5);

/// How many lines of a failed command's output are shown.
const TAIL_LINES: usize = 25;

/// How much of the last line of output is shown as progress.
const SHOWN_CHARS: usize = 60;

/// Where lines of progress go. Cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Progress that is given to `say`, one line at a time, without line end.
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(say))
    }

    /// Progress as lines on standard error.
    pub fn stderr() -> Self {
        Self::new(|line| eprintln!("{line}"))
    }

    /// Says one line.
    pub fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// Runs a short command and returns its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } =
        command.output().map_err(|source| cannot_start(command, source))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let mut text = String::from_utf8_lossy(&stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&stderr));
    Err(Error::Failed { command: line_of(command), status: status.to_string(), log: None, tail: tail(&text) })
}

/// Runs a long command with its output in `log`; says `what` at the start and every few seconds after.
pub(crate) fn long(progress: &Progress, what: &str, command: &mut Command, log: &Path) -> Result<()> {
    let out = File::create(log).map_err(Error::io("create", log))?;
    let err = out.try_clone().map_err(Error::io("share", log))?;
    command.stdin(std::process::Stdio::null()).stdout(out).stderr(err);

    progress.say(&format!("{what}..."));
    let start = Instant::now();
    let mut child = command.spawn().map_err(|source| cannot_start(command, source))?;
    let (done, is_done) = mpsc::channel::<()>();
    let status = thread::scope(|scope| {
        scope.spawn(move || {
            while is_done.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                progress.say(&format!("{what}: {} s{}", start.elapsed().as_secs(), where_it_is(log)));
            }
        });
        let status = child.wait();
        drop(done);
        status
    })
    .map_err(|source| cannot_start(command, source))?;

    if status.success() {
        return Ok(());
    }
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    Err(Error::Failed {
        command: line_of(command),
        status: status.to_string(),
        log: Some(log.to_path_buf()),
        tail: tail(&text),
    })
}

/// `program`, through sudo unless we are root already.
pub(crate) fn as_root(program: &str) -> Result<Command> {
    if output(Command::new("id").arg("-u"))?.trim() == "0" {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

fn cannot_start(command: &Command, source: std::io::Error) -> Error {
    Error::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// The last lines of a command's output, for an error message.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}

/// How many lines the output has and how the last one ends; nothing for a command that says nothing.
fn where_it_is(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let Some(last) = text.lines().next_back() else { return String::new() };
    // The end: compilers are told long paths, and what differs comes last.
    let skipped = last.chars().count().saturating_sub(SHOWN_CHARS);
    let end: String = last.chars().skip(skipped).collect();
    format!(", step {}: {}{}", text.lines().count(), if skipped > 0 { "..." } else { "" }, end.trim())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_failed_command_shows_its_end_and_names_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "for i in $(seq 40); do echo line $i; done; exit 3";

        let error = long(&Progress::new(|_| ()), "testing", Command::new("sh").args(["-c", script]), &log);

        let text = error.unwrap_err().to_string();
        assert!(text.contains("exit status: 3"), "{text}");
        assert!(text.contains("line 40") && !text.contains("line 15\n"), "{text}");
        assert!(text.contains(log.to_str().unwrap()), "{text}");
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = output(&mut Command::new("no-such-program-here")).unwrap_err().to_string();

        assert!(error.contains("no-such-program-here") && error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn progress_shows_how_the_last_line_ends() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, format!("one\n  CC [M]  {}/blk.o\n", "deep/".repeat(30))).unwrap();

        let shown = where_it_is(&log);

        assert!(shown.starts_with(", step 2: ...") && shown.ends_with("/blk.o"), "{shown}");
        assert_eq!(where_it_is(&dir.path().join("absent")), "");
    }

    #[test]
    fn progress_is_said_once_at_the_start_of_a_short_command() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&said);
        let dir = tempfile::tempdir().unwrap();

        long(
            &Progress::new(move |line| sink.lock().unwrap().push(line.to_owned())),
            "counting",
            &mut Command::new("true"),
            &dir.path().join("log"),
        )
        .unwrap();

        assert_eq!(*said.lock().unwrap(), ["counting..."]);
    }
}
