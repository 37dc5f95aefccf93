//! Telling what happens: progress while it does, the result at the end, for people or for machines.

use std::io::{self, Write};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::args::{Args, Form, Task};
use crate::counters::Counters;
use crate::engine::{Engine, Phase, Tally};
use crate::json::Object;

/// How long a phase may be silent.
const BEAT: Duration = Duration::from_secs(2);

/// Prints in one form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter(Form);

impl Reporter {
    pub(crate) const fn new(form: Form) -> Self {
        Self(form)
    }

    /// Prints one report, in one write so that nothing gets between its bytes.
    pub(crate) fn tell(self, report: &Object) {
        let prefix = if self.0 == Form::Report { "TMEM-REPORT " } else { "" };
        say(&format!("{prefix}{}\n", report.to_line()));
    }

    /// Does `work`, which is phase `phase` of `engine`, and tells every two seconds how far it is.
    pub(crate) fn watch<T: Send>(
        self,
        engine: &Engine,
        phase: Phase,
        pages: usize,
        work: impl FnOnce() -> T,
    ) -> T {
        let start = Instant::now();
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while is_done.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                    self.progress(phase, engine.done.load(Ordering::Relaxed), pages as u64, start.elapsed());
                }
            });
            let result = work();
            drop(done);
            result
        })
    }

    fn progress(self, phase: Phase, done: u64, pages: u64, elapsed: Duration) {
        let (name, pass) = match phase {
            Phase::Fill => ("fill", 0),
            Phase::Touch(pass) => ("touch", pass),
            Phase::Verify(pass) => ("verify", pass),
        };
        if self.0 == Form::Text {
            say(&format!("{name} {pass}: {done} steps over {pages} pages in {} s\n", elapsed.as_secs()));
            return;
        }
        let report = Object::event("progress").text("phase", name).number("pass", pass).number("done", done);
        self.tell(&report.number("pages", pages).seconds("elapsed_s", elapsed));
    }

    /// The result of all phases.
    pub(crate) fn result(self, args: &Args, tally: &Tally, elapsed: Duration, counted: &Counters) {
        if self.0 == Form::Text {
            say(&in_words(args, tally, elapsed));
            return;
        }
        let passes = match args.task {
            Task::Fill => 0,
            Task::Touch => args.pass,
            _ => args.passes,
        };
        let report = match &args.file {
            Some(path) => Object::event("run").text("file", &path.to_string_lossy()),
            None => Object::event("run").null("file"),
        };
        let report = report
            .number("pages", args.pages as u64)
            .number("passes", passes)
            .text("pattern", args.pattern.name())
            .text("mix", &args.mix.to_string())
            .number("write_share", args.write_share)
            .number("seed", args.seed)
            .number("threads", args.threads as u64)
            .seconds("elapsed_s", elapsed)
            .number("checked", tally.checked)
            .number("written", tally.written)
            .number("corrupt", tally.corrupt);
        let report = match &tally.first {
            None => report.null("first_corrupt"),
            Some(first) => {
                let first = Object::default()
                    .number("page", first.page)
                    .number("offset", first.offset)
                    .number("generation", first.generation);
                report.object("first_corrupt", &first)
            }
        };
        self.tell(&counted.add_to(report));
    }
}

fn in_words(args: &Args, tally: &Tally, elapsed: Duration) -> String {
    let mut text = format!(
        "{} pages, {} checks, {} writes in {:.3} s: {} corrupt\n",
        args.pages,
        tally.checked,
        tally.written,
        elapsed.as_secs_f64(),
        tally.corrupt
    );
    if let Some(first) = &tally.first {
        text.push_str(&format!(
            "first corrupt: page {}, byte {}, which should be of generation {}\n",
            first.page, first.offset, first.generation
        ));
    }
    text
}

/// A console that is gone is no reason to stop checking memory; the exit status still tells.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
