//! Samples become ratios, and those a table or JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::plan::{At, Ratio, Row, Target};
use crate::median::median;

/// Of each measurement, by name, what every round gave.
pub(super) type Samples = BTreeMap<&'static str, Vec<Value>>;

/// A line with its numbers.
pub(super) struct Line<'a> {
    row: &'a Row,
    ours: Vec<f64>,
    other: Vec<f64>,
    /// Of each round.
    ratios: Vec<f64>,
}

impl<'a> Line<'a> {
    pub(super) fn new(row: &'a Row, samples: &Samples) -> Self {
        let numbers = |(name, field): At| -> Vec<f64> {
            let of_name = samples.get(name).into_iter().flatten();
            of_name.filter_map(|sample| sample[field].as_f64()).collect()
        };
        let (ours, other) = (numbers(row.ours), numbers(row.other));
        let ratios = ours.iter().zip(&other).map(|(ours, other)| match row.ratio {
            Ratio::OursByOther => ours / other,
            Ratio::OtherByOurs => other / ours,
        });
        let ratios = ratios.collect();
        Self { row, ours, other, ratios }
    }

    fn met(&self) -> Option<bool> {
        let ratio = median(&self.ratios);
        match self.row.target {
            Target::AtLeast(least) => Some(ratio >= least),
            Target::AtMost(most) => Some(ratio <= most),
            Target::None => None,
        }
    }

    /// For a table; `|` stands around it.
    pub(super) fn text(&self) -> String {
        let number = |(_, field): At, values: &[f64]| match median(values) {
            value if field.ends_with("_ns") => format!("{value:.0} ns"),
            value => format!("{value:.2} M op/s"),
        };
        let target = match self.row.target {
            Target::AtLeast(least) => format!("at least {least}"),
            Target::AtMost(most) => format!("at most {most}"),
            Target::None => String::new(),
        };
        let met = self.met().map_or("", |met| if met { "met" } else { "**missed**" });
        format!(
            "| {} | {} | {}: {} | {:.2} | {target} | {met} |",
            self.row.measure,
            number(self.row.ours, &self.ours),
            self.row.with,
            number(self.row.other, &self.other),
            median(&self.ratios),
        )
    }

    pub(super) fn json(&self) -> Value {
        let (bound, target) = match self.row.target {
            Target::AtLeast(least) => ("at least", Some(least)),
            Target::AtMost(most) => ("at most", Some(most)),
            Target::None => ("none", None),
        };
        json!({
            "measure": self.row.measure, "compared_with": self.row.with, "unit": self.row.ours.1,
            "ours": self.ours, "other": self.other, "ratios": self.ratios, "ratio": median(&self.ratios),
            "ratio_is": if self.row.ratio == Ratio::OursByOther { "ours / other" } else { "other / ours" },
            "bound": bound, "target": target, "met": self.met(),
        })
    }
}

/// Above the lines.
pub(super) const HEAD: &str = "\
ratio: the median of the rounds' ratios

| measure | ours | compared with | ratio | target | |
|---|---|---|---|---|---|";
