//! Running other programs: what failed is named with its whole command line and the end of what it said.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// How much of a failed program's output goes into the error, in lines.
const TAIL_LINES: usize = 30;

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// It could not be started.
    #[error("cannot start `{line}`: {source}; is it installed? `cargo xtask setup` installs what is missing")]
    Start {
        /// The command line.
        line: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not in PATH.
    #[error("{program} is not here; `apt-get install {package}` brings it")]
    Missing {
        /// The program.
        program: &'static str,
        /// Its Debian package.
        package: &'static str,
    },
    /// It ran and failed.
    #[error("`{line}` failed ({status}):\n{tail}")]
    Failed {
        /// The command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its output.
        tail: String,
    },
    /// It answered with something else than was agreed.
    #[error("cannot understand what `{line}` printed: {reason}")]
    Answer {
        /// The command line.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A command line as a person would type it, for messages.
pub(crate) fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A command that the kernel kills when we die, however we die: `setpriv` of util-linux sets the parent-death signal. An
/// emulator that survives us would burn a CPU for ever.
pub(crate) fn dying_with_us(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// Runs `command` with its output shown, and requires success.
pub(crate) fn run(command: &mut Command) -> Result<(), CommandError> {
    let line = line_of(command);
    let status = command.status().map_err(|source| CommandError::Start { line: line.clone(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(CommandError::Failed { line, status, tail: "see above".into() })
}

/// Runs `command` silently, requires success and returns its standard output.
pub(crate) fn stdout_of(command: &mut Command) -> Result<String, CommandError> {
    let line = line_of(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CommandError::Start { line: line.clone(), source })?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let said = stdout + &String::from_utf8_lossy(&output.stderr);
    Err(CommandError::Failed { line, status: output.status, tail: tail_of(&said, TAIL_LINES) })
}

/// Compiles C files, with these options more, to a program that runs in any guest.
pub(crate) fn compile(
    sources: &[PathBuf],
    options: &[&str],
    program: &Path,
) -> Result<PathBuf, CommandError> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror"])
        .args(options)
        .arg("-o")
        .arg(program)
        .args(sources);
    run(&mut gcc)?;
    Ok(program.into())
}

/// The last `lines` lines of `text`.
pub(crate) fn tail_of(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let from = all.len().saturating_sub(lines);
    all.get(from..).unwrap_or_default().join("\n")
}

/// The program `name` in PATH, if it is there.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The program `program` in PATH, which `package` of Debian brings.
pub(crate) fn require_program(program: &'static str, package: &'static str) -> Result<PathBuf, CommandError> {
    find_program(program).ok_or(CommandError::Missing { program, package })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_its_arguments_and_words() {
        let error =
            stdout_of(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c echo why"), "{error}");
        assert!(error.contains("exit status: 3"), "{error}");
        assert!(error.ends_with("why"), "{error}");
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = stdout_of(&mut Command::new("no-such-program-here")).unwrap_err().to_string();
        assert!(error.contains("cargo xtask setup"), "{error}");
    }

    #[test]
    fn a_tail_has_the_last_lines() {
        assert_eq!(tail_of("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail_of("a", 2), "a");
    }

    #[test]
    fn programs_are_found_in_path() {
        assert!(require_program("sh", "dash").is_ok() && find_program("no-such-program-here").is_none());
        let error = require_program("no-such-program-here", "nothing").unwrap_err().to_string();
        assert!(error.contains("apt-get install nothing"), "{error}");
    }
}
