//! A file that keeps the beginning and the end of what is written to it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of the beginning that are kept.
const BEGINNING: u64 = 32 << 20;
/// Bytes of the end that are kept, at least; at most twice as many.
const END: u64 = 16 << 20;
/// Bytes that are moved at once.
const PART: u64 = 1 << 16;

/// A file of at most 64 MiB and a line: a guest must not fill the host's disk, and the end is where it says why it died. What lies
/// between is left out; the line that stands there says how many bytes it was.
///
/// Whenever the file is full, the newer half of the end moves down. So the file can be read at any time, also after the process was killed.
#[derive(Debug)]
pub struct CappedFile {
    file: File,
    len: u64,
    left_out: u64,
    beginning: u64,
    end: u64,
}

/// The line between beginning and end; its length does not depend on the number.
fn mark(left_out: u64) -> String {
    format!("\n[tmem: {left_out:20} bytes of output are left out here]\n")
}

impl CappedFile {
    /// Makes the file anew.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::with_limits(path, BEGINNING, END)
    }

    fn with_limits(path: &Path, beginning: u64, end: u64) -> io::Result<Self> {
        // What is no file any more when it is opened must not make this thread wait.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is no file any more"));
        }
        Ok(Self { file, len: 0, left_out: 0, beginning, end })
    }

    /// Where the end begins.
    fn end_at(&self) -> u64 {
        if self.left_out == 0 { self.beginning } else { self.beginning + mark(0).len() as u64 }
    }

    /// Leaves the older half of the end out, and the rest of a line that it ends in.
    fn shift(&mut self) -> io::Result<()> {
        let from = self.len - self.end;
        let from = from + self.rest_of_line(from)?;
        self.left_out += from - self.end_at();
        let to = self.beginning + mark(0).len() as u64;
        self.file.write_all_at(mark(self.left_out).as_bytes(), self.beginning)?;
        let mut part = Vec::new();
        let mut moved = 0;
        while from + moved < self.len {
            part.resize(PART.min(self.len - from - moved) as usize, 0);
            self.file.read_exact_at(&mut part, from + moved)?;
            self.file.write_all_at(&part, to + moved)?;
            moved += part.len() as u64;
        }
        self.len = to + moved;
        self.file.set_len(self.len)
    }

    /// Bytes up to the next line; none if it is far.
    fn rest_of_line(&self, at: u64) -> io::Result<u64> {
        let mut line = vec![0; PART.min(self.end / 2) as usize];
        self.file.read_exact_at(&mut line, at)?;
        Ok(line.iter().position(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1))
    }
}

impl Write for CappedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len >= self.end_at() + 2 * self.end {
            self.shift()?;
        }
        let room = (self.end_at() + 2 * self.end - self.len).min(bytes.len() as u64);
        let now = bytes.get(..room as usize).unwrap_or(bytes);
        let written = self.file.write_at(now, self.len)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(lines: u32) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = CappedFile::with_limits(&path, 100, 200).unwrap();
        for number in 0..lines {
            writeln!(file, "line {number:4}").unwrap();
            let len = path.metadata().unwrap().len();
            assert!(len <= 500 + mark(0).len() as u64, "{len}");
        }
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn file_when_all_fits_has_all() {
        let text = written(50);
        assert_eq!((text.len(), text.lines().count()), (500, 50));
    }

    #[test]
    fn file_when_too_much_is_written_has_beginning_and_end_with_a_mark_between() {
        for lines in [51, 70, 71, 1000, 4321] {
            let text = written(lines);
            let (beginning, rest) = text.split_once("\n\n[tmem: ").unwrap();
            let (number, end) = rest.split_once(" bytes of output are left out here]\n").unwrap();
            assert_eq!(beginning.lines().count(), 10);
            assert!(
                beginning.starts_with("line    0\n") && end.ends_with(&format!("\nline {:4}\n", lines - 1))
            );
            assert!(end.len() >= 200 - 10 && end.starts_with("line "), "{end}");
            let left_out: usize = number.trim().parse().unwrap();
            assert_eq!(beginning.len() + 1 + left_out + end.len(), lines as usize * 10, "{lines}");
        }
    }

    #[test]
    fn file_when_the_disk_is_full_says_so_each_time_and_goes_on() {
        let mut file = CappedFile {
            file: File::options().write(true).open("/dev/full").unwrap(),
            len: 0,
            left_out: 0,
            beginning: 9,
            end: 9,
        };
        for _ in 0..2 {
            assert_eq!(file.write(b"x").unwrap_err().kind(), ErrorKind::StorageFull);
        }
        assert_eq!(file.len, 0);
    }
}
