//! What a measurement is doing, for whoever waits for it.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a measurement may take without a word.
const SILENT: Duration = Duration::from_secs(2);

/// Something that is done.
struct Step {
    doing: String,
    /// It will take long.
    long: bool,
}

/// Says on standard error what is being done once it has taken [`SILENT`] in all, and from then on at each step. It costs
/// what is measured nothing: a thread waits, and steps are told between measurements.
pub(super) struct Progress {
    steps: Option<Sender<Step>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to wait.
    pub(super) fn start() -> Self {
        let (steps, heard) = channel();
        let say = move || tell(heard, SILENT, io::stderr());
        // Without a thread it is silent, and measures as well.
        let thread = thread::Builder::new().name("progress".into()).spawn(say).ok();
        Self { steps: Some(steps), thread }
    }

    /// Begins with something else.
    pub(super) fn step(&self, doing: String) {
        self.begin(Step { doing, long: false });
    }

    /// Begins with something that takes so long.
    pub(super) fn step_for(&self, time: Duration, doing: String) {
        self.begin(Step { doing, long: time >= SILENT });
    }

    fn begin(&self, step: Step) {
        if let Some(steps) = &self.steps {
            // The thread may be missing.
            let _ = steps.send(step);
        }
    }
}

impl Drop for Progress {
    /// Waits for its thread, so that nothing is said behind the results.
    fn drop(&mut self) {
        drop(self.steps.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tell(heard: Receiver<Step>, silent: Duration, mut to: impl Write) {
    // Standard error may be closed.
    let mut say = |step: &Step| drop(writeln!(to, "{}", step.doing));
    let end = Instant::now() + silent;
    let mut doing = None;
    loop {
        match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(step) => {
                let long = step.long;
                doing = Some(step);
                if long {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    doing.into_iter().chain(heard).for_each(|step| say(&step));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(doing: &str) -> Step {
        Step { doing: doing.to_owned(), long: false }
    }

    fn said(steps: impl IntoIterator<Item = Step>) -> String {
        let (to, heard) = channel();
        steps.into_iter().for_each(|step| to.send(step).unwrap());
        drop(to);
        let mut text = Vec::new();
        tell(heard, Duration::from_secs(1000), &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn steps_when_all_are_soon_over_are_not_told() {
        assert_eq!(said([step("put"), step("get")]), "");
    }

    #[test]
    fn step_when_it_takes_long_is_told_at_once_and_those_after_it_too() {
        let long = Step { long: true, ..step("measure") };
        assert_eq!(said([step("put"), long, step("get")]), "measure\nget\n");
    }

    /// Tells what is written.
    struct Written(Sender<Vec<u8>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn steps_when_the_silence_has_lasted_are_told() {
        let ((to, heard), (written, lines)) = (channel(), channel());
        let line = || lines.iter().flatten().take_while(|byte| *byte != b'\n').collect::<Vec<u8>>();
        to.send(step("put")).unwrap();
        let told = thread::spawn(move || tell(heard, Duration::ZERO, Written(written)));
        assert_eq!(line(), b"put");
        to.send(step("get")).unwrap();
        assert_eq!(line(), b"get");
        drop(to);
        told.join().unwrap();
    }
}
