//! One measurement, and the command line that asks for it.

use std::fmt::Display;

use lexopt::Parser;
use tmem_core::Codec;

use crate::churn::seconds;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Put all, get all, flush all, in order, on one thread.
    Seq,
    /// Copy all pages into mapped memory.
    Copy,
    /// Random operations of some threads.
    Churn,
}

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Core {
    Ours,
    /// The first core, pages from malloc.
    First,
    /// The first core, pages in frames from a list.
    Frames,
    /// An array of pages.
    Bare,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spec {
    pub(super) what: What,
    pub(super) core: Core,
    pub(super) codec: Codec,
    pub(super) pages: u32,
    pub(super) objects: u32,
    /// Ours only: the first core's pages are all in one pool.
    pub(super) clients: u32,
    pub(super) threads: u32,
    pub(super) seconds: f64,
}

impl Spec {
    /// A hundred thousand pages in one object, raw, one thread.
    pub(super) const fn new(what: What, core: Core) -> Self {
        let codec = Codec::Raw;
        Self { what, core, codec, pages: 100_000, objects: 1, clients: 1, threads: 1, seconds: 2.0 }
    }

    /// The arguments that ask for it.
    pub(super) fn arguments(&self) -> Vec<String> {
        let what = match self.what {
            What::Seq => "seq",
            What::Copy => "copy",
            What::Churn => "churn",
        };
        let core: &dyn Display = match self.core {
            Core::Ours => &"ours",
            Core::First => &"first",
            Core::Frames => &"first-frames",
            Core::Bare => &"bare",
        };
        let options: [(&str, &dyn Display); 7] = [
            ("--core", core),
            ("--codec", if self.codec == Codec::Raw { &"raw" } else { &"lz4" }),
            ("--pages", &self.pages),
            ("--objects", &self.objects),
            ("--clients", &self.clients),
            ("--threads", &self.threads),
            ("--seconds", &self.seconds),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]);
        ["sample".to_owned(), what.to_owned()].into_iter().chain(options).collect()
    }

    /// Reads what is left of those arguments after `sample`.
    pub(super) fn parse(mut parser: Parser) -> Result<Self, lexopt::Error> {
        use lexopt::prelude::*;
        let mut spec = None;
        while let Some(arg) = parser.next()? {
            match (arg, &mut spec) {
                (Value(what), None) => {
                    let what = match what.to_str() {
                        Some("seq") => What::Seq,
                        Some("copy") => What::Copy,
                        Some("churn") => What::Churn,
                        _ => return Err(format!("{} is no sample: seq, copy, churn", what.display()).into()),
                    };
                    spec = Some(Self::new(what, Core::Ours));
                }
                (Long("core"), Some(spec)) => spec.core = parser.value()?.parse_with(core)?,
                (Long("codec"), Some(spec)) => spec.codec = parser.value()?.parse_with(codec)?,
                (Long("pages"), Some(spec)) => spec.pages = parser.value()?.parse()?,
                (Long("objects"), Some(spec)) => spec.objects = parser.value()?.parse()?,
                (Long("clients"), Some(spec)) => spec.clients = parser.value()?.parse()?,
                (Long("threads"), Some(spec)) => spec.threads = parser.value()?.parse()?,
                (Long("seconds"), Some(spec)) => spec.seconds = parser.value()?.parse_with(seconds)?,
                (arg, _) => return Err(arg.unexpected()),
            }
        }
        let spec = spec.ok_or("what to sample is missing: seq, copy or churn")?;
        if [spec.pages, spec.objects, spec.clients, spec.threads].contains(&0) {
            return Err("--pages, --objects, --clients and --threads must be more than 0".into());
        }
        if matches!((spec.core, spec.codec), (Core::Frames | Core::Bare, Codec::Lz4)) {
            return Err(
                "first-frames and bare keep raw pages only: give --core first with --codec lz4".into()
            );
        }
        Ok(spec)
    }
}

fn core(text: &str) -> Result<Core, &'static str> {
    match text {
        "ours" => Ok(Core::Ours),
        "first" => Ok(Core::First),
        "first-frames" => Ok(Core::Frames),
        "bare" => Ok(Core::Bare),
        _ => Err("no such core: ours, first, first-frames, bare"),
    }
}

fn codec(text: &str) -> Result<Codec, &'static str> {
    match text {
        "raw" => Ok(Codec::Raw),
        "lz4" => Ok(Codec::Lz4),
        _ => Err("no such codec here: raw, lz4"),
    }
}
