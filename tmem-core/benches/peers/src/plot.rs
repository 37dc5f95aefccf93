//! The table as a picture: one bar for each peer and number of threads.

use std::fmt::Write;

use crate::table::Row;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 130.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 60.0;
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;
/// From a light to a dark blue, so that a print in grey tells them apart.
const COLOURS: [&str; 4] = ["#9ecae1", "#4292c6", "#2171b5", "#08306b"];

/// An SVG picture of the rows.
pub(crate) fn svg(threads: &[u32], rows: &[Row]) -> String {
    let most = rows.iter().flat_map(|row| &row.rates).copied().fold(0.1, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let group = BAR * threads.len() as f64 + GAP;
    let height = TOP + group * rows.len() as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\">Churn of 4 KiB pages, million operations a second</text>\n"
    );
    for (n, threads) in threads.iter().enumerate() {
        let x = LEFT + 110.0 * n as f64;
        let name = if *threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"32\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"42\">{name}</text>",
            COLOURS[n % COLOURS.len()],
            x + 17.0
        );
    }
    for (row, place) in rows.iter().zip(0..) {
        let y = TOP + group * f64::from(place);
        let middle = y + BAR * threads.len() as f64 / 2.0 + 4.0;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            row.name
        );
        for (n, rate) in row.rates.iter().enumerate() {
            let (top, width) = (y + BAR * n as f64, rate * scale);
            let _ = writeln!(
                svg,
                "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{rate:.2}</text>",
                BAR - 2.0,
                COLOURS[n % COLOURS.len()],
                LEFT + width + 5.0,
                top + 11.5
            );
        }
    }
    svg + "</svg>\n"
}
