//! The picture of a demo: disk reads in both modes, and what the store holds meanwhile, from `tmem run --stats`.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use serde::Deserialize;

use super::DemoError;
use super::measure::Mode;
use crate::files::{self, FileError};

/// Width and height of the picture in pixels.
const SIZE: (u32, u32) = (900, 760);
/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;
/// Bytes of a page.
const PAGE: f64 = 4096.0;
/// The guests' colours, one after the other and from the start again.
const COLOURS: [RGBColor; 4] =
    [RGBColor(31, 119, 180), RGBColor(255, 127, 14), RGBColor(44, 160, 44), RGBColor(148, 103, 189)];
/// Of disks alone.
const DISK: RGBColor = RGBColor(200, 40, 40);
/// Of tmem, and of what guests believe to have stored.
const TMEM: RGBColor = RGBColor(30, 30, 30);

/// One line of `tmem run --stats`, as far as it is drawn.
#[derive(Debug, Deserialize)]
struct Line {
    seconds: f64,
    store: StoreLine,
    guests: Vec<GuestLine>,
}

#[derive(Debug, Deserialize)]
struct StoreLine {
    persistent_pages: u64,
    ephemeral_pages: u64,
}

#[derive(Debug, Deserialize)]
struct GuestLine {
    name: String,
    sectors_read: u64,
    tmem: Option<TmemLine>,
}

#[derive(Debug, Deserialize)]
struct TmemLine {
    bytes: u64,
}

/// One mode's lines.
pub(super) struct Course {
    mode: Mode,
    lines: Vec<Line>,
}

impl Course {
    /// Reads what `tmem run --stats` wrote.
    pub(super) fn read(mode: Mode, path: &Path) -> Result<Self, DemoError> {
        let text = files::read(path)?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        let lines = lines.map_err(|source| DemoError::Json { path: path.into(), source })?;
        Ok(Self { mode, lines })
    }

    fn seconds(&self) -> f64 {
        self.lines.last().map_or(0.0, |line| line.seconds)
    }

    /// Sectors that all guests have read, by time; those of a guest that has ended stay in the sum.
    fn sectors_read(&self) -> Vec<(f64, f64)> {
        let mut of = BTreeMap::new();
        let sum = |line: &Line| {
            of.extend(line.guests.iter().map(|guest| (guest.name.clone(), guest.sectors_read)));
            (line.seconds, of.values().sum::<u64>() as f64)
        };
        self.lines.iter().map(sum).collect()
    }

    /// Names of the guests that hold pages.
    fn holders(&self) -> Vec<&str> {
        let guests = self.lines.iter().flat_map(|line| &line.guests).filter(|guest| guest.tmem.is_some());
        let names: std::collections::BTreeSet<_> = guests.map(|guest| guest.name.as_str()).collect();
        names.into_iter().collect()
    }

    /// MiB that the first `count` of `names` hold together, by time.
    fn held(&self, names: &[&str], count: usize) -> Vec<(f64, f64)> {
        let counted = names.get(..count).unwrap_or(names);
        let held = |line: &Line| {
            let theirs = line.guests.iter().filter(|guest| counted.contains(&guest.name.as_str()));
            let bytes: u64 = theirs.filter_map(|guest| guest.tmem.as_ref()).map(|tmem| tmem.bytes).sum();
            (line.seconds, bytes as f64 / MIB)
        };
        self.lines.iter().map(held).collect()
    }

    /// MiB that the stored pages had in the guests, by time.
    fn given(&self) -> Vec<(f64, f64)> {
        let pages = |line: &Line| (line.store.persistent_pages + line.store.ephemeral_pages) as f64;
        self.lines.iter().map(|line| (line.seconds, pages(line) * PAGE / MIB)).collect()
    }
}

/// Largest second value, with room above it; never 0, so that it can end an axis.
fn top(points: &[(f64, f64)]) -> f64 {
    points.iter().map(|point| point.1).fold(1.0, f64::max) * 1.15
}

/// Draws `courses` into the SVG file `path`.
pub(super) fn draw(courses: &[Course], path: &Path) -> Result<(), DemoError> {
    // Whatever the plotter could not do, it was about this file.
    let failed = |error: Box<dyn std::error::Error>| std::io::Error::other(error.to_string());
    Ok(try_draw(courses, path).map_err(failed).map_err(FileError::new("draw", path))?)
}

