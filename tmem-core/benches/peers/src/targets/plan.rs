//! What is measured, and what of it is compared with what.

use tmem_core::Codec;

use super::spec::{Core, Spec, What};

/// A measurement that every round makes once.
pub(super) struct Sample {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) spec: Spec,
}

/// What a ratio has to be.
#[derive(Clone, Copy)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// It is there to be looked at.
    None,
}

/// Which way round.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ratio {
    OursByOther,
    OtherByOurs,
}

/// A sample's name and a number in it.
pub(super) type At = (&'static str, &'static str);

/// A line of the table.
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) measure: &'static str,
    pub(super) ours: At,
    pub(super) with: &'static str,
    pub(super) other: At,
    pub(super) ratio: Ratio,
    pub(super) target: Target,
}

/// Groups, in the order in which they are measured.
pub(super) const GROUPS: [&str; 4] = ["seq", "churn", "hot", "million"];

/// All measurements of a round, those that are compared next to each other.
pub(super) fn samples(seconds: f64) -> Vec<Sample> {
    use Core::{Bare, First, Frames, Ours};
    let seq = |core| Spec::new(What::Seq, core);
    let churn = |core, objects, threads| Spec { objects, threads, seconds, ..Spec::new(What::Churn, core) };
    let lz4 = |core| Spec { codec: Codec::Lz4, ..churn(core, 1000, 2) };
    let million = |clients| Spec { pages: 1_000_000, clients, ..churn(Ours, 100_000, 1) };
    let sample = |group, name, spec| Sample { group, name, spec };
    vec![
        sample("seq", "copy", Spec::new(What::Copy, Ours)),
        sample("seq", "seq", seq(Ours)),
        sample("seq", "seq, C", seq(First)),
        sample("seq", "seq, C frames", seq(Frames)),
        sample("churn", "churn", churn(Ours, 1000, 2)),
        sample("churn", "churn, C", churn(First, 1000, 2)),
        sample("churn", "churn, C frames", churn(Frames, 1000, 2)),
        sample("churn", "churn LZ4", lz4(Ours)),
        sample("churn", "churn LZ4, C", lz4(First)),
        sample("hot", "hot 1", churn(Ours, 1, 1)),
        sample("hot", "hot 1, C", churn(First, 1, 1)),
        sample("hot", "hot 2", churn(Ours, 1, 2)),
        sample("hot", "hot 2, C", churn(First, 1, 2)),
        sample("hot", "hot 2, C frames", churn(Frames, 1, 2)),
        sample("hot", "bare 2", churn(Bare, 1, 2)),
        sample("million", "small", Spec { pages: 10_000, ..churn(Ours, 1, 1) }),
        sample("million", "million", million(1)),
        sample("million", "million of 1,000", million(1000)),
        sample("million", "bare small", Spec { pages: 10_000, ..churn(Bare, 1, 1) }),
        sample("million", "bare million", Spec { pages: 1_000_000, ..churn(Bare, 1, 1) }),
    ]
}

/// The table's lines.
pub(super) fn rows() -> Vec<Row> {
    use Ratio::{OtherByOurs, OursByOther};
    use Target::{AtLeast, AtMost};
    const RATE: &str = "million_ops_per_s";
    // Nanoseconds of `seq`, of which fewer are better.
    let seq = |(measure, field), with, other, target| {
        let ratio = if with == "bare copy" { OursByOther } else { OtherByOurs };
        Row { group: "seq", measure, ours: ("seq", field), with, other, ratio, target }
    };
    let faster = |group, measure, ours, with, other, target| Row {
        group,
        measure,
        ours: (ours, RATE),
        with,
        other: (other, RATE),
        ratio: OursByOther,
        target,
    };
    let slower = |measure, ours, with, small, target| {
        let (group, other) = ("million", (small, RATE));
        Row { group, measure, ours: (ours, RATE), with, other, ratio: OtherByOurs, target }
    };
    let (put, get, flush) = (("put", "put_ns"), ("get", "get_ns"), ("flush", "flush_ns"));
    let (c, frames, small) = ("seq, C", "seq, C frames", "10,000 pages, one object");
    let (churn, lz4, hot1, hot2) =
        ("churn, 2 threads", "churn, LZ4, 2 threads", "hot object, 1 thread", "hot object, 2 threads");
    vec![
        seq(put, "C, fresh memory", (c, "fresh_put_ns"), AtLeast(5.0)),
        seq(put, "C, warm memory", (c, put.1), AtLeast(1.4)),
        seq(put, "C, warm frames", (frames, put.1), Target::None),
        seq(put, "bare copy", ("copy", "copy_ns"), AtMost(1.6)),
        seq(get, "C", (c, get.1), AtLeast(1.0)),
        seq(get, "C, frames", (frames, get.1), Target::None),
        seq(flush, "C", (c, flush.1), AtLeast(1.0)),
        seq(flush, "C, frames", (frames, flush.1), Target::None),
        faster("churn", churn, "churn", "C", "churn, C", AtLeast(4.0)),
        faster("churn", churn, "churn", "C, frames", "churn, C frames", Target::None),
        faster("churn", lz4, "churn LZ4", "C with LZ4", "churn LZ4, C", AtLeast(6.0)),
        faster("hot", hot1, "hot 1", "C", "hot 1, C", Target::None),
        faster("hot", hot2, "hot 2", "C", "hot 2, C", AtLeast(5.0)),
        faster("hot", hot2, "hot 2", "C, frames", "hot 2, C frames", Target::None),
        faster("hot", hot2, "hot 2", "ours, 1 thread", "hot 1", AtLeast(1.8)),
        faster("hot", "an array of pages, 2 threads", "bare 2", "C", "hot 2, C", Target::None),
        slower("a million pages, 100,000 objects", "million", small, "small", AtMost(1.5)),
        slower("the same of 1,000 clients", "million of 1,000", small, "small", AtMost(1.5)),
        slower(
            "an array of a million pages",
            "bare million",
            "an array of 10,000",
            "bare small",
            Target::None,
        ),
    ]
}
