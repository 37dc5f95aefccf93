//! What a measurement is doing, for whoever waits for it.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a measurement may take without a word.
pub(super) const SILENT: Duration = Duration::from_secs(2);

/// Says on standard error what is being done once it has taken [`SILENT`] in all, and from then on at each step. It costs
/// what is measured nothing: a thread waits, and steps are told between measurements.
pub(super) struct Progress {
    steps: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Begins to wait.
    pub(super) fn start() -> Self {
        let (steps, heard) = channel();
        let say = move || tell(&heard, SILENT, io::stderr());
        // Without a thread it is silent, and measures as well.
        let thread = thread::Builder::new().name("progress".into()).spawn(say).ok();
        Self { steps: Some(steps), thread }
    }

    /// Begins with something else.
    pub(super) fn step(&self, doing: String) {
        if let Some(steps) = &self.steps {
            // The thread may be missing.
            let _ = steps.send(doing);
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

fn tell(heard: &Receiver<String>, silent: Duration, mut to: impl Write) {
    // Standard error may be closed.
    let mut say = |doing: &str| drop(writeln!(to, "{doing}"));
    let end = Instant::now() + silent;
    let mut doing = None;
    loop {
        match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(step) => doing = Some(step),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
    doing.iter().for_each(|step| say(step));
    heard.iter().for_each(|step| say(&step));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(steps: &[&str], silent: Duration) -> String {
        let (to, heard) = channel();
        steps.iter().for_each(|step| to.send((*step).to_owned()).unwrap());
        drop(to);
        let mut text = Vec::new();
        tell(&heard, silent, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn steps_when_all_are_soon_over_are_not_told() {
        assert_eq!(said(&["put", "get"], Duration::from_secs(1000)), "");
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
        to.send("put".to_owned()).unwrap();
        let told = thread::spawn(move || tell(&heard, Duration::ZERO, Written(written)));
        assert_eq!(line(), b"put");
        to.send("get".to_owned()).unwrap();
        assert_eq!(line(), b"get");
        drop(to);
        told.join().unwrap();
    }
}