fn try_draw(courses: &[Course], path: &Path) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(SIZE.1 / 2);
    let end = courses.iter().map(Course::seconds).fold(1.0, f64::max);

    let reads: Vec<_> = courses.iter().map(|course| (course.mode, course.sectors_read())).collect();
    let highest = reads.iter().map(|(_, points)| top(points)).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&above)
        .caption("Sectors read from disk, all guests together", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..end, 0.0..highest)?;
    mesh(&mut chart, "sectors of 512 bytes")?;
    for (mode, points) in reads {
        let (colour, label) = match mode {
            Mode::Disk => (DISK, "disks alone"),
            Mode::Tmem => (TMEM, "tmem before the same disks"),
        };
        let style = ShapeStyle::from(&colour).stroke_width(2);
        chart.draw_series(LineSeries::new(points, style))?.label(label).legend(key(colour));
    }
    legend(&mut chart)?;

    let Some(course) = courses.iter().find(|course| course.mode == Mode::Tmem) else {
        return Ok(root.present()?);
    };
    let (names, given) = (course.holders(), course.given());
    let mut chart = ChartBuilder::on(&below)
        .caption("The store: what the guests gave it, and the memory it takes", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..end, 0.0..top(&given))?;
    mesh(&mut chart, "MiB")?;
    // From the highest stack down, each covering the lower part of the one before it.
    for (index, name) in names.iter().enumerate().rev() {
        let colour = COLOURS.iter().cycle().nth(index).copied().unwrap_or(TMEM);
        let area = AreaSeries::new(course.held(&names, index + 1), 0.0, colour.mix(0.9));
        chart.draw_series(area)?.label(format!("held for {name}")).legend(key(colour));
    }
    let style = ShapeStyle::from(&TMEM).stroke_width(2);
    chart.draw_series(LineSeries::new(given, style))?.label("given: pages of 4 KiB").legend(key(TMEM));
    legend(&mut chart)?;
    Ok(root.present()?)
}

/// The area of one of the two charts.
type Chart<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

fn mesh(chart: &mut Chart<'_, '_>, unit: &str) -> Result<(), Box<dyn Error>> {
    chart
        .configure_mesh()
        .x_desc("seconds since the first guest started")
        .y_desc(unit)
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|value| thousands(*value))
        .light_line_style(WHITE)
        .draw()
        .map_err(Into::into)
}

fn legend<'a, 'b: 'a>(chart: &mut Chart<'a, 'b>) -> Result<(), Box<dyn Error>> {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(Into::into)
}

fn key(colour: RGBColor) -> impl Fn((i32, i32)) -> Rectangle<(i32, i32)> {
    move |(x, y)| Rectangle::new([(x, y - 5), (x + 18, y + 5)], colour.filled())
}

/// A whole number with commas.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"seconds":0.0,"store":{"persistent_pages":0,"ephemeral_pages":0},"guests":[{"name":"a","sectors_read":5,"tmem":{"bytes":0}},{"name":"b","sectors_read":7,"tmem":{"bytes":1048576}}]}
{"seconds":1.0,"store":{"persistent_pages":500,"ephemeral_pages":12},"guests":[{"name":"b","sectors_read":8,"tmem":{"bytes":2097152}}]}
"#;

    fn course(mode: Mode) -> Course {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.jsonl");
        std::fs::write(&path, LINES).unwrap();
        Course::read(mode, &path).unwrap()
    }

    #[test]
    fn sums_keep_the_guests_that_have_ended_and_stacks_do_not() {
        let course = course(Mode::Tmem);
        assert_eq!(course.sectors_read(), [(0.0, 12.0), (1.0, 13.0)]);
        assert_eq!(course.holders(), ["a", "b"]);
        assert_eq!(course.held(&["a", "b"], 1), [(0.0, 0.0), (1.0, 0.0)]);
        assert_eq!(course.held(&["a", "b"], 2), [(0.0, 1.0), (1.0, 2.0)]);
        assert_eq!(course.given(), [(0.0, 0.0), (1.0, 2.0)]);
    }

    #[test]
    fn picture_names_its_axes_and_series() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.svg");
        draw(&[course(Mode::Disk), course(Mode::Tmem)], &path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["disks alone", "tmem before the same disks", "held for b", "sectors of 512 bytes", "MiB"]
        {
            assert!(text.contains(word), "{word}");
        }
    }

    #[test]
    fn damaged_line_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.jsonl");
        std::fs::write(&path, "{\n").unwrap();
        let text = Course::read(Mode::Disk, &path).err().unwrap().to_string();
        assert!(text.contains("stats.jsonl"), "{text}");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([thousands(0.0), thousands(999.6), thousands(1_626_848.0)], ["0", "1,000", "1,626,848"]);
    }
}
