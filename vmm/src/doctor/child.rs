//! Trials in child processes, killed when their time is over.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::{Ability, Probe};

/// How long one trial may take: they all end at once, or not before somebody ends them.
const LIMIT: Duration = Duration::from_secs(20);

/// Tries something in a child of this program.
pub fn run_probe(probe: Probe) -> Ability {
    let child = std::env::current_exe()
        .and_then(|program| Command::new(program).args(["doctor", "--probe", probe.name()]).supervised());
    match child {
        Ok(child) => {
            supervise(child, LIMIT).unwrap_or_else(|why| Ability::no(format!("{why}; {}", probe.advice())))
        }
        Err(error) => Ability::no(format!("the trial cannot be started: {error}")),
    }
}

trait Supervised {
    fn supervised(&mut self) -> std::io::Result<Child>;
}

impl Supervised for Command {
    fn supervised(&mut self) -> std::io::Result<Child> {
        self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    }
}

/// Waits for the answer of a trial: the JSON that it prints.
fn supervise(mut child: Child, limit: Duration) -> Result<Ability, String> {
    let Some(mut stdout) = child.stdout.take() else {
        return Err("the trial has no output".to_owned());
    };
    let (answer, answers) = channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text).map(|_| text);
        // Nobody waits any more after the limit.
        let _ = answer.send(read);
    });
    let Ok(text) = answers.recv_timeout(limit) else {
        // A process that hangs in the kernel may take a while to die, and nothing here depends on it.
        let _ = child.kill();
        std::thread::spawn(move || child.wait());
        return Err(format!("the trial did not end within {} s and was killed", limit.as_secs()));
    };
    let status = child.wait().map_err(|error| format!("the trial was lost: {error}"))?;
    let text = text.map_err(|error| format!("the trial's answer was lost: {error}"))?;
    serde_json::from_str(&text).map_err(|_| format!("the trial ended with {status} instead of an answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).supervised().unwrap()
    }

    #[test]
    fn answer_of_a_trial_is_read() {
        let answer = supervise(shell(r#"echo '{"works":true,"why":"so"}'"#), LIMIT);
        assert_eq!(answer, Ok(Ability::yes("so")));
    }

    #[test]
    fn trial_that_dies_without_an_answer_says_how() {
        let why = supervise(shell("kill -ILL $$"), LIMIT).unwrap_err();
        assert!(why.contains("signal: 4"), "{why}");
    }

    #[test]
    fn trial_that_hangs_is_killed() {
        let why = supervise(shell("exec sleep 1000000"), Duration::from_millis(1)).unwrap_err();
        assert!(why.contains("was killed"), "{why}");
    }
}
