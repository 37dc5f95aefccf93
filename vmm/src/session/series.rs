//! A time series of a session: what the store and each guest's share of it hold and have done, one JSON object a line.

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde::Serialize;
use tmem_core::Store;
use tmem_host::{ClientReport, Rights, StoreReport};

use super::live::Live;
use super::output_file::OutputFile;
use super::{say, side};
use crate::guest::BalloonReport;

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(1);

/// The file, and when its next line is due.
#[derive(Debug)]
pub struct Series {
    /// Nothing after it could not be written.
    file: Option<OutputFile>,
    /// The rest of a line of which a slow reader has taken a part.
    late: Vec<u8>,
    due: Option<Instant>,
}

/// A guest that runs.
#[derive(Serialize)]
pub(super) struct GuestLine<'a> {
    pub(super) name: &'a str,
    /// Sectors of 512 bytes, of all its disks.
    pub(super) sectors_read: u64,
    pub(super) sectors_written: u64,
    /// In order.
    pub(super) disks: Vec<DiskLine>,
    /// Nothing for a guest without a balloon.
    pub(super) balloon: Option<BalloonReport>,
    /// Nothing for a guest without tmem.
    pub(super) tmem: Option<ClientReport>,
    /// Nothing for a guest without tmem.
    pub(super) rights: Option<Rights>,
}

/// A disk as its guest sees it.
#[derive(Serialize)]
pub(super) struct DiskLine {
    /// Its serial number.
    pub(super) id: String,
    pub(super) bytes: u64,
}

/// The session at one time.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    /// Since the session began.
    seconds: f64,
    store: StoreReport,
    /// Those that run.
    guests: Vec<GuestLine<'a>>,
}

impl<'a> Line<'a> {
    pub(super) fn new(started: Instant, now: Instant, store: &Store, guests: Vec<GuestLine<'a>>) -> Self {
        let seconds = now.saturating_duration_since(started).as_secs_f64();
        Self { seconds, store: store.stats().into(), guests }
    }
}

impl Series {
    /// A series that goes to `file`, which gets its name with the first line.
    pub fn new(file: OutputFile) -> Self {
        Self { file: Some(file), late: Vec::new(), due: None }
    }

    /// Writes a line every second until this is disconnected.
    pub(super) fn run(mut self, live: &Live, poked: &Receiver<()>) {
        self.start(live.started);
        while let Some(due) = self.due()
            && side::wait(poked, Some(due.saturating_duration_since(Instant::now())))
        {
            let running = live.running();
            let guests = running.iter().map(|running| running.line());
            self.record(live.started, Instant::now(), live.tmem.store(), guests);
        }
    }

    /// When the next line is due; nothing after the file could not be written.
    fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Asks for the first line.
    fn start(&mut self, now: Instant) {
        self.due = Some(now);
    }

    /// Writes the line that is due at `now`, if one is. A file that cannot be written ends the series, not the session.
    fn record<'a>(
        &mut self,
        started: Instant,
        now: Instant,
        store: &Store,
        guests: impl Iterator<Item = GuestLine<'a>>,
    ) {
        let Some(due) = self.due.filter(|due| now >= *due) else { return };
        let line = Line::new(started, now, store, guests.collect());
        let mut text = serde_json::to_vec(&line).expect("numbers and names are JSON");
        text.push(b'\n');
        let Some(file) = self.file.take() else { return };
        let path = file.path().to_owned();
        self.due = match self.write(file, &text) {
            Ok(file) => {
                self.file = Some(file);
                // A session that was held up goes on from now and makes up for nothing.
                Some((due + EVERY).max(now))
            }
            Err(error) => {
                say(format_args!("no more statistics: {}: {error}", path.display()));
                None
            }
        };
    }

    /// Writes a line, or leaves it out while a reader has not taken the one before: the session waits for nobody.
    fn write(&mut self, mut file: OutputFile, line: &[u8]) -> io::Result<OutputFile> {
        if self.late.is_empty() {
            self.late.extend_from_slice(line);
        }
        while !self.late.is_empty() {
            match file.write(&self.late) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.late.drain(..written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        file.publish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;
    use tmem_core::StoreConfig;

    #[test]
    fn a_line_is_written_when_it_is_due_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stats.jsonl");
        let store = Store::new(StoreConfig { capacity_bytes: 4 << 20, ..Default::default() }).unwrap();
        let mut series = Series::new(OutputFile::create(&path).unwrap());
        let started = Instant::now();
        let record = |series: &mut Series, now| {
            let tmem = Some(ClientReport { puts: 7, ..Default::default() });
            let guest = GuestLine {
                name: "a",
                sectors_read: 1,
                sectors_written: 2,
                disks: vec![DiskLine { id: "disk0".into(), bytes: 512 }],
                balloon: None,
                tmem,
                rights: None,
            };
            series.record(started, now, &store, std::iter::once(guest));
        };
        record(&mut series, started);
        series.start(started);
        for milliseconds in [0, 10, 999, 1_000, 1_001, 5_000, 5_001] {
            record(&mut series, started + Duration::from_millis(milliseconds));
        }
        let lines: Vec<serde_json::Value> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let seconds: Vec<f64> = lines.iter().map(|line| line["seconds"].as_f64().unwrap()).collect();
        assert_eq!(seconds, [0.0, 1.0, 5.0, 5.001]);
        assert_eq!(lines[0]["guests"][0]["name"], "a");
        assert_eq!(lines[0]["guests"][0]["tmem"]["puts"], 7);
        assert_eq!(lines[0]["store"]["persistent_pages"], 0);
    }

    #[test]
    fn a_full_disk_ends_the_series_and_nothing_else() {
        let store = Store::new(StoreConfig { capacity_bytes: 4 << 20, ..Default::default() }).unwrap();
        let mut series = Series::new(OutputFile::create(Path::new("/dev/full")).unwrap());
        let now = Instant::now();
        series.start(now);
        series.record(now, now, &store, std::iter::empty());
        assert_eq!(series.due(), None);
    }

    #[test]
    fn a_reader_that_takes_nothing_delays_nothing_and_finds_whole_lines_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let mut reader = options.read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        let store = Store::new(StoreConfig { capacity_bytes: 4 << 20, ..Default::default() }).unwrap();
        let mut series = Series::new(OutputFile::create(&path).unwrap());
        let started = Instant::now();
        series.start(started);
        let mut record = |second| {
            series.record(started, started + Duration::from_secs(second), &store, std::iter::empty());
        };
        // A pipe holds 64 KiB, and a line is some hundred bytes.
        (0..2_000).for_each(&mut record);
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text);
        record(2_000);
        record(2_001);
        let _ = reader.read_to_end(&mut text);
        let text = String::from_utf8(text).unwrap();
        let seconds: Vec<f64> = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seconds"].as_f64().unwrap())
            .collect();
        assert!(seconds.len() > 10 && seconds.len() < 1_000, "{}", seconds.len());
        assert_eq!((seconds[0], seconds[1], seconds.last()), (0.0, 1.0, Some(&2001.0)));
    }
}
